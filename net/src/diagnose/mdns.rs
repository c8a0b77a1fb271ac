//! Asks on every network who is there, as Parlor does when it starts, and counts who answers (mDNS, RFC 6762).
//!
//! The multicast port is shared with whoever else uses it: a Parlor that runs, and the system's own resolver.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    time::Duration,
};

use futures::future::join_all;
use libp2p::PeerId;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::UdpSocket, time::timeout_at};

use super::{Family, Interface, LanProbe, now};

const PORT: u16 = 5353;
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// `_p2p._udp.local` as DNS writes it: what libp2p asks for.
const SERVICE: &[u8] = b"\x04_p2p\x04_udp\x05local\x00";

/// When we ask. Some do not answer twice within a second.
const ASK_AFTER_MS: [u64; 3] = [0, 700, 1500];

/// How long we listen.
const LISTEN: Duration = Duration::from_millis(2500);

/// How many are counted on one network, and how many packets are read of each family.
const MAX_PEERS: usize = 256;
const MAX_PACKETS: u32 = 2000;

/// The longest packet (RFC 6762, section 17).
const MAX_PACKET_BYTES: usize = 9000;

/// What is heard on one network.
#[derive(Debug, Default)]
struct Tally {
    queries: u32,
    others: BTreeSet<PeerId>,
    own: BTreeSet<PeerId>,
}

/// Asks on all of these, over IPv4 and IPv6, and tells who answered.
pub async fn lan(interfaces: &[Interface]) -> Vec<LanProbe> {
    let both = join_all([Family::V4, Family::V6].map(|family| ask(interfaces, family))).await;
    let mut probes: Vec<LanProbe> = both.into_iter().flatten().collect();
    let position = |name: &str| interfaces.iter().position(|interface| interface.name == name);
    probes.sort_by_key(|probe| (position(&probe.interface), probe.family));
    probes
}

/// One address of the interface for each family, where it has one.
fn address(interface: &Interface, family: Family) -> Option<IpAddr> {
    match family {
        Family::V4 => interface.v4.first().map(|(ip, _)| IpAddr::V4(*ip)),
        Family::V6 => {
            let link_local = interface.v6.iter().find(|ip| ip.is_unicast_link_local());
            link_local.or_else(|| interface.v6.first()).map(|ip| IpAddr::V6(*ip))
        }
    }
}

async fn ask(interfaces: &[Interface], family: Family) -> Vec<LanProbe> {
    let links: Vec<(&Interface, IpAddr)> =
        interfaces.iter().filter_map(|interface| Some((interface, address(interface, family)?))).collect();
    if links.is_empty() {
        return Vec::new();
    }
    let listener = listen(&links, family);
    let mut tallies: Vec<Tally> = links.iter().map(|_| Tally::default()).collect();
    let senders = links.iter().map(|link| send(link.0, link.1));
    let hear = async {
        if let Ok(listener) = &listener {
            hear(listener, interfaces, &links, &mut tallies).await;
        }
    };
    let (sent, ()) = tokio::join!(join_all(senders), hear);
    let deaf = listener.as_ref().err().map(ToString::to_string);
    links
        .iter()
        .zip(sent)
        .zip(tallies)
        .map(|(((interface, address), sent), tally)| LanProbe {
            interface: interface.name.clone(),
            family,
            address: *address,
            sent: match (&deaf, sent) {
                (Some(deaf), _) => Err(deaf.clone()),
                (None, sent) => sent.map_err(|error| error.to_string()),
            },
            queries: tally.queries,
            others: tally.others.len(),
            own: tally.own.len(),
        })
        .collect()
}

