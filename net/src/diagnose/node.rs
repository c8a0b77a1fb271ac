//! One node: each of its addresses, then its directory, then what it does for media.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures::future::{join_all, select_ok};
use libp2p::{Multiaddr, PeerId, identity::Keypair, multiaddr::Protocol};
use tokio::{
    net::TcpStream,
    time::{timeout, timeout_at},
};

use super::{
    DirectoryProblem, LONGEST, Nat, NodeProbe, Reached, RelayProblem, Transport, UdpProbe, WayProbe, WayProblem,
    connection::Connection, directory::Directory, now, relay, relay::Relay, udp,
};
use crate::directory::TurnAccess;

/// How long each step of a connection may take.
const RESOLVE_WITHIN: Duration = Duration::from_millis(1500);
const CONNECT_WITHIN: Duration = Duration::from_millis(2000);
const PROVE_WITHIN: Duration = Duration::from_millis(2000);

/// How many addresses of a node, and of each name, are tried.
const MAX_ADDRESSES: usize = 8;
const MAX_IPS: usize = 4;

/// How long the farewells may take, which nobody waits for otherwise.
const FAREWELL: Duration = Duration::from_millis(200);

/// What an address says.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    host: Host,
    port: u16,
    over: Transport,
}

#[derive(Debug, PartialEq, Eq)]
enum Host {
    Ip(IpAddr),
    /// A name, and whether only IPv4 or IPv6 addresses of it are meant.
    Name(String, Option<bool>),
}

/// Tries all of a node's addresses, and what it offers at the first that works.
pub async fn node(node: PeerId, addresses: &[Multiaddr]) -> NodeProbe {
    let deadline = now() + LONGEST;
    let keypair = Keypair::generate_ed25519();
    let mut probe = NodeProbe {
        node,
        ways: Vec::new(),
        over: None,
        directory: None,
        rtt: None,
        tells: None,
        clock_ahead_ms: None,
        udp: None,
        relay_udp: None,
        relay_stream: None,
    };
    let ways = join_all(addresses.iter().take(MAX_ADDRESSES).map(|address| way(&keypair, node, address))).await;
    let mut connections = Vec::new();
    for (way, connection) in ways {
        connections.extend(connection);
        probe.ways.push(way);
    }
    // TCP first: it is what is left where UDP is blocked.
    connections.sort_by_key(|(over, ..)| *over);
    if let Some((over, at, connection)) = connections.into_iter().next() {
        probe.over = Some(over);
        // What was found out by then is told.
        let _ = timeout_at(deadline, use_it(&mut probe, &keypair, &connection, at.ip())).await;
    }
    probe
}

async fn way(
    keypair: &Keypair,
    node: PeerId,
    address: &Multiaddr,
) -> (WayProbe, Option<(Transport, SocketAddr, Connection)>) {
    let address: Multiaddr = address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect();
    let Some(target) = target(&address) else {
        return (WayProbe { address, transport: None, outcome: Err(WayProblem::Unsupported) }, None);
    };
    let over = target.over;
    let (outcome, connection) = match reach(keypair, node, &target).await {
        Ok((reached, connection)) => (Ok(reached), Some((over, reached.at, connection))),
        Err(problem) => (Err(problem), None),
    };
    (WayProbe { address, transport: Some(over), outcome }, connection)
}

/// Reads `/ip4/…/tcp/…`, `/dns/…/udp/…/quic-v1` and their like. Those of relays and others lead elsewhere.
fn target(address: &Multiaddr) -> Option<Target> {
    let mut parts = address.iter();
    let host = match parts.next()? {
        Protocol::Ip4(ip) => Host::Ip(ip.into()),
        Protocol::Ip6(ip) => Host::Ip(ip.into()),
        Protocol::Dns(name) => Host::Name(name.into_owned(), None),
        Protocol::Dns4(name) => Host::Name(name.into_owned(), Some(false)),
        Protocol::Dns6(name) => Host::Name(name.into_owned(), Some(true)),
        _ => return None,
    };
    let (port, over) = match (parts.next()?, parts.next()) {
        (Protocol::Tcp(port), None) => (port, Transport::Tcp),
        (Protocol::Udp(port), Some(Protocol::QuicV1)) => (port, Transport::Quic),
        _ => return None,
    };
    parts.next().is_none().then_some(Target { host, port, over })
}

