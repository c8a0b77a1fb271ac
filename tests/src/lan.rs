//! Local networks: hosts as network namespaces, each network a bridge. No default route, no DNS, multicast works.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    ops::Index,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use serde::{Deserialize, Serialize};

use crate::binary;

/// Hosts at 10.77.N.11, .12, ... on one switch; N counts the networks of a lab from 0.
#[derive(Debug)]
pub struct Lan {
    number: usize,
    protocols: Protocols,
    hosts: Vec<Host>,
}

/// What addresses the hosts of a network have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocols {
    /// IPv4, and the link-local IPv6 address that every interface has.
    Both,
    /// Only the latter: no router, no DHCP.
    Ipv6LinkLocal,
}

impl Lan {
    /// Plugs in so many hosts.
    ///
    /// # Panics
    /// Outside [`crate::in_lab`], where nobody is allowed to.
    #[must_use]
    pub fn new(hosts: usize) -> Self {
        Self::with(Protocols::Both, hosts)
    }

    /// A network on which there are link-local IPv6 addresses only.
    ///
    /// # Panics
    /// Outside [`crate::in_lab`].
    #[must_use]
    pub fn without_ipv4(hosts: usize) -> Self {
        Self::with(Protocols::Ipv6LinkLocal, hosts)
    }

    fn with(protocols: Protocols, hosts: usize) -> Self {
        static LANS: AtomicUsize = AtomicUsize::new(0);
        let mut lan = Self { number: LANS.fetch_add(1, Ordering::Relaxed), protocols, hosts: Vec::new() };
        switch(&lan.switch());
        for number in 1..=hosts {
            let mut host = Host::new(&format!("l{}h{number}", lan.number));
            lan.connect(&mut host, 10 + number);
            lan.hosts.push(host);
        }
        lan
    }

    fn switch(&self) -> String {
        format!("br{}", self.number)
    }

    /// Plugs a host of another network into this one too, at 10.77.N.200 and above.
    pub fn plug_in(&self, host: &mut Host) {
        self.connect(host, 200 + host.ports.len());
    }

    fn connect(&self, host: &mut Host, number: usize) {
        let address = format!("10.77.{}.{number}/24", self.number);
        host.plug_into(&self.switch(), (self.protocols == Protocols::Both).then_some(address.as_str()));
    }

    /// Plugs in this very process too, at 10.77.N.1, for a test that speaks to its peers itself.
    pub fn join(&self) {
        ip(&["addr", "add", &format!("10.77.{}.1/24", self.number), "brd", "+", "dev", &self.switch()]);
    }

    /// The hosts, in order.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Takes the last host out of the list, to plug it in elsewhere too.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn take_last(&mut self) -> Host {
        self.hosts.pop().expect("a host is left")
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
    /// The switches' ends of its cables.
    ports: Vec<Port>,
}

#[derive(Debug)]
struct Port {
    name: String,
    switch: String,
}

impl Host {
    /// A machine that is not plugged in yet.
    pub(crate) fn new(name: &str) -> Self {
        let host = Self { name: name.to_owned(), ports: Vec::new() };
        ip(&["netns", "add", &host.name]);
        host.run("sh", &["-c", "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad"]); // else IPv6 takes 2 s to come up
        ip(&["-n", &host.name, "link", "set", "lo", "up"]);
        host
    }

    /// A further interface, `eth0`, `eth1`, ..., with its link-local address and perhaps another.
    pub(crate) fn plug_into(&mut self, switch: &str, address: Option<&str>) {
        let interface = format!("eth{}", self.ports.len());
        let port = Port { name: format!("p{}-{}", self.ports.len(), self.name), switch: switch.to_owned() };
        ip(&["link", "add", &port.name, "type", "veth", "peer", "name", &interface, "netns", &self.name]);
        ip(&["link", "set", &port.name, "master", &port.switch, "up"]);
        if let Some(address) = address {
            ip(&["-n", &self.name, "addr", "add", address, "brd", "+", "dev", &interface]);
        }
        ip(&["-n", &self.name, "link", "set", &interface, "up"]);
        self.ports.push(port);
    }

    /// Takes it out of the lab. Nothing may run on it any more.
    pub(crate) fn scrap(&self) {
        self.ports.iter().for_each(|port| ip(&["link", "del", &port.name]));
        ip(&["netns", "del", &self.name]);
    }

