//! The interfaces of this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use if_addrs::IfAddr;

/// More are not looked at.
const MAX_INTERFACES: usize = 16;

/// A network that this machine is in. Loopback interfaces, and those that are down, are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, as `eth0`.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// Its IPv4 addresses, and the length of their networks' prefixes.
    pub v4: Vec<(Ipv4Addr, u8)>,
    /// Its IPv6 addresses.
    pub v6: Vec<Ipv6Addr>,
}

impl Interface {
    /// All of its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.v4.iter().map(|(ip, _)| IpAddr::V4(*ip));
        v4.chain(self.v6.iter().map(|ip| IpAddr::V6(*ip)))
    }

    /// Whether an IPv4 address is in a network of this interface.
    pub(super) fn reaches(&self, ip: Ipv4Addr) -> bool {
        self.v4.iter().any(|(own, prefix)| {
            let mask = u32::MAX.checked_shl(32 - u32::from((*prefix).min(32))).unwrap_or(0);
            (own.to_bits() ^ ip.to_bits()) & mask == 0
        })
    }
}

/// The interfaces that are up.
pub fn interfaces() -> Vec<Interface> {
    let listed = if_addrs::get_if_addrs().inspect_err(|error| tracing::debug!(%error, "no list of interfaces"));
    let mut found: Vec<Interface> = Vec::new();
    for listed in listed.unwrap_or_default() {
        if listed.is_loopback() || !listed.is_oper_up() {
            continue;
        }
        let known = found.iter().position(|interface| interface.name == listed.name);
        let position = match known {
            Some(position) => position,
            None if found.len() >= MAX_INTERFACES => continue,
            None => {
                let index = listed.index.unwrap_or_default();
                found.push(Interface { name: listed.name.clone(), index, v4: Vec::new(), v6: Vec::new() });
                found.len() - 1
            }
        };
        let interface = &mut found[position];
        match listed.addr {
            IfAddr::V4(address) => interface.v4.push((address.ip, address.prefixlen)),
            IfAddr::V6(address) => interface.v6.push(address.ip),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_reaches_its_own_network() {
        let interface =
            Interface { name: "eth0".into(), index: 2, v4: vec![(Ipv4Addr::new(10, 77, 0, 11), 24)], v6: Vec::new() };
        assert!(interface.reaches(Ipv4Addr::new(10, 77, 0, 200)));
        assert!(!interface.reaches(Ipv4Addr::new(10, 77, 1, 200)));
        let everything = Interface { v4: vec![(Ipv4Addr::new(10, 0, 0, 1), 0)], ..interface };
        assert!(everything.reaches(Ipv4Addr::new(192, 0, 2, 1)));
    }
}
