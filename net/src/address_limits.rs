//! How many connections one address may have with us, and how fast it may open them: peer ids cost nothing, addresses
//! do. A limit for each peer alone would let one machine take all connections there are.

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

use crate::{address, token_bucket::TokenBucket};

/// How fast one address may open connections, per second in the long run. At once it may open as many as it may have.
const CONNECTIONS_PER_SECOND: f64 = 20.0;

/// Whom a connection counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// Its address: all machines of a LAN have the same first half of an IPv6 address. This machine's own is not counted.
    Near,
    /// The subscriber who has the address.
    #[cfg_attr(not(any(feature = "node", test)), expect(dead_code, reason = "only nodes count so"))]
    Far,
}

/// Why a connection is not accepted.
#[derive(Debug, thiserror::Error)]
#[error("too many connections from one address")]
pub(crate) struct TooMany;

struct Address {
    connections: u32,
    openings: TokenBucket,
}

/// Counts what others open, by address. Remembers addresses that have connections, or had some a moment ago: no more than
/// there are connections, and what [`FORGET_FROM`] allows.
pub(crate) struct Behaviour {
    most: u32,
    count: Count,
    addresses: HashMap<IpAddr, Address>,
    connections: HashMap<ConnectionId, IpAddr>,
}

/// How many addresses are remembered before those that are quiet are forgotten.
const FORGET_FROM: usize = 20_000;

impl Behaviour {
    pub(crate) fn new(most: u32, count: Count) -> Self {
        Self { most, count, addresses: HashMap::new(), connections: HashMap::new() }
    }

    /// Counts one connection more, if it may be.
    fn open(&mut self, now: Instant, connection: ConnectionId, remote: &Multiaddr) -> Result<(), TooMany> {
        let Some(ip) = self.counted(remote) else { return Ok(()) };
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

    /// Whom a connection counts for. Through a relay, nobody: the relay has limits of its own.
    fn counted(&self, remote: &Multiaddr) -> Option<IpAddr> {
        let ip = address::of(remote)?;
        match self.count {
            Count::Near => (!ip.is_loopback()).then_some(ip),
            Count::Far => Some(address::subscriber(ip)),
        }
    }

    /// Whom a connection counts for that others have opened.
    #[cfg(feature = "node")]
    pub(crate) fn of(&self, connection: ConnectionId) -> Option<IpAddr> {
        self.connections.get(&connection).copied()
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
        let mut limits = Behaviour::new(50, Count::Far);
        let id = ConnectionId::new_unchecked;
        let flood: Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        let accepted = (0..10_000).filter(|&n| limits.open(start, id(n), &flood).is_ok()).count();
        assert_eq!(accepted, 50);
        assert!(limits.open(start, id(10_000), &"/ip4/192.0.2.2/tcp/1".parse().unwrap()).is_ok());
        (0..50).for_each(|n| limits.closed(id(n)));
        assert!(limits.open(start, id(10_001), &flood).is_err(), "opening and closing is counted, too");
        assert!(limits.open(start + Duration::from_secs(1), id(10_002), &flood).is_ok());
    }

    #[test]
    fn machines_of_one_lan_count_each_and_neither_this_one_nor_a_relay_does() {
        let limits = Behaviour::new(50, Count::Near);
        let counted = |text: &str| limits.counted(&text.parse().unwrap());
        assert_ne!(counted("/ip6/2001:db8:1:2::1/tcp/1"), counted("/ip6/2001:db8:1:2::2/tcp/1"));
        assert_eq!(counted("/ip6/::ffff:192.0.2.1/tcp/1"), counted("/ip4/192.0.2.1/udp/1/quic-v1"));
        for free in ["/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1", "/ip4/192.0.2.1/tcp/1/p2p-circuit", "/memory/7"] {
            assert_eq!(counted(free), None);
        }
    }
}