/// A socket on the multicast port that is in the group on all links.
fn listen(links: &[(&Interface, IpAddr)], family: Family) -> io::Result<UdpSocket> {
    let (domain, any): (Domain, SocketAddr) = match family {
        Family::V4 => (Domain::IPV4, (Ipv4Addr::UNSPECIFIED, PORT).into()),
        Family::V6 => (Domain::IPV6, (Ipv6Addr::UNSPECIFIED, PORT).into()),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    if family == Family::V6 {
        socket.set_only_v6(true)?;
    }
    socket.bind(&any.into())?;
    let mut joined = Ok(());
    let mut members = 0;
    for (interface, address) in links {
        let join = match address {
            IpAddr::V4(ip) => socket.join_multicast_v4(&GROUP_V4, ip),
            IpAddr::V6(_) => socket.join_multicast_v6(&GROUP_V6, interface.index),
        };
        match join {
            Ok(()) => members += 1,
            Err(error) => joined = Err(error),
        }
    }
    if members == 0 {
        joined?;
    }
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

/// Asks a few times on one link. How often.
async fn send(interface: &Interface, address: IpAddr) -> io::Result<u32> {
    let (socket, group) = match address {
        IpAddr::V4(ip) => {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
            socket.bind(&SocketAddr::from((ip, 0)).into())?;
            socket.set_multicast_if_v4(&ip)?;
            socket.set_multicast_ttl_v4(255)?;
            (socket, SocketAddr::from((GROUP_V4, PORT)))
        }
        IpAddr::V6(_) => {
            let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
            socket.set_multicast_if_v6(interface.index)?;
            socket.set_multicast_hops_v6(255)?;
            (socket, SocketAddrV6::new(GROUP_V6, PORT, 0, interface.index).into())
        }
    };
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket.into())?;
    let start = now();
    let mut sent = 0;
    for after in ASK_AFTER_MS {
        tokio::time::sleep_until(start + Duration::from_millis(after)).await;
        socket.send_to(&query(rand::random()), group).await?;
        sent += 1;
    }
    Ok(sent)
}

async fn hear(listener: &UdpSocket, interfaces: &[Interface], links: &[(&Interface, IpAddr)], tallies: &mut [Tally]) {
    let deadline = now() + LISTEN;
    let mut buffer = vec![0; MAX_PACKET_BYTES];
    for _ in 0..MAX_PACKETS {
        let (length, from) = match timeout_at(deadline, listener.recv_from(&mut buffer)).await {
            Ok(Ok(received)) => received,
            Ok(Err(error)) => {
                tracing::debug!(%error, "listening for mDNS");
                tokio::task::yield_now().await;
                continue;
            }
            Err(_) => return,
        };
        let Some(link) = links.iter().position(|(interface, _)| came_through(interface, from)) else { continue };
        let own = interfaces.iter().flat_map(Interface::addresses).any(|ip| ip == from.ip());
        let tally = &mut tallies[link];
        match (read(&buffer[..length]), own) {
            (Some(Heard::Query), false) => tally.queries = tally.queries.saturating_add(1),
            (Some(Heard::Answer(peers)), false) => add(&mut tally.others, peers),
            (Some(Heard::Answer(peers)), true) => add(&mut tally.own, peers),
            // Among them those that we sent ourselves.
            (Some(Heard::Query), true) | (None, _) => {}
        }
    }
}

fn add(peers: &mut BTreeSet<PeerId>, further: Vec<PeerId>) {
    for peer in further {
        if peers.len() < MAX_PEERS {
            peers.insert(peer);
        }
    }
}

fn came_through(interface: &Interface, from: SocketAddr) -> bool {
    match from {
        SocketAddr::V4(from) => interface.reaches(*from.ip()),
        // Link-local sources have the interface's number; others are told by whose neighbours they are.
        SocketAddr::V6(from) if from.scope_id() != 0 => from.scope_id() == interface.index,
        SocketAddr::V6(from) => {
            let network = |ip: &Ipv6Addr| ip.to_bits() >> 64;
            interface.v6.iter().any(|own| network(own) == network(from.ip()))
        }
    }
}

/// What a packet says of libp2p's service.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Query,
    Answer(Vec<PeerId>),
}

/// A question for the service (RFC 1035, section 4.1).
fn query(id: u16) -> Vec<u8> {
    let mut packet = id.to_be_bytes().to_vec();
    // A query, one question; then its type PTR and class IN.
    packet.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    packet.extend_from_slice(SERVICE);
    packet.extend([0, 12, 0, 1]);
    packet
}

