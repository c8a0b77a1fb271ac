//! Addresses of rendezvous nodes that somebody else tells: which of them are taken. Pure.
//!
//! Whoever tells an address makes us dial it, so that only those are taken which a stranger may make us dial: plain IP
//! addresses, as far out as the one who tells them. A name could stand for any address, a relay for any person.

use std::net::IpAddr;

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many nodes are told, or taken from one who tells.
pub(crate) const MAX_NODES_TOLD: usize = 64;

/// How many addresses of one node are told, or taken.
pub(crate) const MAX_ADDRESSES_TOLD: usize = 2;

/// How far out an address is. Later ones are farther.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// This machine.
    Loopback,
    /// Some network of its own.
    Private,
    /// Everywhere.
    Public,
}

/// The node and its address without `/p2p`, of an address that ends with one.
pub(crate) fn split(address: &Multiaddr) -> Option<(PeerId, Multiaddr)> {
    let mut address = address.clone();
    match address.pop()? {
        Protocol::P2p(node) => Some((node, address)),
        _ => None,
    }
}

/// How far out an address of a node is; `None` if it must not be taken from others. Without `/p2p`.
pub(crate) fn reach(address: &Multiaddr) -> Option<Reach> {
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    let ip = match parts.as_slice() {
        [Protocol::Ip4(ip), Protocol::Tcp(port)] if *port != 0 => IpAddr::V4(*ip),
        [Protocol::Ip4(ip), Protocol::Udp(port), Protocol::QuicV1] if *port != 0 => IpAddr::V4(*ip),
        [Protocol::Ip6(ip), Protocol::Tcp(port)] if *port != 0 => IpAddr::V6(*ip),
        [Protocol::Ip6(ip), Protocol::Udp(port), Protocol::QuicV1] if *port != 0 => IpAddr::V6(*ip),
        _ => return None,
    };
    reach_of(ip.to_canonical())
}

fn reach_of(ip: IpAddr) -> Option<Reach> {
    let (unusable, loopback, private) = match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            // RFC 6890: this network, benchmarking, documentation, shared address space, protocol assignments.
            let reserved = a == 0 || a >= 240 || ip.is_documentation() || (a == 192 && b == 0);
            let private = ip.is_private() || (a == 100 && b & 0xc0 == 64) || (a == 198 && b & 0xfe == 18);
            (reserved || ip.is_link_local() || ip.is_multicast(), ip.is_loopback(), private)
        }
        IpAddr::V6(ip) => {
            let documentation = ip.segments()[..2] == [0x2001, 0x0db8];
            let unusable = ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local() || documentation;
            // Besides those for all the world, which are 2000::/3, there are only special ones.
            let global = ip.segments()[0] & 0xe000 == 0x2000;
            (unusable || !(global || ip.is_unique_local() || ip.is_loopback()), ip.is_loopback(), ip.is_unique_local())
        }
    };
    match (unusable, loopback, private) {
        (true, _, _) => None,
        (false, true, _) => Some(Reach::Loopback),
        (false, false, true) => Some(Reach::Private),
        (false, false, false) => Some(Reach::Public),
    }
}

/// Addresses on the wire: one that can't be read is left out, and does not spoil the others.
pub(crate) fn serialize<S: Serializer>(nodes: &[Multiaddr], serializer: S) -> Result<S::Ok, S::Error> {
    nodes.serialize(serializer)
}

/// See [`serialize`].
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Multiaddr>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach_of(text: &str) -> Option<Reach> {
        reach(&text.parse().unwrap())
    }

    #[test]
    fn plain_addresses_are_told_apart_by_how_far_out_they_are() {
        for far in ["/ip4/8.8.8.8/tcp/4001", "/ip6/2606:4700::1/udp/4001/quic-v1", "/ip4/192.1.2.3/udp/1/quic-v1"] {
            assert_eq!(reach_of(far), Some(Reach::Public), "{far}");
        }
        for private in ["/ip4/10.1.2.3/tcp/1", "/ip4/192.168.1.1/tcp/1", "/ip4/100.64.0.1/tcp/1", "/ip6/fd00::1/tcp/1"]
        {
            assert_eq!(reach_of(private), Some(Reach::Private), "{private}");
        }
        for here in ["/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1", "/ip6/::ffff:127.0.0.1/tcp/1"] {
            assert_eq!(reach_of(here), Some(Reach::Loopback), "{here}");
        }
    }

    #[test]
    fn what_a_stranger_must_not_make_us_dial_is_not_taken() {
        let relayed = format!("/ip4/8.8.8.8/tcp/1/p2p/{}/p2p-circuit", PeerId::random());
        let addresses = [
            "/dns4/node.example/tcp/4001",
            "/ip4/8.8.8.8/tcp/0",
            "/ip4/8.8.8.8/udp/4001",
            "/ip4/8.8.8.8/tcp/80/ws",
            "/ip4/0.0.0.0/tcp/1",
            "/ip4/224.0.0.251/udp/5353/quic-v1",
            "/ip4/255.255.255.255/tcp/1",
            "/ip4/169.254.169.254/tcp/80",
            "/ip4/192.0.2.1/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/ip6/ff02::1/tcp/1",
            "/ip6/2001:db8::1/tcp/1",
            "/ip6/64:ff9b::7f00:1/tcp/1",
            relayed.as_str(),
        ];
        for address in addresses {
            assert_eq!(reach_of(address), None, "{address}");
        }
    }
}