async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, WayProblem> {
    let (name, v6) = match &target.host {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, target.port)]),
        Host::Name(name, v6) => (name.as_str(), *v6),
    };
    let lookup = timeout(RESOLVE_WITHIN, tokio::net::lookup_host((name, target.port))).await;
    let found = lookup.map_err(|_| WayProblem::NameUnknown)?.map_err(|_| WayProblem::NameUnknown)?;
    let found: Vec<SocketAddr> =
        found.filter(|address| v6.is_none_or(|v6| address.is_ipv6() == v6)).take(MAX_IPS).collect();
    if found.is_empty() { Err(WayProblem::NameUnknown) } else { Ok(found) }
}

async fn reach(keypair: &Keypair, node: PeerId, target: &Target) -> Result<(Reached, Connection), WayProblem> {
    let addresses = resolve(target).await?;
    let attempts = addresses.into_iter().map(|at| Box::pin(prove(keypair, at, target.over)));
    let ((reached, connection), _) = select_ok(attempts).await?;
    if connection.peer == node {
        Ok((reached, connection))
    } else {
        Err(WayProblem::WrongKey { found: connection.peer })
    }
}

/// Connects, first of all plainly over TCP: what does not answer at all is told from what does not speak our language.
async fn prove(keypair: &Keypair, at: SocketAddr, over: Transport) -> Result<(Reached, Connection), WayProblem> {
    let within = match over {
        Transport::Tcp => {
            let connected = timeout(CONNECT_WITHIN, TcpStream::connect(at)).await;
            drop(connected.map_err(|_| WayProblem::TimedOut)?.map_err(|error| unreachable_because(&error))?);
            PROVE_WITHIN
        }
        Transport::Quic => CONNECT_WITHIN + PROVE_WITHIN / 2,
    };
    let start = now();
    match timeout(within, Connection::dial(keypair, at, over)).await {
        Ok(Ok(connection)) => Ok((Reached { at, took: start.elapsed() }, connection)),
        Ok(Err(reason)) => Err(match over {
            Transport::Tcp => WayProblem::NoHandshake { reason },
            Transport::Quic => WayProblem::Unreachable { reason },
        }),
        Err(_) => Err(match over {
            Transport::Tcp => WayProblem::NoHandshake { reason: "no answer".into() },
            // Whether anybody is there can't be told.
            Transport::Quic => WayProblem::TimedOut,
        }),
    }
}

fn unreachable_because(error: &io::Error) -> WayProblem {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => WayProblem::Refused,
        io::ErrorKind::TimedOut => WayProblem::TimedOut,
        _ => WayProblem::Unreachable { reason: error.to_string() },
    }
}

/// Everything that a node does for us.
async fn use_it(probe: &mut NodeProbe, keypair: &Keypair, connection: &Connection, node: IpAddr) {
    // Whatever ends this early.
    probe.directory = Some(Err(DirectoryProblem::Silent));
    let joined = Directory::join(connection, keypair).await;
    let (mut directory, offers, stun) = match joined {
        Ok(joined) => joined,
        Err(problem) => {
            probe.directory = Some(Err(problem));
            return;
        }
    };
    probe.directory = Some(Ok(offers));
    probe.rtt = directory.round_trip().await;
    if probe.rtt.is_none() {
        // It greets, and falls silent.
        probe.directory = Some(Err(DirectoryProblem::Silent));
        return;
    }
    if let Some((tells, ahead_ms)) = directory.status().await {
        probe.tells = Some(tells);
        probe.clock_ahead_ms = Some(ahead_ms);
    }
    let access = if offers.turn { directory.turn().await } else { None };
    let stun = stun.first().map(|port| SocketAddr::new(node, *port));
    let (udp, relay_udp, relay_stream) = (&mut probe.udp, &mut probe.relay_udp, &mut probe.relay_stream);
    match access {
        Some(access) => {
            tokio::join!(
                over_udp(udp, relay_udp, stun, Some(&access), node),
                over_stream(relay_stream, connection, &access, node),
            );
        }
        None => {
            if offers.turn {
                *relay_udp = Some(Err(RelayProblem::NoAccess));
            }
            over_udp(udp, &mut None, stun, None, node).await;
        }
    }
    let _ = timeout(FAREWELL, directory.leave()).await;
}

