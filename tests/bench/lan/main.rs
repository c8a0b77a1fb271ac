//! Measures Parlor on a local network of namespaces, and prints one table: what was to reach, what was reached.
//!
//! Each part runs in a lab and a process of its own: one that fails says so in the table, and harms no other. The old
//! browser system's figures stand beside ours when `--browser` names a directory with it (and its packages) in.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program whose output is a table")]

mod browser;
mod calls;
mod camera;
mod frames;
mod media;
mod options;
mod presence;
mod table;

use std::process::{ExitCode, Stdio};

use parlor_tests::{clip, in_lab_command};
use serde_json::{Value, json};

use self::options::Options;
use self::table::{Figures, Row};

/// One part of the benchmark: measures, in the lab, and gives rows of the table.
type Part = fn(&Options) -> Vec<Row>;

/// In the order of the table.
const PARTS: [(&str, Part); 8] = [
    ("presence", presence::measure),
    ("setup", calls::measure_setup),
    ("clean", media::measure_clean),
    ("window", media::measure_window),
    ("loss", media::measure_loss),
    ("camera", camera::measure),
    ("repeat", calls::measure_repeated),
    ("voice", media::measure_voice),
];

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    match options.inside {
        Some(index) => measure_one(index, &options),
        None => measure_all(&options),
    }
}

/// Inside the lab: one part; its rows go to stdout as JSON.
fn measure_one(index: usize, options: &Options) -> ExitCode {
    // Ahead of what else the machine does, where that is allowed.
    let _best_effort = rustix::process::setpriority_process(None, -10);
    let rows: Vec<Value> = PARTS[index].1(options).iter().map(Row::to_json).collect();
    println!("{}", Value::from(rows));
    ExitCode::SUCCESS
}

fn measure_all(options: &Options) -> ExitCode {
    if !options.clip.exists() {
        eprintln!("drawing the camera clip {} (330 MB)", options.clip.display());
        if let Err(error) = clip::write(&options.clip, clip::WIDTH, clip::HEIGHT, clip::FRAMES) {
            eprintln!("{}: {error}", options.clip.display());
            return ExitCode::FAILURE;
        }
    }
    let figures = options.browser.as_ref().map_or_else(Figures::default, |dir| browser::measure(dir, options));
    let mut rows = Vec::new();
    for (index, (name, _)) in PARTS.iter().enumerate().filter(|(_, (name, _))| options.wants(name)) {
        eprintln!("measuring: {name}");
        rows.extend(in_lab(index, options).unwrap_or_else(|why| vec![json!({ "what": name, "failed": why })]));
    }
    println!("{}", table::markdown(&rows, &figures));
    if let Some(file) = &options.json {
        let all = json!({ "rows": rows, "browser": figures.to_json() });
        if let Err(error) = std::fs::write(file, format!("{all:#}\n")) {
            eprintln!("{}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn in_lab(index: usize, options: &Options) -> Result<Vec<Value>, String> {
    let output = in_lab_command()
        .args(options.to_arguments(index))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| error.to_string())?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        eprintln!("{stdout}");
        return Err(format!("ended with {}", output.status));
    }
    let rows: Option<Vec<Value>> = stdout.lines().last().and_then(|line| serde_json::from_str(line).ok());
    rows.ok_or_else(|| "gave no figures".to_owned())
}