    /// The cable that was plugged in first.
    fn first_port(&self) -> &Port {
        self.ports.first().expect("every host was plugged in")
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

    /// Pulls the cable, or all of them.
    pub fn cut(&self) {
        self.ports.iter().for_each(|port| ip(&["link", "set", &port.name, "down"]));
    }

    /// Plugs in again.
    pub fn mend(&self) {
        self.ports.iter().for_each(|port| ip(&["link", "set", &port.name, "up"]));
    }

    /// Pulls one cable of several, counted from 0 in the order in which they were plugged in.
    pub fn cut_one(&self, number: usize) {
        ip(&["link", "set", &self.ports[number].name, "down"]);
    }

    /// Puts a bad wire between this host and its first switch.
    #[must_use = "the wire is as good as cut once it is dropped"]
    pub fn impair(&self, impairment: Impairment) -> Wire {
        Wire::lay(self, 1, impairment, None)
    }

    /// Puts a good wire there that can get bad later, and then has other bad luck for each `seed`.
    #[must_use = "the wire is as good as cut once it is dropped"]
    pub fn wire(&self, seed: u64) -> Wire {
        Wire::lay(self, seed, Impairment::default(), None)
    }

    /// Puts a good wire there, which keeps what this host sends in `file`: see [`crate::capture`].
    #[must_use = "the wire is as good as cut once it is dropped"]
    pub fn tap(&self, file: &Path) -> Wire {
        Wire::lay(self, 1, Impairment::default(), Some(file))
    }

    /// Bytes that reached this host so far through the cable that was plugged in first, with Ethernet's headers.
    ///
    /// # Panics
    /// Outside [`crate::in_lab`].
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        let all = fs::read_to_string("/proc/net/dev").expect("a network has counters");
        let port = &self.first_port().name;
        let ours = all.lines().find_map(|line| line.trim_start().strip_prefix(port.as_str())?.strip_prefix(':'));
        // What the switch's end of the cable sent: the ninth of its figures.
        ours.and_then(|figures| figures.split_whitespace().nth(8)?.parse().ok()).expect("the port has counters")
    }
}

/// What a bad wire does, in each direction alike: first the bottleneck, then losses, then delays. ARP passes unharmed, as
/// resolution is not what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Impairment {
    /// One-way delay, milliseconds.
    pub delay_ms: u32,
    /// Standard deviation of a further delay that wanders slowly (50 ms of memory) and keeps the order, milliseconds.
    pub jitter_ms: u32,
    /// Random loss, percent.
    pub loss_percent: f32,
    /// How many packets are lost in a row, on average (Gilbert and Elliott's model); 0: each is lost independently.
    pub mean_burst: f32,
    /// Packets that are held back so that later ones overtake them, percent.
    pub reorder_percent: f32,
    /// For how long those are held back, milliseconds.
    pub reorder_ms: u32,
    /// Bottleneck, kilobits per second; 0: none.
    pub rate_kbps: u32,
    /// Its drop-tail queue, as milliseconds at its rate.
    pub queue_ms: u32,
}

impl Impairment {
    /// A good wire.
    pub const NONE: Self = Self {
        delay_ms: 0,
        jitter_ms: 0,
        loss_percent: 0.0,
        mean_burst: 0.0,
        reorder_percent: 0.0,
        reorder_ms: 0,
        rate_kbps: 0,
        queue_ms: 200,
    };
}

impl Default for Impairment {
    /// None.
    fn default() -> Self {
        Self::NONE
    }
}

/// A bad wire; see [`Host::impair`].
#[derive(Debug)]
pub struct Wire {
    process: Child,
    settings: ChildStdin,
    /// The little switch on the host's side.
    switch: String,
}

impl Wire {
    /// The host's port moves to a little switch of its own; the program `wire` carries frames from there to the big one.
    fn lay(host: &Host, seed: u64, impairment: Impairment, record: Option<&Path>) -> Self {
        let (switch, near, far) = (format!("bw-{}", host.name), format!("n-{}", host.name), format!("f-{}", host.name));
        let mut process = Command::new(binary::helper("wire"))
            .args([&near, &far, &seed.to_string()])
            .args(record)
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
        let port = host.first_port();
        ip(&["link", "set", &far, "master", &port.switch, "up"]);
        ip(&["link", "set", &port.name, "master", &switch]);
        let settings = process.stdin.take().expect("stdin is piped");
        let mut wire = Self { process, settings, switch };
        wire.set(impairment);
        wire
    }

    /// Lets a second host's frames pass through it too: both share the bottleneck.
    pub fn share(&self, host: &Host) {
        ip(&["link", "set", &host.first_port().name, "master", &self.switch]);
    }

    /// Changes what the wire does, while frames pass.
    pub fn set(&mut self, impairment: Impairment) {
        let line = serde_json::to_string(&impairment).expect("numbers are JSON");
        writeln!(self.settings, "{line}").expect("the wire lives");
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
        ip(&["link", "del", &self.switch]);
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
