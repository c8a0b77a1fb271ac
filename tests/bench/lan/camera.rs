//! How soon a real camera device is free after a call.

use std::{path::Path, process::Command};

use parlor_tests::parlor;
use serde_json::Value;

use crate::{
    options::Options,
    table::{Goal, Row},
};

/// On the virtual machine with the camera (see `tests/camera-vm`).
pub(crate) fn measure(_options: &Options) -> Vec<Row> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("camera-vm");
    let output = Command::new(dir.join("camera-vm")).arg(dir.join("call.sh")).arg(parlor()).output();
    let output = output.expect("camera-vm runs");
    let console = String::from_utf8_lossy(&output.stdout);
    let after: Vec<f64> = (console.lines())
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("ann ")?).ok())
        .filter(|event| event["event"] == "devices_closed")
        .filter_map(|event| event["after_ms"].as_f64())
        .collect();
    vec![Row::median("hang up -> camera closed (V4L2, emulated processor)", &after, "ms", Goal::AtMost(500.0))]
}
