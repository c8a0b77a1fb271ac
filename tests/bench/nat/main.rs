//! Measures calls between homes behind NATs, through a rendezvous node on a public host, and prints one table: what was
//! to reach, what was reached.
//!
//! Each part runs in a lab and a process of its own: one that fails says so in the table, and harms no other.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program whose output is a table")]

mod calls;
#[path = "../lan/frames.rs"]
mod frames;
mod network;
mod people;
mod presence;
mod relay;
#[path = "../lan/table.rs"]
#[allow(dead_code, reason = "shared with the other benchmarks, which need all of it")]
mod table;

use std::process::{ExitCode, Stdio};

use clap::Parser;
use parlor_tests::in_lab_command;
use serde_json::{Value, json};

use self::table::{Figures, Row};

/// One part of the benchmark: measures, in the lab, and gives rows of the table.
type Part = fn(&Options) -> Vec<Row>;

/// In the order of the table.
const PARTS: [(&str, Part); 6] = [
    ("presence", presence::measure),
    ("setup", calls::measure_setup),
    ("pairings", calls::measure_pairings),
    ("relay", relay::measure_delay),
    ("access", relay::measure_access),
    ("network", network::measure),
];

/// Measures calls between homes behind NATs.
#[derive(Debug, Parser)]
#[command(name = "bench-nat")]
struct Options {
    /// Measure only these: presence, setup, pairings, relay, access, network.
    #[arg(long, value_delimiter = ',', value_parser = PARTS.map(|(name, _)| name))]
    only: Vec<String>,
    /// Calls of each kind, starts of a program, and changes of network.
    #[arg(long, default_value_t = 20)]
    calls: usize,
    /// Length of a measured call, seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// This process is to measure that part, in the lab.
    #[arg(long, hide = true)]
    inside: Option<usize>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match options.inside.and_then(|index| PARTS.get(index)) {
        Some((_, part)) => measure_one(*part, &options),
        None => measure_all(&options),
    }
}

/// Inside the lab: one part; its rows go to stdout as JSON.
fn measure_one(part: Part, options: &Options) -> ExitCode {
    // Ahead of what else the machine does, where that is allowed.
    let _best_effort = rustix::process::setpriority_process(None, -10);
    let rows: Vec<Value> = part(options).iter().map(Row::to_json).collect();
    println!("{}", Value::from(rows));
    ExitCode::SUCCESS
}

fn measure_all(options: &Options) -> ExitCode {
    let mut rows = Vec::new();
    let wants = |part: &str| options.only.is_empty() || options.only.iter().any(|only| only == part);
    for (index, (name, _)) in PARTS.iter().enumerate().filter(|(_, (name, _))| wants(name)) {
        eprintln!("measuring: {name}");
        rows.extend(in_lab(index, options).unwrap_or_else(|why| vec![json!({ "what": name, "failed": why })]));
    }
    println!("{}", table::markdown(&rows, &Figures::default()));
    ExitCode::SUCCESS
}

fn in_lab(index: usize, options: &Options) -> Result<Vec<Value>, String> {
    let output = in_lab_command()
        .args(["--inside", &index.to_string(), "--calls", &options.calls.to_string()])
        .args(["--seconds", &options.seconds.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| error.to_string())?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        eprintln!("{stdout}");
        return Err(format!("ended with {}", output.status));
    }
    let rows: Option<Vec<Value>> = stdout.lines().last().and_then(|line| serde_json::from_str(line).ok());
    rows.ok_or_else(|| "gave no figures".to_owned())
}
