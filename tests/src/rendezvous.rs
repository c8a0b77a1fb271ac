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
    addresses: Vec<String>,
    arguments: Vec<String>,
    data_dir: TempDir,
}

impl Rendezvous {
    /// Runs one on `host`, whose address is `ip`, and waits until it listens.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn start(host: &Host, ip: &str) -> Self {
        Self::with(host, &[ip], &[])
    }

    /// As [`Rendezvous::start`], with several addresses and further arguments.
    ///
    /// # Panics
    /// When it does not listen at one of the addresses.
    #[must_use]
    pub fn with(host: &Host, ips: &[&str], arguments: &[&str]) -> Self {
        let data_dir = tempfile::Builder::new().prefix("parlor-node-").tempdir().expect("a temporary directory");
        let public = ips.iter().flat_map(|ip| ["--public-ip", ip]);
        let arguments: Vec<String> = public.chain(arguments.iter().copied()).map(str::to_owned).collect();
        let (process, listening) = launch(host, &arguments, &data_dir);
        let address = |ip: &&str| {
            let tcp = format!("/{}/{ip}/tcp/", if ip.contains(':') { "ip6" } else { "ip4" });
            let found = listening.iter().find(|address| address.starts_with(&tcp));
            found.unwrap_or_else(|| panic!("the node does not listen at {tcp}: {listening:?}")).clone()
        };
        let addresses = ips.iter().map(address).collect();
        Self { process, addresses, arguments, data_dir }
    }

    /// Runs one on `host`, with these arguments and no public address of its own, and waits until it listens and is known
    /// at `ip`.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn at_home(host: &Host, ip: &str, arguments: &[&str]) -> Self {
        let data_dir = tempfile::Builder::new().prefix("parlor-node-").tempdir().expect("a temporary directory");
        let arguments: Vec<String> = arguments.iter().copied().map(str::to_owned).collect();
        let (process, addresses) = launch(host, &arguments, &data_dir);
        let at = format!("/ip4/{ip}/");
        assert!(addresses.iter().any(|address| address.starts_with(&at)), "it is not known at {at}: {addresses:?}");
        let mut addresses: Vec<String> = addresses.into_iter().filter(|address| address.starts_with(&at)).collect();
        // TCP first.
        addresses.sort_unstable();
        Self { process, addresses, arguments, data_dir }
    }

    /// One of its figures, as Prometheus sees it. It runs on `host`.
    ///
    /// # Panics
    /// When it does not serve them.
    #[must_use]
    pub fn figure(&self, host: &Host, name: &str) -> u64 {
        let ask = "exec 3<>/dev/tcp/127.0.0.1/9464; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
        let output = host.command("bash").args(["-c", ask]).output().expect("bash runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("parlor_node_{name} ")));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no figure {name} in:\n{text}"))
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn terminate(&mut self) {
        let pid = i32::try_from(self.process.id()).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.expect("a process has an id");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it still runs");
        assert!(self.process.wait().expect("it can be reaped").success(), "the node ended with an error");
    }

    /// Where it is reached, with `/p2p/<id>`: at its first address.
    ///
    /// # Panics
    /// Never: it has one.
    #[must_use]
    pub fn address(&self) -> &str {
        self.addresses.first().expect("it was started with an address")
    }

    /// Where it is reached, for each address that it was started with.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Dies without a word.
    pub fn crash(&mut self) {
        self.process.kill().expect("it still runs");
        self.process.wait().expect("it can be reaped");
    }

    /// Dies without a word, and comes back as the same node.
    ///
    /// # Panics
    /// When it does not.
    pub fn restart(&mut self, host: &Host) {
        self.crash();
        (self.process, _) = launch(host, &self.arguments, &self.data_dir);
    }
}

/// A node, and where it says it listens.
fn launch(host: &Host, arguments: &[String], data_dir: &TempDir) -> (Child, Vec<String>) {
    let mut command: Command = host.command(binary::parlor_node());
    command.arg("--data-dir").arg(data_dir.path()).args(["--json", "--allow-private"]).args(arguments);
    let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the node starts");
    let mut ready = String::new();
    let stdout = process.stdout.take().expect("stdout is piped");
    BufReader::new(stdout).read_line(&mut ready).expect("the node says when it is ready");
    let ready: Value = serde_json::from_str(&ready).unwrap_or_default();
    let addresses = ready["addresses"].as_array().into_iter().flatten();
    (process, addresses.filter_map(Value::as_str).map(str::to_owned).collect())
}

impl Drop for Rendezvous {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}