/// Where the node sees us, its relay, and what lies between.
async fn over_udp(
    udp: &mut Option<UdpProbe>,
    relay_udp: &mut Option<Result<Duration, RelayProblem>>,
    stun: Option<SocketAddr>,
    access: Option<&TurnAccess>,
    node: IpAddr,
) {
    let Some(server) = stun else { return };
    *udp = Some(UdpProbe { server, mapped: None, nat: Nat::Unknown });
    let Ok(socket) = udp::socket_for(node).await else { return };
    let relay = async {
        let (server, access) = (relay::server(access?, node)?, access?);
        let mut relay = match Relay::over_udp(server, access).await {
            Ok(relay) => relay,
            Err(problem) => return Some((Err(problem), None)),
        };
        let checked = relay.check(node.is_ipv6()).await;
        Some((checked, Some(relay)))
    };
    let (mapped, relay) = tokio::join!(udp::mapped(&socket, server), relay);
    let (checked, mut relay) = relay.unzip();
    *relay_udp = checked;
    if let Some(mapped) = mapped {
        *udp = Some(UdpProbe { server, mapped: Some(mapped), nat: Nat::Unknown });
        let usable = relay.as_mut().and_then(Option::as_mut);
        let nat = udp::nat(&socket, server, mapped, usable).await;
        *udp = Some(UdpProbe { server, mapped: Some(mapped), nat });
    }
    if let Some(relay) = relay.flatten() {
        relay.release().await;
    }
}

async fn over_stream(
    outcome: &mut Option<Result<Duration, RelayProblem>>,
    connection: &Connection,
    access: &TurnAccess,
    node: IpAddr,
) {
    if !access.stream {
        return;
    }
    *outcome = Some(Err(RelayProblem::Silent));
    *outcome = Some(match Relay::over_stream(connection, access).await {
        Ok(mut relay) => {
            let checked = relay.check(node.is_ipv6()).await;
            relay.release().await;
            checked
        }
        Err(problem) => Err(problem),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(address: &str) -> Option<Target> {
        target(&address.parse().unwrap())
    }

    #[test]
    fn addresses_that_can_be_dialled_are_told_from_others() {
        let ip = |ip: &str| Host::Ip(ip.parse().unwrap());
        let tcp = Target { host: ip("192.0.2.7"), port: 4001, over: Transport::Tcp };
        assert_eq!(read("/ip4/192.0.2.7/tcp/4001"), Some(tcp));
        let quic = Target { host: ip("2001:db8::1"), port: 1, over: Transport::Quic };
        assert_eq!(read("/ip6/2001:db8::1/udp/1/quic-v1"), Some(quic));
        let named = Host::Name("node.example".into(), Some(false));
        assert_eq!(read("/dns4/node.example/tcp/443"), Some(Target { host: named, port: 443, over: Transport::Tcp }));
        for other in ["/ip4/192.0.2.7/udp/4001", "/ip4/192.0.2.7/tcp/1/p2p-circuit", "/memory/1", "/ip4/192.0.2.7"] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn nobody_there_and_a_mute_listener_are_told_apart_and_end_in_time() {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = |address: SocketAddr| format!("/ip4/127.0.0.1/tcp/{}", address.port()).parse().unwrap();
        let start = now();
        let addresses = [at(gone), at(mute.local_addr().unwrap()), "/memory/1".parse().unwrap()];
        let probe = node(PeerId::random(), &addresses).await;
        let problems: Vec<WayProblem> = probe.ways.iter().filter_map(|way| way.outcome.clone().err()).collect();
        assert!(
            matches!(problems[..], [WayProblem::Refused, WayProblem::NoHandshake { .. }, WayProblem::Unsupported]),
            "{problems:?}"
        );
        assert!(!probe.serves() && start.elapsed() < LONGEST);
    }
}
