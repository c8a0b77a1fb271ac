//! Whether ports can be had to listen on.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
};

use super::{Family, PortProbe, Transport};

/// Binds free ports, as Parlor does when it starts, and gives them back.
pub fn ports() -> Vec<PortProbe> {
    let mut probes = Vec::new();
    for family in [Family::V4, Family::V6] {
        let any: SocketAddr = match family {
            Family::V4 => (Ipv4Addr::UNSPECIFIED, 0).into(),
            Family::V6 => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        for transport in [Transport::Tcp, Transport::Quic] {
            let bound: io::Result<()> = match transport {
                Transport::Tcp => TcpListener::bind(any).map(drop),
                Transport::Quic => UdpSocket::bind(any).map(drop),
            };
            let outcome = bound.map_err(|error| error.to_string());
            probes.push(PortProbe { transport, family, outcome });
        }
    }
    probes
}
