//! Parlor: peer-to-peer video calls.

use std::process::ExitCode;

use clap::Parser as _;
use parlor::{
    cli::{Cli, Subcommands},
    doctor, memory, startup,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    memory::keep_flat();
    let result = match &cli.command {
        None => startup::window(&cli.shared, cli.link.as_deref()).map(|()| ExitCode::SUCCESS),
        Some(Subcommands::Headless(args)) => startup::headless(args).map(|()| ExitCode::SUCCESS),
        Some(Subcommands::Doctor(args)) => doctor::run(args),
        Some(Subcommands::NodeStatus(args)) => doctor::node_status(args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the person at the terminal is told why Parlor ends")]
            {
                eprintln!("parlor: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}
