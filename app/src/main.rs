//! Parlor: peer-to-peer video calls.

use std::process::ExitCode;

use clap::Parser as _;
use parlor::{
    cli::{Cli, Subcommands},
    doctor, startup,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    keep_memory_flat();
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

/// glibc gives each thread a heap of its own and keeps what freed ones held, and it moves pictures into the heap once a
/// few were freed. A call starts a dozen threads and frees pictures: after 50 calls that was 90 MB. With one heap, and
/// pictures outside it, memory stays flat; the hot paths reuse their buffers and hardly allocate.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "there is no safe wrapper")]
fn keep_memory_flat() {
    // SAFETY: mallopt(3) may be called at any time; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 * 1024);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
const fn keep_memory_flat() {}
