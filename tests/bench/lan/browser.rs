//! The old browser system's figures, by its own scripts.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use serde_json::Value;

use crate::{options::Options, table::Figures};

/// Runs its scripts; what fails keeps the figure that was measured before.
pub(crate) fn measure(dir: &Path, options: &Options) -> Figures {
    let mut figures = Figures::default();
    if let Some(at_once) = setups(dir, options, &["--n", &options.calls.to_string()]) {
        eprintln!("browser: {} of {} calls connected, both cameras granted at once", at_once["ok"], at_once["of"]);
        figures.set("calls that connect %", percent(&at_once));
    }
    // Its calls connect reliably only when one camera is granted later; the wait for it is not its fault.
    if let Some(one_later) = setups(dir, options, &["--n", "8", "--prompt-a", "1500"]) {
        let times = one_later["times"].as_array().cloned().unwrap_or_default();
        if let Some(median) = times.get(times.len() / 2).and_then(Value::as_f64) {
            figures.set("set-up ms", median - 1500.0);
        }
    }
    if let Some(call) = call(dir, options, &["--probe", "full", "--seconds", "40"]) {
        let mean = |path: &str| mean_of_both(&call, path);
        mean("/glass_ms/p50").into_iter().for_each(|value| figures.set("latency ms", value));
        mean("/fps").into_iter().for_each(|value| figures.set("fps", value));
    }
    if let Some(call) = call(dir, options, &["--probe", "off", "--seconds", "70"]) {
        let mean = |a: &str, b: &str| Some((call.pointer(a)?.as_f64()? + call.pointer(b)?.as_f64()?) / 2.0);
        mean("/cpu/s_per_minute/a", "/cpu/s_per_minute/b").into_iter().for_each(|value| figures.set("cpu s", value));
        mean("/memory_mb/a_pss", "/memory_mb/b_pss").into_iter().for_each(|value| figures.set("pss MB", value));
    }
    figures
}

fn node(dir: &Path, script: &str, options: &Options) -> Command {
    let mut node = Command::new("node");
    node.arg(script).current_dir(dir).arg("--clip").arg(&options.clip).stdout(std::io::stderr());
    node
}

fn setups(dir: &Path, options: &Options, arguments: &[&str]) -> Option<Value> {
    let file = std::env::temp_dir().join(format!("parlor-bench-setups-{}.json", std::process::id()));
    let status = node(dir, "setups.mjs", options).args(arguments).arg("--out").arg(&file).status();
    let text = status.ok().filter(|status| status.success()).and_then(|_| fs::read_to_string(&file).ok());
    let _best_effort = fs::remove_file(&file);
    serde_json::from_str(&text?).ok()
}

fn percent(setups: &Value) -> f64 {
    setups["ok"].as_f64().unwrap_or(f64::NAN) / setups["of"].as_f64().unwrap_or(f64::NAN) * 100.0
}

/// The newest result of a clean call.
fn call(dir: &Path, options: &Options, arguments: &[&str]) -> Option<Value> {
    let status = node(dir, "call.mjs", options).args(["--scenario", "clean"]).args(arguments).status();
    if !status.ok()?.success() {
        return None;
    }
    let newest: Option<(SystemTime, PathBuf)> = fs::read_dir(dir.join("results"))
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let is_call = entry.file_name().to_string_lossy().starts_with("clean-");
            is_call.then_some((entry.metadata().ok()?.modified().ok()?, entry.path()))
        })
        .max();
    serde_json::from_str(&fs::read_to_string(newest?.1).ok()?).ok()
}

/// A figure of both directions of a call.
fn mean_of_both(call: &Value, path: &str) -> Option<f64> {
    let figure = |direction: &str| call.pointer(&format!("/calls/0/{direction}{path}"))?.as_f64();
    Some((figure("a_to_b")? + figure("b_to_a")?) / 2.0)
}
