//! The `parlor` under test.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Where to find the binary, for a process that cannot build it (in the lab there is no network, and cargo's lock may be
/// held by the process outside).
const BINARY: &str = "PARLOR_BINARY";

/// The `parlor` binary of the profile that the caller was built with; brought up to date once a process.
///
/// # Panics
/// When it does not build.
#[must_use]
pub fn parlor() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| env::var_os(BINARY).map_or_else(build, PathBuf::from))
}

/// An example of one of the crates.
///
/// # Panics
/// When it does not build.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    let _up_to_date = parlor();
    output_dir().join("examples").join(name)
}

/// Builds now, and makes `command` (and what it starts) use the result.
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

/// Selects the same packages and targets as `cargo test --workspace`, so that features resolve alike and nothing is
/// built a second time.
fn build() -> PathBuf {
    let dir = output_dir();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--offline", "--workspace", "--manifest-path"]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    if dir.ends_with("release") {
        cargo.args(["--release", "--bins"]);
    } else {
        cargo.args(["--tests", "--bins", "--examples"]);
    }
    cargo.arg("--target-dir").arg(dir.parent().expect("target/PROFILE has a parent"));
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "parlor does not build: {cargo:?}");
    dir.join("parlor")
}
