//! The STUN and TURN servers that a node offers, as others write them. Pure.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, multiaddr::Protocol};

use crate::{IceServer, directory::TurnAccess};

/// How many servers of a kind one node may name.
const MAX_SERVERS: usize = 2;

/// However long access is given for: it is asked for again after two thirds of that, but not more often, and not more
/// rarely, than this.
const RENEW_AFTER: std::ops::RangeInclusive<Duration> = Duration::from_secs(20)..=Duration::from_secs(6 * 3600);

/// The longest name and password of an access.
const MAX_CREDENTIAL_BYTES: usize = 512;

/// Access to a node's TURN relay.
#[derive(Debug)]
pub(super) struct Access {
    granted: TurnAccess,
    pub(super) renew_at: Instant,
}

impl Access {
    /// `None` for what can't be used.
    pub(super) fn new(now: Instant, granted: TurnAccess) -> Option<Self> {
        let fits = |text: &str| !text.is_empty() && text.len() <= MAX_CREDENTIAL_BYTES;
        if !fits(&granted.username) || !fits(&granted.password) || granted.ttl_s == 0 {
            return None;
        }
        let two_thirds = Duration::from_secs(u64::from(granted.ttl_s) * 2 / 3);
        let renew_at = now + two_thirds.clamp(*RENEW_AFTER.start(), *RENEW_AFTER.end());
        Some(Self { granted, renew_at })
    }

    /// Whether the relay can be spoken to over a stream of the connection.
    pub(super) fn is_streamed(&self) -> bool {
        self.granted.stream
    }

    fn server(&self, host: &str, port: u16) -> IceServer {
        IceServer {
            url: format!("turn:{host}:{port}?transport=udp"),
            username: self.granted.username.clone(),
            password: self.granted.password.clone(),
        }
    }

    /// The relay's UDP ports.
    pub(super) fn direct(&self, node: &Multiaddr) -> Vec<IceServer> {
        let reached = host_of(node);
        self.granted
            .udp
            .iter()
            .filter(|address| address.port() != 0)
            .filter_map(|address| Some((host(address, reached.as_deref())?, address.port())))
            .take(MAX_SERVERS)
            .map(|(host, port)| self.server(&host, port))
            .collect()
    }

    /// The relay behind a port of this machine.
    pub(super) fn through(&self, local_port: u16) -> IceServer {
        self.server("127.0.0.1", local_port)
    }
}

/// The node's STUN servers.
pub(super) fn stun(node: &Multiaddr, ports: &[u16]) -> Vec<IceServer> {
    let Some(host) = host_of(node) else { return Vec::new() };
    ports
        .iter()
        .filter(|port| **port != 0)
        .take(MAX_SERVERS)
        .map(|port| IceServer { url: format!("stun:{host}:{port}"), username: String::new(), password: String::new() })
        .collect()
}

/// The host in the address that a node was reached at, as in a URI.
fn host_of(address: &Multiaddr) -> Option<String> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.to_string()),
        Protocol::Ip6(ip) => Some(format!("[{ip}]")),
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => Some(name.into_owned()),
        _ => None,
    }
}

fn host(address: &SocketAddr, reached: Option<&str>) -> Option<String> {
    match address.ip() {
        ip if ip.is_unspecified() => reached.map(str::to_owned),
        IpAddr::V4(ip) => Some(ip.to_string()),
        IpAddr::V6(ip) => Some(format!("[{ip}]")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(ttl_s: u32) -> TurnAccess {
        let udp = ["0.0.0.0:3478", "[2001:db8::1]:3479", "192.0.2.9:1"].map(|a| a.parse().unwrap()).to_vec();
        TurnAccess { username: "u".into(), password: "p".into(), ttl_s, udp, stream: true }
    }

    #[test]
    fn servers_are_written_with_the_address_that_the_node_was_reached_at() {
        let now = Instant::now();
        let access = Access::new(now, granted(600)).unwrap();
        let urls = |address: &str| {
            let address = address.parse().unwrap();
            let turn = access.direct(&address).into_iter().map(|server| server.url);
            stun(&address, &[3478, 0]).into_iter().map(|server| server.url).chain(turn).collect::<Vec<_>>()
        };
        assert_eq!(
            urls("/ip4/192.0.2.1/tcp/4001"),
            ["stun:192.0.2.1:3478", "turn:192.0.2.1:3478?transport=udp", "turn:[2001:db8::1]:3479?transport=udp"]
        );
        assert_eq!(urls("/ip6/2001:db8::7/tcp/4001")[0], "stun:[2001:db8::7]:3478");
        assert_eq!(urls("/dns4/node.example/tcp/4001")[1], "turn:node.example:3478?transport=udp");
        assert_eq!(access.through(5).url, "turn:127.0.0.1:5?transport=udp");
    }

    #[test]
    fn whatever_time_a_node_gives_access_for_it_is_asked_neither_all_the_time_nor_never() {
        let now = Instant::now();
        assert!(Access::new(now, granted(0)).is_none());
        assert_eq!(Access::new(now, granted(1)).unwrap().renew_at, now + *RENEW_AFTER.start());
        assert_eq!(Access::new(now, granted(600)).unwrap().renew_at, now + Duration::from_secs(400));
        assert_eq!(Access::new(now, granted(u32::MAX)).unwrap().renew_at, now + *RENEW_AFTER.end());
    }
}
