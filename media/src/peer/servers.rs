//! STUN and TURN servers: from what somebody wrote to addresses that the stack can use.
//!
//! The stack fails on one malformed address for all servers, and stands still while it asks for a name. So it gets
//! nothing but numbers from here, and whatever can't be used is left out with a line in the log.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::task::JoinSet;
use webrtc::peer_connection::RTCIceServer;

use crate::{Ice, IcePolicy, IceServer};

/// Servers that are used. Each is asked from every local address; more of them find no other paths.
const MAX_SERVERS: usize = 4;
/// How long names may take to resolve. An offer waits for it.
const RESOLVE_PATIENCE: Duration = Duration::from_millis(500);
const DEFAULT_PORT: u16 = 3478;

/// Servers by number.
#[derive(Debug, Default)]
pub(super) struct Servers {
    /// As the stack wants them.
    pub(super) configuration: Vec<RTCIceServer>,
    /// Where the relays among them are.
    pub(super) relays: Vec<SocketAddr>,
}

impl Servers {
    /// Those of `ice` that can be used under its policy.
    pub(super) async fn resolve(ice: &Ice) -> Self {
        let usable = ice.servers.iter().filter_map(|server| Some((server, usable(server, ice.policy)?)));
        let usable: Vec<_> = usable.take(MAX_SERVERS).collect();
        let mut lookups = JoinSet::new();
        for (index, (_, url)) in usable.iter().enumerate() {
            let (host, port) = (url.host.to_owned(), url.port);
            lookups.spawn(async move { (index, addresses(&host, port).await) });
        }
        let mut found: Vec<_> = lookups.join_all().await;
        found.sort_unstable_by_key(|(index, _)| *index);
        let mut servers = Self::default();
        for (index, addresses) in found {
            let Some((server, url)) = usable.get(index) else { continue };
            if url.scheme == Scheme::Turn {
                servers.relays.extend(&addresses);
            }
            servers.configuration.push(RTCIceServer {
                urls: addresses.into_iter().map(|address| url.scheme.url(address)).collect(),
                username: server.username.clone(),
                credential: server.password.clone(),
            });
        }
        servers
    }
}

fn usable(server: &IceServer, policy: IcePolicy) -> Option<Url<'_>> {
    let Some(url) = Url::parse(&server.url) else {
        tracing::warn!("left out a STUN or TURN server: its address can't be used");
        tracing::debug!(url = server.url, "not the address of a server over UDP");
        return None;
    };
    match (url.scheme, policy) {
        (Scheme::Stun, IcePolicy::RelayOnly) | (Scheme::Turn, IcePolicy::DirectOnly) => None,
        (Scheme::Stun, IcePolicy::All | IcePolicy::DirectOnly) => Some(url),
        (Scheme::Turn, IcePolicy::All | IcePolicy::RelayOnly) => {
            let known = !server.username.is_empty() && !server.password.is_empty();
            if !known {
                tracing::warn!("left out a TURN server that comes without name and password");
            }
            known.then_some(url)
        }
    }
}

/// The addresses of a server, one of each family.
async fn addresses(host: &str, port: u16) -> Vec<SocketAddr> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return vec![SocketAddr::new(ip, port)];
    }
    let found = match tokio::time::timeout(RESOLVE_PATIENCE, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => {
            tracing::debug!(host, %error, "the server's name is not known");
            Vec::new()
        }
        Err(_) => {
            tracing::debug!(host, "the server's name takes too long to resolve");
            Vec::new()
        }
    };
    let of = |v4| found.iter().find(move |address| address.is_ipv4() == v4).copied();
    [of(true), of(false)].into_iter().flatten().collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Stun,
    Turn,
}

impl Scheme {
    fn url(self, address: SocketAddr) -> String {
        match self {
            Self::Stun => format!("stun:{address}"),
            Self::Turn => format!("turn:{address}?transport=udp"),
        }
    }
}

/// An address as in RFC 7064 and RFC 7065, if it is one over UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Url<'a> {
    scheme: Scheme,
    host: &'a str,
    port: u16,
}

