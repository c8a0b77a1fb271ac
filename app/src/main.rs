//! Parlor: peer-to-peer video calls.

use std::process::ExitCode;

use clap::Parser as _;
use parlor::{
    cli::{Cli, Subcommands},
    startup,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    share_memory_arenas();
    let result = match &cli.command {
        None => startup::window(&cli.shared),
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

/// glibc gives each thread a heap of its own, and keeps what freed ones held. A call starts a dozen threads: after 50
/// calls that was 90 MB, with two heaps it is none.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "there is no safe wrapper")]
fn share_memory_arenas() {
    // SAFETY: mallopt(3) may be called at any time; no other thread runs yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
const fn share_memory_arenas() {}
