//! The internet in small: one public network, and homes behind routers that translate addresses.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use crate::{
    Host,
    lan::{ip, switch},
};

/// A public network with one host on it, `pub` at 203.0.113.10, and homes.
#[derive(Debug)]
pub struct Internet {
    public: Host,
    homes: Vec<Home>,
}

/// What a home's router does with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// One mapping for all destinations, with the inner port where it is free; only those who were sent something can
    /// answer. Most homes. (Endpoint-independent mapping, address- and port-dependent filtering: RFC 4787.)
    Cone,
    /// A new random port for every destination: holes can't be punched. Mobile networks, some offices.
    Symmetric,
    /// As [`Nat::Cone`], with a firewall that lets no UDP through.
    NoUdp,
}

/// One host behind a router.
#[derive(Debug)]
pub struct Home {
    /// The host.
    pub host: Host,
    /// The router. Its outer interface is `eth0`.
    pub router: Host,
    address: String,
    gateway: String,
    number: usize,
}

impl Internet {
    /// The public address of [`Internet::public`].
    pub const PUBLIC_ADDRESS: &'static str = "203.0.113.10";

    /// Connects a home for each of `nats`: `a1` at 10.77.1.11 behind `ra` at 203.0.113.101, `b1` at 10.77.2.11 behind
    /// `rb` at 203.0.113.102, and so on.
    ///
    /// # Panics
    /// Outside [`crate::in_lab`], where nobody is allowed to.
    #[must_use]
    pub fn new(nats: &[Nat]) -> Self {
        switch("br-pub");
        let mut public = Host::new("pub");
        public.plug_into("br-pub", Some(&format!("{}/24", Self::PUBLIC_ADDRESS)));
        let homes = ('a'..='z').zip(1..).zip(nats).map(|((letter, n), nat)| Home::connect(letter, n, *nat)).collect();
        Self { public, homes }
    }

    /// The host that everybody can reach.
    #[must_use]
    pub fn public(&self) -> &Host {
        &self.public
    }

    /// The homes, in order.
    #[must_use]
    pub fn homes(&self) -> &[Home] {
        &self.homes
    }
}

impl Home {
    fn connect(letter: char, number: usize, nat: Nat) -> Self {
        let address = format!("203.0.113.{}", 100 + number);
        let (inside, gateway) = (format!("br-{letter}"), format!("10.77.{number}.1"));
        switch(&inside);
        let mut router = Host::new(&format!("r{letter}"));
        router.plug_into("br-pub", Some(&format!("{address}/24")));
        router.plug_into(&inside, Some(&format!("{gateway}/24")));
        router.run("sh", &["-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]);
        translate(&router, nat);
        let mut host = Host::new(&format!("{letter}1"));
        host.plug_into(&inside, Some(&format!("10.77.{number}.11/24")));
        ip(&["-n", host.name(), "route", "add", "default", "via", &gateway]);
        Self { host, router, address, gateway, number }
    }

    /// The host gets another address from its router, .99 instead of .11, as after a change of network.
    pub fn replace_address(&self) {
        let address = |last: u8| format!("10.77.{}.{last}/24", self.number);
        ip(&["-n", self.host.name(), "addr", "del", &address(11), "dev", "eth0"]);
        ip(&["-n", self.host.name(), "addr", "add", &address(99), "brd", "+", "dev", "eth0"]);
        ip(&["-n", self.host.name(), "route", "replace", "default", "via", &self.gateway]);
    }

    /// The router's public address.
    #[must_use]
    pub fn public_address(&self) -> &str {
        &self.address
    }
}

/// Unsolicited packets are dropped before a mapping is made for them, as home routers do.
fn translate(router: &Host, nat: Nat) {
    let (flags, block) = match nat {
        Nat::Cone => ("", ""),
        Nat::Symmetric => ("random,fully-random", ""),
        Nat::NoUdp => ("", "meta l4proto udp drop"),
    };
    let rules = format!(
        "table ip nat {{
           chain post {{ type nat hook postrouting priority 100; oifname \"eth0\" masquerade {flags}; }}
         }}
         table ip filter {{
           chain forward {{ type filter hook forward priority 0; policy drop;
             {block}
             ct state established,related accept
             iifname \"eth1\" accept
           }}
           chain input {{ type filter hook input priority 0; policy drop;
             ct state established,related accept
             iifname != \"eth0\" accept
             icmp type echo-request accept
           }}
         }}"
    );
    feed(router.command("nft").args(["-f", "-"]), &rules);
}

fn feed(command: &mut Command, text: &str) {
    let mut process =
        command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("nft (Debian: nftables) runs");
    process.stdin.take().expect("stdin is piped").write_all(text.as_bytes()).expect("nft reads its rules");
    let output = process.wait_with_output().expect("nft ends");
    assert!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr));
}
