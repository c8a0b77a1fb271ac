//! How many connections the machines at one address may open to us. Keys are free, so that a limit for each peer alone
//! would let one machine take all connections there are, and fill the list of people.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::IpAddr,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, dummy,
    },
};

/// Several people, each with two connections and two more in passing, may share a machine, or sit behind one.
const MAX_FROM_ADDRESS: usize = 32;

/// Refuses connections from an address that has many. This machine itself is not counted.
#[derive(Debug, Default)]
pub(crate) struct Behaviour {
    /// What was opened to us, by whom. As many as there are connections.
    inbound: HashMap<ConnectionId, IpAddr>,
}

/// Why a connection is refused.
#[derive(Debug, thiserror::Error)]
#[error("{0} has opened {MAX_FROM_ADDRESS} connections already")]
struct TooMany(IpAddr);

impl Behaviour {
    fn check(&self, remote: &Multiaddr) -> Result<(), ConnectionDenied> {
        let Some(ip) = counted(remote) else { return Ok(()) };
        let open = self.inbound.values().filter(|other| **other == ip).count();
        if open < MAX_FROM_ADDRESS { Ok(()) } else { Err(ConnectionDenied::new(TooMany(ip))) }
    }
}

/// The address that a connection counts for. Through a relay there is none: the relay has limits of its own.
fn counted(remote: &Multiaddr) -> Option<IpAddr> {
    if remote.iter().any(|protocol| protocol == Protocol::P2pCircuit) {
        return None;
    }
    let ip = match remote.iter().next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => ip.to_canonical(),
        _ => return None,
    };
    (!ip.is_loopback()).then_some(ip)
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.check(remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check(remote).map(|()| dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                if let ConnectedPoint::Listener { send_back_addr, .. } = established.endpoint
                    && let Some(ip) = counted(send_back_addr)
                {
                    self.inbound.insert(established.connection_id, ip);
                }
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.inbound.remove(&connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_with_many_connections_is_refused_and_others_are_not() {
        let mut limit = Behaviour::default();
        let (many, few) = (address("/ip4/192.0.2.1/tcp/1"), address("/ip4/192.0.2.2/tcp/1"));
        for n in 0..MAX_FROM_ADDRESS {
            assert!(limit.check(&address(&format!("/ip4/192.0.2.1/udp/{n}/quic-v1"))).is_ok());
            limit.inbound.insert(ConnectionId::new_unchecked(n), counted(&many).unwrap());
        }
        assert!(limit.check(&many).is_err() && limit.check(&address("/ip6/::ffff:192.0.2.1/tcp/1")).is_err());
        assert!(limit.check(&few).is_ok());
        limit.inbound.remove(&ConnectionId::new_unchecked(3));
        assert!(limit.check(&many).is_ok());
    }

    #[test]
    fn neither_this_machine_nor_a_relay_is_counted() {
        for free in ["/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1", "/ip4/192.0.2.1/tcp/1/p2p-circuit", "/memory/7"] {
            assert_eq!(counted(&address(free)), None);
        }
    }
}
