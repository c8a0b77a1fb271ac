//! TCP to IPv6 link-local addresses, for networks without a router.
//!
//! An address like `fe80::1` says nothing without the interface (RFC 4007, section 6), and neither mDNS nor the TCP
//! transport of libp2p know it. So such an address is dialled on every interface that is up, in the form
//! `/ip6/fe80::1/ip6zone/eth0/tcp/4001`, which only the transport here understands: the plain TCP transport would take
//! the usual order, with the zone in front, and ignore the zone. Whoever answers must prove to be the peer that was
//! asked for.

use std::{
    io,
    net::{Ipv6Addr, SocketAddr, SocketAddrV6},
    pin::Pin,
    task::{Context, Poll},
};

use futures::{FutureExt, future::BoxFuture};
use libp2p::{
    Multiaddr, PeerId, Transport,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent},
        upgrade::Version,
    },
    identity::Keypair,
    multiaddr::Protocol,
    noise, tcp, yamux,
};

/// Interfaces on which one link-local address is tried.
const MAX_INTERFACES: usize = 4;

/// Where to dial for an address that mDNS reported.
pub(crate) fn dialable(address: Multiaddr) -> Vec<Multiaddr> {
    let mut protocols = address.iter();
    match (protocols.next(), protocols.next()) {
        (Some(Protocol::Ip6(ip)), Some(Protocol::Tcp(port))) if ip.is_unicast_link_local() => {
            let suffix: Multiaddr = protocols.collect();
            let zoned = |name: String| {
                let zone = Multiaddr::from(ip).with(Protocol::Ip6zone(name.into())).with(Protocol::Tcp(port));
                zone.iter().chain(&suffix).collect()
            };
            interfaces().into_iter().take(MAX_INTERFACES).map(|(name, _)| zoned(name)).collect()
        }
        // QUIC has one socket for all interfaces, which can't tell them apart.
        (Some(Protocol::Ip6(ip)), _) if ip.is_unicast_link_local() => Vec::new(),
        _ => vec![address],
    }
}

/// TCP with Noise and yamux, as elsewhere, for dialling link-local addresses with a zone. Does not listen: the plain
/// TCP transport does, on all interfaces.
pub(crate) fn transport(
    keypair: &Keypair,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Box<dyn std::error::Error + Send + Sync>> {
    Ok(LinkLocal
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keypair)?)
        .multiplex(yamux::Config::default())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed())
}

struct LinkLocal;

impl Transport for LinkLocal {
    type Output = tcp::tokio::TcpStream;
    type Error = io::Error;
    type ListenerUpgrade = std::future::Ready<io::Result<Self::Output>>;
    type Dial = BoxFuture<'static, io::Result<Self::Output>>;

    fn listen_on(&mut self, _: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let Some((zone, ip, port)) = parse(&address) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        Ok(async move {
            let (_, scope) = interfaces()
                .into_iter()
                .find(|(name, _)| *name == zone)
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the interface is gone"))?;
            let stream = tokio::net::TcpStream::connect(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope))).await?;
            stream.set_nodelay(true)?;
            Ok(tcp::tokio::TcpStream(stream))
        }
        .boxed())
    }

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Poll::Pending
    }
}

fn parse(address: &Multiaddr) -> Option<(String, Ipv6Addr, u16)> {
    let mut protocols = address.iter();
    let (Some(Protocol::Ip6(ip)), Some(Protocol::Ip6zone(zone)), Some(Protocol::Tcp(port))) =
        (protocols.next(), protocols.next(), protocols.next())
    else {
        return None;
    };
    Some((zone.into_owned(), ip, port))
}

/// The names and indices of the interfaces that have a link-local address.
#[cfg(target_os = "linux")]
fn interfaces() -> Vec<(String, u32)> {
    std::fs::read_to_string("/proc/net/if_inet6").map(|table| parse_interfaces(&table)).unwrap_or_default()
}

/// Elsewhere nobody tells us without further libraries: link-local addresses are not dialled.
#[cfg(not(target_os = "linux"))]
fn interfaces() -> Vec<(String, u32)> {
    Vec::new()
}

/// Lines like `fe800000000000000000000000000001 02 40 20 80 eth0`: address, index, prefix length, scope, flags, name,
/// numbers in hexadecimal.
#[cfg(any(target_os = "linux", test))]
fn parse_interfaces(table: &str) -> Vec<(String, u32)> {
    const LINK_LOCAL_SCOPE: &str = "20";
    let mut found = Vec::new();
    for line in table.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [_, index, _, LINK_LOCAL_SCOPE, _, name] = fields[..]
            && let Ok(index) = u32::from_str_radix(index, 16)
            && !found.contains(&(name.to_owned(), index))
        {
            found.push((name.to_owned(), index));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_with_link_local_addresses_are_found() {
        let table = "00000000000000000000000000000001 01 80 10 80       lo\n\
                     fe8000000000000090ab12fffe345678 1f 40 20 80     eth0\n\
                     fd000000000000000000000000000001 1f 40 00 80     eth0\n\
                     nonsense\n";
        assert_eq!(parse_interfaces(table), [("eth0".to_owned(), 31)]);
    }

    #[test]
    fn an_address_with_a_zone_is_told_apart_from_others() {
        let zoned: Multiaddr = Multiaddr::empty()
            .with(Protocol::Ip6("fe80::1".parse().unwrap()))
            .with(Protocol::Ip6zone("eth0".into()))
            .with(Protocol::Tcp(7));
        assert_eq!(parse(&zoned), Some(("eth0".to_owned(), "fe80::1".parse().unwrap(), 7)));
        assert_eq!(parse(&"/ip6/fe80::1/tcp/7".parse().unwrap()), None);
    }

    #[test]
    fn ordinary_addresses_are_dialled_as_they_are() {
        let address: Multiaddr = "/ip4/192.0.2.1/tcp/7".parse().unwrap();
        assert_eq!(dialable(address.clone()), [address]);
        assert!(dialable("/ip6/fe80::1/udp/7/quic-v1".parse().unwrap()).is_empty());
    }
}
