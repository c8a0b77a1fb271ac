//! A running `parlor-node`.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Host, binary};

/// A rendezvous node. Killed when dropped.
#[derive(Debug)]
pub struct Rendezvous {
    process: Child,
    address: String,
    _data_dir: TempDir,
}

impl Rendezvous {
    /// Runs one on `host`, whose address is `ip`, and waits until it listens.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn start(host: &Host, ip: &str) -> Self {
        let data_dir = tempfile::Builder::new().prefix("parlor-node-").tempdir().expect("a temporary directory");
        let mut command: Command = host.command(binary::parlor_node());
        command.arg("--data-dir").arg(data_dir.path()).args(["--json", "--allow-private", "--public-ip", ip]);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the node starts");
        let mut ready = String::new();
        let stdout = process.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut ready).expect("the node says when it is ready");
        let ready: Value = serde_json::from_str(&ready).unwrap_or_default();
        let addresses = ready["addresses"].as_array().cloned().unwrap_or_default();
        let tcp = format!("/ip4/{ip}/tcp/");
        let address = addresses.iter().filter_map(Value::as_str).find(|address| address.starts_with(&tcp));
        let address = address.unwrap_or_else(|| panic!("the node does not listen at {tcp}: {ready}")).to_owned();
        Self { process, address, _data_dir: data_dir }
    }

    /// Where it is reached, with `/p2p/<id>`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Dies without a word.
    pub fn crash(&mut self) {
        self.process.kill().expect("it still runs");
        self.process.wait().expect("it can be reaped");
    }
}

impl Drop for Rendezvous {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}
