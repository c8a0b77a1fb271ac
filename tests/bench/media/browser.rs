//! The same call between two Chromiums.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::json;

use crate::{
    links::Link,
    options::Options,
    recording::{KEEP_ONE_IN, Line, ends},
};

/// What drives the browsers; a file for `node`.
const DRIVER: &str = include_str!("browser.mjs");

pub(crate) fn measure(link: &Link, run: u64, options: &Options, folder: &Path) -> anyhow::Result<()> {
    let Some(packages) = &options.browser else { anyhow::bail!("--browser is missing") };
    let mut path = Line::new(run, link.beside);
    let hosts: Vec<_> = ends(&path.lan).into_iter().zip(&options.speech).map(|((end, host), speech)| {
        json!({ "end": end, "namespace": format!("/run/netns/{}", host.name()), "speech": speech })
    }).collect();
    let wanted = json!({
        "packages": packages, "chromium": options.chromium, "clip": options.clip, "hosts": hosts, "video": link.video,
        "keepOneIn": KEEP_ONE_IN, "folder": folder,
    });
    let script = folder.join("driver.mjs");
    std::fs::write(&script, DRIVER)?;
    let mut node = Command::new("node")
        .arg(&script)
        .arg(wanted.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (Some(mut stdin), Some(stdout)) = (node.stdin.take(), node.stdout.take()) else { anyhow::bail!("no pipes") };
    let mut lines = BufReader::new(stdout).lines();
    let connected = lines.next().transpose()?;
    anyhow::ensure!(connected.as_deref() == Some("connected"), "the browsers are not connected: {connected:?}");
    path.run(link, folder)?;
    writeln!(stdin, "stop")?;
    anyhow::ensure!(node.wait()?.success(), "the browsers' driver failed");
    Ok(())
}
