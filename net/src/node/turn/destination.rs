//! Where the relay sends to: never into the node's own network, unless its owner says so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which addresses are relayed to, besides public ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) struct Destinations {
    /// Private, shared and documentation ranges.
    pub(in crate::node) private: bool,
    /// This machine: for a node that only this machine can reach.
    pub(in crate::node) loopback: bool,
}

impl Destinations {
    pub(in crate::node) fn allow(self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.allow_v4(ip),
            IpAddr::V6(ip) => self.allow_v6(ip),
        }
    }

    /// Whether programs on the node's own machine are reached: under an address that the machine has in a private
    /// network, if those are allowed, since whoever runs the node may sit at it; never under a public one.
    pub(super) fn allow_own(self, ip: IpAddr) -> bool {
        self.allow(ip) && !Self { private: false, loopback: false }.allow(ip)
    }

    fn allow_v4(self, ip: Ipv4Addr) -> bool {
        let [a, b, ..] = ip.octets();
        if ip.is_loopback() {
            return self.loopback;
        }
        // Link-local ones too: clouds answer there with their secrets.
        if a == 0 || a >= 224 || ip.is_link_local() {
            return false;
        }
        let shared = a == 100 && (64..128).contains(&b);
        let benchmarks = a == 198 && (b == 18 || b == 19);
        let special = a == 192 && b == 0 && ip.octets()[2] == 0;
        self.private || !(ip.is_private() || ip.is_documentation() || shared || benchmarks || special)
    }

    fn allow_v6(self, ip: Ipv6Addr) -> bool {
        if ip.is_loopback() {
            return self.loopback;
        }
        let segments = ip.segments();
        if ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local() {
            return false;
        }
        // Those that stand for an IPv4 address: NAT64 (RFC 6052) and 6to4 (RFC 3056).
        let v4 = |high: u16, low: u16| Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low));
        match segments {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => return self.allow_v4(v4(high, low)),
            _ => {}
        }
        let global = segments[0] & 0xe000 == 0x2000 && segments[..2] != [0x2001, 0xdb8];
        let private = ip.is_unique_local() || segments[..2] == [0x2001, 0xdb8];
        global || (self.private && private)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relay_is_no_way_into_the_nodes_own_network() {
        let public = Destinations { private: false, loopback: false };
        let lab = Destinations { private: true, loopback: false };
        let alone = Destinations { private: false, loopback: true };
        let table = [
            ("8.8.8.8", true, true, true),
            ("2606:4700::1111", true, true, true),
            ("10.1.2.3", false, true, false),
            ("172.16.0.1", false, true, false),
            ("192.168.1.1", false, true, false),
            ("100.64.0.1", false, true, false),
            ("203.0.113.10", false, true, false),
            ("fd00::1", false, true, false),
            ("2001:db8::1", false, true, false),
            ("127.0.0.1", false, false, true),
            ("::1", false, false, true),
            ("::ffff:127.0.0.1", false, false, true),
            ("::ffff:10.0.0.1", false, true, false),
            ("64:ff9b::7f00:1", false, false, true),
            ("64:ff9b::a00:1", false, true, false),
            ("2002:a00:1::", false, true, false),
            ("169.254.169.254", false, false, false),
            ("fe80::1", false, false, false),
            ("0.0.0.0", false, false, false),
            ("::", false, false, false),
            ("224.0.0.251", false, false, false),
            ("255.255.255.255", false, false, false),
            ("ff02::fb", false, false, false),
        ];
        for (ip, in_public, in_lab, in_alone) in table {
            let ip: IpAddr = ip.parse().unwrap();
            let allowed = [public, lab, alone].map(|destinations| destinations.allow(ip));
            assert_eq!(allowed, [in_public, in_lab, in_alone], "{ip}");
            let own = [public, lab, alone].map(|destinations| destinations.allow_own(ip));
            assert_eq!(own, [false, in_lab && !in_public, in_alone && !in_public], "{ip}");
        }
    }
}
