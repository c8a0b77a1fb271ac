//! Parlor: peer-to-peer video calls.

use std::process::ExitCode;

use clap::Parser as _;
use parlor::{
    cli::{Cli, Subcommands},
    memory, startup,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    memory::keep_flat();
    let result = match &cli.command {
        None => startup::window(&cli.shared, cli.link.as_deref()),
        Some(Subcommands::Headless(args)) => startup::headless(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the person at the terminal is told why Parlor ends")]
            {
                eprintln!("parlor: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}