/// Reads just enough of a packet: whoever sends it may write anything.
fn read(packet: &[u8]) -> Option<Heard> {
    const HEADER_BYTES: usize = 12;
    let flags = *packet.get(2)?;
    let body = packet.get(HEADER_BYTES..)?;
    if !body.windows(SERVICE.len()).any(|window| window.eq_ignore_ascii_case(SERVICE)) {
        return None;
    }
    let is_answer = flags & 0x80 != 0;
    Some(if is_answer { Heard::Answer(peers(body)) } else { Heard::Query })
}

/// Who is named in the addresses `dnsaddr=/ip4/.../p2p/<id>` of TXT records.
fn peers(body: &[u8]) -> Vec<PeerId> {
    const BEFORE: &[u8] = b"/p2p/";
    let mut found = Vec::new();
    for (at, window) in body.windows(BEFORE.len()).enumerate() {
        if window != BEFORE || found.len() >= MAX_PEERS {
            continue;
        }
        let rest = &body[at + BEFORE.len()..];
        let length = rest.iter().take(64).take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let id = std::str::from_utf8(&rest[..length]).ok().and_then(longest_id);
        if let Some(peer) = id
            && !found.contains(&peer)
        {
            found.push(peer);
        }
    }
    found
}

/// The id at the start of a text: what follows in the packet may look like a part of it.
fn longest_id(text: &str) -> Option<PeerId> {
    (0..4.min(text.len())).find_map(|cut| text[..text.len() - cut].parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer as libp2p writes them: a record of two names, then texts.
    fn answer(peers: &[PeerId]) -> Vec<u8> {
        let mut packet = vec![0, 7, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 1];
        packet.extend_from_slice(SERVICE);
        packet.extend([0, 12, 0, 1, 0, 0, 0, 90, 0, 9]);
        packet.extend_from_slice(b"\x07strange\x00");
        for peer in peers {
            let text = format!("dnsaddr=/ip4/10.77.0.12/tcp/4001/p2p/{peer}");
            packet.extend_from_slice(b"\x07strange\x00");
            packet.extend([0, 16, 0x80, 1, 0, 0, 0, 90, 0, text.len() as u8 + 1, text.len() as u8]);
            packet.extend_from_slice(text.as_bytes());
        }
        packet
    }

    #[test]
    fn our_question_is_a_question_and_an_answer_names_who_is_there() {
        assert_eq!(read(&query(7)), Some(Heard::Query));
        let (one, other) = (PeerId::random(), libp2p::identity::Keypair::generate_ed25519().public().to_peer_id());
        assert_eq!(read(&answer(&[one, other, one])), Some(Heard::Answer(vec![one, other])));
        assert_eq!(read(&answer(&[])), Some(Heard::Answer(Vec::new())));
    }

    #[test]
    fn printers_and_garbage_are_not_counted() {
        let mut printer = query(7);
        printer[14] = b'x';
        assert_eq!(read(&printer), None);
        assert_eq!(read(&[]), None);
        let mut nobody = answer(&[]);
        nobody.extend_from_slice(b"/p2p/nobody/p2p//p2p/\xff\xff");
        assert_eq!(read(&nobody), Some(Heard::Answer(Vec::new())));
    }

    #[test]
    fn fuzz_what_is_heard() {
        let answer = answer(&[PeerId::random()]);
        crate::mutator::fuzz(&[query(7), answer], |bytes| {
            if let Some(Heard::Answer(peers)) = read(bytes) {
                assert!(peers.len() <= MAX_PEERS);
            }
        });
    }

    #[test]
    fn a_packet_belongs_to_the_interface_it_came_through() {
        let v6: Ipv6Addr = "fd00::1".parse().unwrap();
        let interface =
            Interface { name: "eth0".into(), index: 4, v4: vec![([10, 77, 0, 11].into(), 24)], v6: vec![v6] };
        let through = |from: SocketAddr| came_through(&interface, from);
        assert!(through("10.77.0.12:5353".parse().unwrap()));
        assert!(!through("10.78.0.12:5353".parse().unwrap()));
        let link_local = "fe80::7".parse().unwrap();
        assert!(through(SocketAddrV6::new(link_local, PORT, 0, 4).into()));
        assert!(!through(SocketAddrV6::new(link_local, PORT, 0, 5).into()));
        assert!(through("[fd00::2]:5353".parse().unwrap()));
    }
}