impl<'a> Url<'a> {
    fn parse(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.trim().split_once(':')?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "stun" => Scheme::Stun,
            "turn" => Scheme::Turn,
            _ => return None,
        };
        let (authority, query) =
            rest.split_once('?').map_or((rest, None), |(authority, query)| (authority, Some(query)));
        if query.is_some_and(|query| !query.eq_ignore_ascii_case("transport=udp")) {
            return None;
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                host.parse::<Ipv6Addr>().ok()?;
                (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
            }
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let of_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        let bracketed = authority.starts_with('[');
        if host.is_empty() || !(bracketed || host.chars().all(of_name)) {
            return None;
        }
        let port = port.map_or(Some(DEFAULT_PORT), |port| port.parse().ok().filter(|port| *port != 0))?;
        Some(Self { scheme, host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(scheme: Scheme, host: &str, port: u16) -> Option<Url<'_>> {
        Some(Url { scheme, host, port })
    }

    fn server(url: &str, username: &str) -> IceServer {
        IceServer { url: url.to_owned(), username: username.to_owned(), password: username.to_owned() }
    }

    #[test]
    fn addresses_of_servers_are_understood() {
        assert_eq!(Url::parse("stun:192.0.2.1:3000"), url(Scheme::Stun, "192.0.2.1", 3000));
        assert_eq!(Url::parse("turn:node.example?transport=udp"), url(Scheme::Turn, "node.example", 3478));
        assert_eq!(Url::parse("TURN:[2001:db8::1]:9?transport=UDP"), url(Scheme::Turn, "2001:db8::1", 9));
        assert_eq!(Url::parse("stun:[::1]"), url(Scheme::Stun, "::1", 3478));
    }

    #[test]
    fn what_can_not_be_used_is_refused() {
        for text in [
            "",
            "stun",
            "stun:",
            "stun:host:0",
            "stun:host:70000",
            "stun:2001:db8::1",
            "stun:[nonsense]:1",
            "stun:[::1]9",
            "stun://host",
            "http:host",
            "turns:host",
            "turn:host?transport=tcp",
            "turn:a b",
            "turn:user@host",
        ] {
            assert_eq!(Url::parse(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn malformed_and_unknown_servers_are_left_out() {
        let servers = [
            server("nonsense", "me"),
            server("turn:192.0.2.1", ""),
            server("stun:host.invalid:1", ""),
            server("turn:[::1]", "me"),
        ];
        let servers = Servers::resolve(&Ice { servers: servers.into(), policy: IcePolicy::All }).await;
        let urls: Vec<_> = servers.configuration.iter().flat_map(|server| server.urls.clone()).collect();
        assert_eq!(urls, ["turn:[::1]:3478?transport=udp"]);
        assert_eq!(servers.relays, [SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 3478)]);
    }

    #[tokio::test]
    async fn the_policy_chooses_the_servers() {
        let both = vec![server("stun:192.0.2.1", ""), server("turn:192.0.2.1", "me")];
        for (policy, expected) in [
            (IcePolicy::All, &["stun:192.0.2.1:3478", "turn:192.0.2.1:3478?transport=udp"][..]),
            (IcePolicy::DirectOnly, &["stun:192.0.2.1:3478"]),
            (IcePolicy::RelayOnly, &["turn:192.0.2.1:3478?transport=udp"]),
        ] {
            let servers = Servers::resolve(&Ice { servers: both.clone(), policy }).await;
            let urls: Vec<_> = servers.configuration.iter().flat_map(|server| server.urls.clone()).collect();
            assert_eq!(urls, expected);
        }
    }

    #[tokio::test]
    async fn the_number_of_servers_is_bounded() {
        let many = (0..100).map(|port| server(&format!("stun:192.0.2.1:{}", port + 1), "")).collect();
        let servers = Servers::resolve(&Ice { servers: many, policy: IcePolicy::All }).await;
        assert_eq!(servers.configuration.len(), MAX_SERVERS);
    }
}
