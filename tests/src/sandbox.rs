//! A private set of namespaces (network, mounts, processes) for the rest of this process: `unshare` runs the executable
//! again, inside. Everything in it ends with its first process, however that ends: no name is left behind, and tests
//! can run side by side.

use std::{
    any::type_name,
    env,
    io::Write,
    process::{Command, Stdio},
};

use crate::binary;

const INSIDE: &str = "PARLOR_LAB";

/// Becomes the sandbox's own `/run`, where `ip netns` keeps its names.
const SET_UP: &str = "mount -t tmpfs tmpfs /run && mkdir /run/netns && mkdir -p /tmp/.X11-unix && mount -t tmpfs -o mode=1777 tmpfs /tmp/.X11-unix && ip link set lo up && exec \"$@\"";

/// Runs the body of a test in the lab, as that same test in a process of its own. Where the system does not allow
/// namespaces the test is skipped, and says so; with `CI` set it fails.
///
/// # Panics
/// When the body does.
pub fn in_lab<F: FnOnce()>(body: F) {
    if env::var_os(INSIDE).is_some() {
        return body();
    }
    if let Err(why) = is_possible() {
        assert!(env::var_os("CI").is_none(), "the network lab is not possible here: {why}");
        say(&format!("SKIPPED {}: the network lab is not possible here: {why}\n", test_name::<F>()));
        return;
    }
    let mut command = in_lab_command();
    command.args([test_name::<F>().as_str(), "--exact", "--include-ignored", "--nocapture"]);
    let output = command.stdin(Stdio::null()).output().expect("unshare runs");
    let report = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "in the lab:\n{report}");
    assert!(report.contains("1 passed"), "the test was not found in its own executable:\n{report}");
    show(&report);
}

/// Figures and the like, for who asks libtest with `--nocapture`.
#[expect(clippy::print_stdout, reason = "libtest decides who sees it")]
fn show(report: &str) {
    print!("{report}");
}

/// The body's closure is `crate::path::to::test::{{closure}}`. (The thread has the test's name only when libtest runs
/// tests on threads.)
fn test_name<F>() -> String {
    let path = type_name::<F>().trim_end_matches("::{{closure}}");
    path.split_once("::").map_or(path, |(_, test)| test).to_owned()
}

/// This executable, inside, for programs other than tests. Add the arguments that tell it what to do there.
#[must_use]
pub fn in_lab_command() -> Command {
    let mut command = unshare();
    command.arg(env::current_exe().expect("a process knows its executable")).env(INSIDE, "1");
    binary::hand_over(&mut command);
    command
}

/// `setpriv`: should this process die, then the whole sandbox does.
fn unshare() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]);
    command.arg("--mount-proc");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["sh", "-c", SET_UP, "sh"]);
    command
}

fn is_possible() -> Result<(), String> {
    let probe = "ip netns add probe && ip link add probe type veth peer name eth0 netns probe";
    let output = unshare().args(["sh", "-c", probe]).stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

/// Past libtest's capture, which hides what a passing test prints.
fn say(text: &str) {
    let _best_effort = std::io::stderr().write_all(text.as_bytes());
}
