//! The local addresses that sockets are bound to: asked of the system anew for every generation of candidates.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs},
    vec,
};

use rtc::shared::ifaces::ifaces;

use crate::Interfaces;

/// Addresses that are used; a machine with more has virtual ones that lead nowhere.
const MAX_ADDRESSES: usize = 16;

impl ToSocketAddrs for Interfaces {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let found = match self {
            Self::Loopback => Vec::new(),
            Self::All => ifaces()?.into_iter().filter_map(|interface| interface.addr).map(|addr| addr.ip()).collect(),
        };
        Ok(usable(found).into_iter().map(|ip| SocketAddr::new(ip, 0)).collect::<Vec<_>>().into_iter())
    }
}

/// The addresses that a peer could reach. Loopback when there is none, so that a machine that lost its network keeps a
/// connection which can be restarted when the network is back.
fn usable(found: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut usable = Vec::new();
    for ip in found {
        // Means nothing without a zone, which candidates can't carry.
        let needs_zone = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        if !ip.is_loopback() && !ip.is_unspecified() && !needs_zone && !usable.contains(&ip) {
            usable.push(ip);
        }
    }
    usable.truncate(MAX_ADDRESSES);
    if usable.is_empty() {
        usable.push(Ipv4Addr::LOCALHOST.into());
    }
    usable
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn reachable_addresses_are_used_once_each() {
        let found = ips(&["127.0.0.1", "192.168.1.2", "::1", "fe80::1", "2001:db8::2", "192.168.1.2", "0.0.0.0"]);
        assert_eq!(usable(found), ips(&["192.168.1.2", "2001:db8::2"]));
    }

    #[test]
    fn loopback_stands_in_when_there_is_no_network() {
        assert_eq!(usable(ips(&["127.0.0.1", "fe80::1"])), ips(&["127.0.0.1"]));
    }

    #[test]
    fn the_number_of_addresses_is_bounded() {
        let many = (0..100).map(|i| IpAddr::from([10, 0, 0, i])).collect();
        assert_eq!(usable(many).len(), MAX_ADDRESSES);
    }
}
