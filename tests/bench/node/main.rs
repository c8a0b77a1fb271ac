//! Measures the rendezvous node, as a process of its own on loopback, and prints one table: what was to reach, what was
//! reached. Its clients speak the protocols by hand and live in this process.
//!
//! Thousands of connections need as many open files, twice: where the system does not allow them, fewer people come.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program whose output is a table")]

mod crowd;
mod media;
mod process;
mod restart;
#[path = "../lan/table.rs"]
#[allow(dead_code, reason = "shared with the other benchmark, which needs all of it")]
mod table;

use std::process::ExitCode;

use clap::Parser;
use serde_json::{Value, json};

use self::table::{Figures, Row};

/// Measures the rendezvous node.
#[derive(Debug, Parser)]
struct Options {
    /// Measure only these: crowd, restart, turn, coturn.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// People in the crowd.
    #[arg(long, default_value_t = 10_000)]
    users: usize,
    /// People who come back after a restart.
    #[arg(long, default_value_t = 1000)]
    returning: usize,
    /// Calls through TURN at a time, 2 Mbit/s each way.
    #[arg(long, default_value_t = 50)]
    calls: usize,
    /// How long they last, seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    process::raise_file_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let wants = |part: &str| options.only.is_empty() || options.only.iter().any(|only| only == part);
    let mut rows: Vec<Value> = Vec::new();
    let mut add = |part: &str, measured: anyhow::Result<Vec<Row>>| match measured {
        Ok(measured) => rows.extend(measured.iter().map(Row::to_json)),
        Err(error) => rows.push(json!({ "what": part, "failed": format!("{error:#}") })),
    };
    if wants("crowd") {
        eprintln!("measuring: a crowd of {}", options.users);
        add("crowd", runtime.block_on(crowd::measure(options.users)));
    }
    if wants("restart") {
        eprintln!("measuring: a node killed under {}", options.returning);
        add("restart", runtime.block_on(restart::measure(options.returning)));
    }
    if wants("turn") {
        eprintln!("measuring: {} calls through the node's TURN", options.calls);
        add("turn", runtime.block_on(media::measure(media::Relay::Ours, options.calls, options.seconds)));
    }
    if wants("coturn") {
        eprintln!("measuring: {} calls through coturn", options.calls);
        add("coturn", runtime.block_on(media::measure(media::Relay::Coturn, options.calls, options.seconds)));
    }
    println!("{}", table::markdown(&rows, &Figures::default()));
    ExitCode::SUCCESS
}
