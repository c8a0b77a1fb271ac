//! The internet in small: one public network, and homes behind routers that translate addresses.

use std::{
    cell::Cell,
    io::Write,
    process::{Command, Stdio},
};

use crate::{
    Host,
    lan::{ip, switch},
};

/// A public network with one host on it, `pub` at 203.0.113.10 and 2001:db8::10, and homes.
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

/// What addresses a home has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// A private IPv4 address behind the router's.
    Ipv4,
    /// A public IPv6 address behind the router's firewall; not translated.
    Ipv6,
    /// Both.
    Both,
}

impl Family {
    fn has_ipv4(self) -> bool {
        self != Self::Ipv6
    }

    fn has_ipv6(self) -> bool {
        self != Self::Ipv4
    }
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
    /// The last number of the host's address.
    host_number: Cell<u8>,
}

impl Internet {
    /// The public address of [`Internet::public`].
    pub const PUBLIC_ADDRESS: &'static str = "203.0.113.10";

    /// Its IPv6 address.
    pub const PUBLIC_ADDRESS_V6: &'static str = "2001:db8::10";

    /// Connects a home for each of `nats`: `a1` at 10.77.1.11 behind `ra` at 203.0.113.101, `b1` at 10.77.2.11 behind
    /// `rb` at 203.0.113.102, and so on. IPv4 alone.
    ///
    /// # Panics
    /// Outside [`crate::in_lab`], where nobody is allowed to.
    #[must_use]
    pub fn new(nats: &[Nat]) -> Self {
        let homes: Vec<_> = nats.iter().map(|nat| (*nat, Family::Ipv4)).collect();
        Self::of_families(&homes)
    }

    /// As [`Internet::new`], with IPv6 for those who have it: `a1` at 2001:db8:1::11 behind `ra` at 2001:db8::101, and
    /// so on.
    ///
    /// # Panics
    /// Outside [`crate::in_lab`].
    #[must_use]
    pub fn of_families(homes: &[(Nat, Family)]) -> Self {
        switch("br-pub");
        let mut public = Host::new("pub");
        public.plug_into("br-pub", Some(&format!("{}/24", Self::PUBLIC_ADDRESS)));
        ip(&["-n", public.name(), "addr", "add", &format!("{}/64", Self::PUBLIC_ADDRESS_V6), "dev", "eth0"]);
        let homes: Vec<Home> = ('a'..='z')
            .zip(1..)
            .zip(homes)
            .map(|((letter, n), (nat, family))| Home::connect(letter, n, *nat, *family))
            .collect();
        // Everybody on the public network knows where the homes' IPv6 networks are.
        for from in std::iter::once(&public).chain(homes.iter().map(|home| &home.router)) {
            for to in homes.iter().filter(|to| to.router.name() != from.name()) {
                let (network, via) = (format!("2001:db8:{}::/64", to.number), format!("2001:db8::{}", 100 + to.number));
                ip(&["-n", from.name(), "-6", "route", "add", &network, "via", &via]);
            }
        }
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

/// A lab can have one internet after the other.
impl Drop for Internet {
    fn drop(&mut self) {
        let hosts = self.homes.iter().flat_map(|home| [&home.host, &home.router]).chain([&self.public]);
        hosts.for_each(Host::scrap);
        let inside = ('a'..='z').take(self.homes.len()).map(|letter| format!("br-{letter}"));
        inside.chain(["br-pub".to_owned()]).for_each(|switch| ip(&["link", "del", &switch]));
    }
}

impl Home {
    fn connect(letter: char, number: usize, nat: Nat, family: Family) -> Self {
        let address = format!("203.0.113.{}", 100 + number);
        let (inside, gateway) = (format!("br-{letter}"), format!("10.77.{number}.1"));
        switch(&inside);
        let mut router = Host::new(&format!("r{letter}"));
        router.plug_into("br-pub", Some(&format!("{address}/24")));
        router.plug_into(&inside, Some(&format!("{gateway}/24")));
        router.run(
            "sh",
            &["-c", "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"],
        );
        translate(&router, nat);
        let mut host = Host::new(&format!("{letter}1"));
        host.plug_into(&inside, family.has_ipv4().then(|| format!("10.77.{number}.11/24")).as_deref());
        if family.has_ipv4() {
            ip(&["-n", host.name(), "route", "add", "default", "via", &gateway]);
        }
        // The router's outside exists for everybody, so that homes find each other; its inside for who has IPv6.
        ip(&["-n", router.name(), "addr", "add", &format!("2001:db8::{}/64", 100 + number), "dev", "eth0"]);
        if family.has_ipv6() {
            let gateway = format!("2001:db8:{number}::1");
            ip(&["-n", router.name(), "addr", "add", &format!("{gateway}/64"), "dev", "eth1"]);
            ip(&["-n", host.name(), "addr", "add", &format!("2001:db8:{number}::11/64"), "dev", "eth0"]);
            ip(&["-n", host.name(), "-6", "route", "add", "default", "via", &gateway]);
        }
        Self { host, router, address, gateway, number, host_number: Cell::new(11) }
    }

    /// The host gets another IPv4 address from its router, as after a change of network: .99 instead of .11, .100 the
    /// next time, and so on.
    pub fn replace_address(&self) {
        let old = self.host_number.get();
        let new = if old < 99 { 99 } else { old + 1 };
        self.host_number.set(new);
        let address = |last: u8| format!("10.77.{}.{last}/24", self.number);
        ip(&["-n", self.host.name(), "addr", "del", &address(old), "dev", "eth0"]);
        ip(&["-n", self.host.name(), "addr", "add", &address(new), "brd", "+", "dev", "eth0"]);
        ip(&["-n", self.host.name(), "route", "replace", "default", "via", &self.gateway]);
    }

    /// The host's IPv4 address at home.
    #[must_use]
    pub fn private_address(&self) -> String {
        format!("10.77.{}.{}", self.number, self.host_number.get())
    }

    /// The router's address inside.
    #[must_use]
    pub fn gateway(&self) -> &str {
        &self.gateway
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
         table inet filter {{
           chain forward {{ type filter hook forward priority 0; policy drop;
             {block}
             ct state established,related accept
             iifname \"eth1\" accept
           }}
           chain input {{ type filter hook input priority 0; policy drop;
             ct state established,related accept
             iifname != \"eth0\" accept
             meta l4proto {{ icmp, icmpv6 }} accept
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
