//! A local network: hosts as network namespaces on one bridge. No default route, no DNS, multicast works.

use std::{
    io::{BufRead, BufReader, Write},
    ops::Index,
    process::{Child, ChildStdin, Command, Stdio},
};

use crate::binary;

/// Hosts `h1`, `h2`, ... at 10.77.0.11, .12, ... on one switch. One per lab.
#[derive(Debug)]
pub struct Lan {
    hosts: Vec<Host>,
}

impl Lan {
    /// Plugs in so many hosts.
    ///
    /// # Panics
    /// Outside [`crate::in_lab`], where nobody is allowed to.
    #[must_use]
    pub fn new(hosts: usize) -> Self {
        switch("br0");
        let plug_in = |n| Host::plug_in(&format!("h{n}"), "br0", &format!("10.77.0.{}/24", 10 + n));
        Self { hosts: (1..=hosts).map(plug_in).collect() }
    }

    /// The hosts, in order.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }
}

impl Index<usize> for Lan {
    type Output = Host;

    fn index(&self, index: usize) -> &Host {
        &self.hosts[index]
    }
}

/// A machine on the network, as far as the network is concerned.
#[derive(Debug)]
pub struct Host {
    name: String,
    port: String,
    switch: String,
}

impl Host {
    /// A new host with one interface, `eth0`.
    pub(crate) fn plug_in(name: &str, switch: &str, address: &str) -> Self {
        let host = Self { name: name.to_owned(), port: format!("p-{name}"), switch: switch.to_owned() };
        ip(&["netns", "add", &host.name]);
        host.run("sh", &["-c", "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad"]); // else IPv6 takes 2 s to come up
        ip(&["link", "add", &host.port, "type", "veth", "peer", "name", "eth0", "netns", &host.name]);
        ip(&["link", "set", &host.port, "master", switch, "up"]);
        ip(&["-n", &host.name, "addr", "add", address, "brd", "+", "dev", "eth0"]);
        ip(&["-n", &host.name, "link", "set", "lo", "up"]);
        ip(&["-n", &host.name, "link", "set", "eth0", "up"]);
        host
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `program` on this host. Its process id is the program's own.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg("--").arg(program);
        command
    }

    pub(crate) fn run(&self, program: &str, args: &[&str]) {
        let output = self.command(program).args(args).output().expect("nsenter runs");
        assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Pulls the cable.
    pub fn cut(&self) {
        ip(&["link", "set", &self.port, "down"]);
    }

    /// Plugs the cable in again.
    pub fn mend(&self) {
        ip(&["link", "set", &self.port, "up"]);
    }

    /// Puts a bad wire between this host and the switch.
    #[must_use = "the wire is as good as cut once it is dropped"]
    pub fn impair(&self, impairment: Impairment) -> Wire {
        Wire::lay(self, impairment)
    }
}

/// What a bad wire does, in each direction alike. ARP passes unharmed, as resolution is not what is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Impairment {
    /// One-way delay, milliseconds.
    pub delay_ms: u32,
    /// Independent random loss, percent.
    pub loss_percent: f32,
    /// Bottleneck with a drop-tail queue of 200 ms, kilobits per second; 0: none.
    pub rate_kbps: u32,
}

/// A bad wire; see [`Host::impair`].
#[derive(Debug)]
pub struct Wire {
    process: Child,
    settings: ChildStdin,
}

impl Wire {
    /// The host's port moves to a little switch of its own; the program `wire` carries frames from there to the big one.
    fn lay(host: &Host, impairment: Impairment) -> Self {
        let (switch, near, far) = (format!("br-{}", host.name), format!("n-{}", host.name), format!("f-{}", host.name));
        let mut process = Command::new(binary::helper("wire"))
            .args([&near, &far])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the wire starts");
        let mut ready = String::new();
        let stdout = process.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut ready).expect("the wire says when it is ready");
        assert_eq!(ready, "ready\n", "the wire did not start");

        self::switch(&switch);
        ip(&["link", "set", &near, "master", &switch, "up"]);
        ip(&["link", "set", &far, "master", &host.switch, "up"]);
        ip(&["link", "set", &host.port, "master", &switch]);
        let settings = process.stdin.take().expect("stdin is piped");
        let mut wire = Self { process, settings };
        wire.set(impairment);
        wire
    }

    /// Changes what the wire does, while frames pass.
    pub fn set(&mut self, Impairment { delay_ms, loss_percent, rate_kbps }: Impairment) {
        writeln!(self.settings, "{delay_ms} {loss_percent} {rate_kbps}").expect("the wire lives");
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// A plain switch: without snooping every port gets every multicast frame.
pub(crate) fn switch(name: &str) {
    ip(&["link", "add", name, "type", "bridge", "mcast_snooping", "0", "stp_state", "0"]);
    ip(&["link", "set", name, "up"]);
}

pub(crate) fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().expect("ip (Debian: iproute2) runs");
    assert!(output.status.success(), "ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
}
