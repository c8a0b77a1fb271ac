//! The `parlor` under test.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Where a process in the lab finds the binary.
const BINARY: &str = "PARLOR_BINARY";

/// The `parlor` binary of the profile that the caller was built with.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn parlor() -> &'static Path {
    static BINARY_FILE: OnceLock<PathBuf> = OnceLock::new();
    BINARY_FILE.get_or_init(|| env::var_os(BINARY).map_or_else(built, PathBuf::from))
}

/// The `parlor-node` binary of the profile that the caller was built with, or the one that the environment names: a
/// benchmark may measure one that was built otherwise.
#[must_use]
pub fn parlor_node() -> PathBuf {
    env::var_os("PARLOR_NODE").map_or_else(|| output_dir().join("parlor-node"), PathBuf::from)
}

/// An example of one of the crates, which cargo builds along with the tests.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    output_dir().join("examples").join(name)
}

/// Makes `command`, and what it starts, use the same binary.
pub(crate) fn hand_over(command: &mut Command) {
    command.env(BINARY, parlor());
}

/// The helper `name` of this package, which cargo builds along with the tests.
pub(crate) fn helper(name: &str) -> PathBuf {
    output_dir().join(name)
}

/// `target/PROFILE`, where this process's executable came from.
fn output_dir() -> PathBuf {
    let mut dir = env::current_exe().expect("a process knows its executable");
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    dir
}

/// What was built along with this process. It is not built here: a cargo inside a test sees the variables that the cargo
/// outside set, takes its work for stale, and replaces the running test.
fn built() -> PathBuf {
    let binary = output_dir().join("parlor");
    assert!(binary.exists(), "{} is missing: `./dev test` and `./dev bench` build it", binary.display());
    binary
}
