//! How many connections one address may have, and how fast it may open them: peer ids cost nothing, addresses do.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::IpAddr,
    task::{Context, Poll},
    time::Instant,
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm, dummy,
    },
};

use super::address;
use crate::token_bucket::TokenBucket;

/// How fast one address may open connections, per second in the long run. At once it may open as many as it may have.
const CONNECTIONS_PER_SECOND: f64 = 20.0;

/// Why a connection is not accepted.
#[derive(Debug, thiserror::Error)]
#[error("too many connections from one address")]
pub(super) struct TooMany;

struct Address {
    connections: u32,
    openings: TokenBucket,
}

/// Counts connections by address. Remembers addresses that have connections, or had some a moment ago: no more than
/// the node has connections, and what [`FORGET_FROM`] allows.
pub(super) struct Behaviour {
    most: u32,
    addresses: HashMap<IpAddr, Address>,
    connections: HashMap<ConnectionId, IpAddr>,
}

/// How many addresses are remembered before those that are quiet are forgotten.
const FORGET_FROM: usize = 20_000;

impl Behaviour {
    pub(super) fn new(most: u32) -> Self {
        Self { most, addresses: HashMap::new(), connections: HashMap::new() }
    }

    /// Counts one connection more, if it may be.
    fn open(&mut self, now: Instant, connection: ConnectionId, remote: &Multiaddr) -> Result<(), TooMany> {
        let Some(ip) = address::of(remote).map(address::subscriber) else { return Ok(()) };
        if self.addresses.len() >= FORGET_FROM {
            self.addresses.retain(|_, address| address.connections > 0 || !address.openings.is_full(now));
        }
        let most = self.most;
        let new = || Address { connections: 0, openings: TokenBucket::new(most, CONNECTIONS_PER_SECOND, now) };
        let address = self.addresses.entry(ip).or_insert_with(new);
        if address.connections >= most || !address.openings.take(now) {
            return Err(TooMany);
        }
        address.connections += 1;
        self.connections.insert(connection, ip);
        Ok(())
    }

    fn closed(&mut self, connection: ConnectionId) {
        if let Some(ip) = self.connections.remove(&connection)
            && let Some(address) = self.addresses.get_mut(&ip)
        {
            address.connections -= 1;
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let now = tokio::time::Instant::now().into_std();
        self.open(now, connection, remote).map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
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
            FromSwarm::ConnectionClosed(closed) => self.closed(closed.connection_id),
            FromSwarm::ListenFailure(failure) => self.closed(failure.connection_id),
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn ten_thousand_connections_from_one_address_are_not_accepted_and_others_are() {
        let start = Instant::now();
        let mut limits = Behaviour::new(50);
        let id = ConnectionId::new_unchecked;
        let flood: Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        let accepted = (0..10_000).filter(|&n| limits.open(start, id(n), &flood).is_ok()).count();
        assert_eq!(accepted, 50);
        assert!(limits.open(start, id(10_000), &"/ip4/192.0.2.2/tcp/1".parse().unwrap()).is_ok());
        (0..50).for_each(|n| limits.closed(id(n)));
        assert!(limits.open(start, id(10_001), &flood).is_err(), "opening and closing is counted, too");
        assert!(limits.open(start + Duration::from_secs(1), id(10_002), &flood).is_ok());
    }
}
