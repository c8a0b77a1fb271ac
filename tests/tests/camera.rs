//! The real camera path: a V4L2 device of the kernel's test driver, on a virtual machine (see `camera-vm/`).

use std::{env, path::Path, process::Command};

use parlor_tests::{example, parlor};
use serde_json::Value;

/// Runs a script with a program on the machine with the camera; what it printed.
fn on_camera_machine(script: &str, program: &Path) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("camera-vm");
    let output = Command::new(dir.join("camera-vm")).arg(dir.join(script)).arg(program).output();
    let output = output.expect("camera-vm runs");
    let console = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{console}\n{complaints}", output.status);
    console
}

/// Only x86 has the machine; only with apt there is a kernel for it.
fn is_possible() -> bool {
    let possible = cfg!(target_arch = "x86_64") && Path::new("/usr/bin/apt-get").exists();
    assert!(possible || env::var_os("CI").is_none(), "the camera's machine is not possible here");
    possible
}

#[test]
fn the_camera_gives_pictures_survives_its_unplugging_and_is_free_afterwards() {
    if is_possible() {
        let console = on_camera_machine("check.sh", &example("camera_check"));
        assert_eq!(console.matches("open devices: /dev/video").count(), 2, "{console}");
    }
}

#[test]
fn a_call_opens_the_camera_survives_its_unplugging_and_leaves_it_dark() {
    if !is_possible() {
        return;
    }
    let console = on_camera_machine("call.sh", parlor());
    let camera: Vec<&str> = console.lines().filter_map(|line| line.strip_prefix("script camera ")).collect();
    let wanted =
        ["closed before", "open during", "closed switched-off", "closed after", "open again", "closed finally"];
    assert_eq!(camera, wanted, "{console}");

    let said: Vec<Value> =
        console.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("ann ")?).ok()).collect();
    let dark: Vec<u64> = (said.iter().filter(|event| event["event"] == "devices_closed"))
        .filter_map(|event| event["after_ms"].as_u64())
        .collect();
    assert_eq!(dark.len(), 3, "{console}");
    assert!(dark.iter().all(|after_ms| *after_ms <= 500), "after {dark:?} ms, on an emulated processor");
    let reasons: Vec<&Value> =
        said.iter().filter(|event| event["event"] == "ended").map(|event| &event["reason"]).collect();
    assert_eq!(reasons, ["hung_up"; 3], "the camera was unplugged in the third call\n{console}");
    for end in ["script ann exited with 0", "script bob exited with 0"] {
        assert!(console.contains(end), "{console}");
    }
}
