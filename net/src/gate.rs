//! Keeps a behaviour to connections on the LAN: others, through a relay or to a node, it never hears of.
//!
//! Gossip about who is near, and what identify tells of a machine, is nobody's business beyond the LAN.

use std::{
    collections::{HashMap, HashSet},
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, behaviour::ConnectionEstablished, derive_prelude::Either, dummy,
    },
};

/// Whether an address leads through a relay.
pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::P2pCircuit))
}

/// A behaviour for connections on the LAN.
pub(crate) struct Gate<B> {
    inner: B,
    /// Which of our addresses it hears of.
    tells: fn(&Multiaddr) -> bool,
    /// They are no people.
    nodes: HashSet<PeerId>,
    /// Connections that the behaviour does not hear of.
    shut: HashSet<ConnectionId>,
    /// How many connections to each peer it knows of.
    open: HashMap<PeerId, usize>,
}

impl<B> Gate<B> {
    /// The behaviour is told those of our addresses that `tells` lets through.
    pub(crate) fn new(inner: B, tells: fn(&Multiaddr) -> bool) -> Self {
        Self { inner, tells, nodes: HashSet::new(), shut: HashSet::new(), open: HashMap::new() }
    }

    pub(crate) fn inner(&mut self) -> &mut B {
        &mut self.inner
    }

    /// Connections with these are kept away from now on.
    pub(crate) fn set_nodes(&mut self, nodes: HashSet<PeerId>) {
        self.nodes = nodes;
    }

    fn hides(&self, address: &Multiaddr) -> bool {
        // Nobody on the LAN needs to know which nodes we are on.
        is_relayed(address) || !(self.tells)(address)
    }

    fn lets_through(&mut self, connection: ConnectionId, peer: &PeerId, relayed: bool) -> bool {
        if relayed || self.nodes.contains(peer) {
            self.shut.insert(connection);
            return false;
        }
        true
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Gate<B> {
    type ConnectionHandler = Either<THandler<B>, dummy::ConnectionHandler>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if !self.lets_through(connection, &peer, is_relayed(local) || is_relayed(remote)) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        self.inner.handle_established_inbound_connection(connection, peer, local, remote).map(Either::Left)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if !self.lets_through(connection, &peer, is_relayed(address)) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        self.inner.handle_established_outbound_connection(connection, peer, address, role, port).map(Either::Left)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                if self.shut.contains(&established.connection_id) {
                    return;
                }
                // The behaviour's own count: it does not know of the others.
                let open = self.open.entry(established.peer_id).or_default();
                let other_established = *open;
                *open += 1;
                let established = ConnectionEstablished { other_established, ..established };
                self.inner.on_swarm_event(FromSwarm::ConnectionEstablished(established));
            }
            FromSwarm::ConnectionClosed(closed) => {
                if self.shut.remove(&closed.connection_id) {
                    return;
                }
                let open = self.open.entry(closed.peer_id).or_default();
                *open = open.saturating_sub(1);
                let remaining_established = *open;
                if remaining_established == 0 {
                    self.open.remove(&closed.peer_id);
                }
                let closed = ConnectionClosed { remaining_established, ..closed };
                self.inner.on_swarm_event(FromSwarm::ConnectionClosed(closed));
            }
            FromSwarm::AddressChange(change) if self.shut.contains(&change.connection_id) => {}
            // A failed attempt never came to be open.
            FromSwarm::DialFailure(failure) => {
                self.shut.remove(&failure.connection_id);
                self.inner.on_swarm_event(event);
            }
            FromSwarm::ListenFailure(failure) => {
                self.shut.remove(&failure.connection_id);
                self.inner.on_swarm_event(event);
            }
            FromSwarm::NewListenAddr(listen) if self.hides(listen.addr) => {}
            FromSwarm::ExpiredListenAddr(listen) if self.hides(listen.addr) => {}
            FromSwarm::ExternalAddrConfirmed(external) if self.hides(external.addr) => {}
            FromSwarm::ExternalAddrExpired(external) if self.hides(external.addr) => {}
            event => self.inner.on_swarm_event(event),
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {
            Either::Left(event) => self.inner.on_connection_handler_event(peer, connection, event),
            Either::Right(never) => match never {},
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(cx).map(|event| event.map_in(Either::Left))
    }
}

#[cfg(test)]
mod tests {
    use libp2p::{core::transport::ListenerId, swarm::NewListenAddr};

    use super::*;

    /// Keeps the addresses that it hears of.
    #[derive(Default)]
    struct Told(Vec<Multiaddr>);

    impl NetworkBehaviour for Told {
        type ConnectionHandler = dummy::ConnectionHandler;
        type ToSwarm = std::convert::Infallible;

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
            if let FromSwarm::NewListenAddr(listen) = event {
                self.0.push(listen.addr.clone());
            }
        }

        fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
            match event {}
        }

        fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
            Poll::Pending
        }
    }

    #[test]
    fn the_lan_hears_of_no_relays_and_only_of_addresses_that_are_to_be_told() {
        let mut gate =
            Gate::new(Told::default(), |address| address.iter().any(|part| matches!(part, Protocol::Tcp(_))));
        let node = PeerId::random();
        let addresses = ["/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.1/udp/1/quic-v1", "/ip6/fe80::1/tcp/1"]
            .map(|address| address.parse::<Multiaddr>().unwrap());
        let relayed: Multiaddr = format!("/ip4/192.0.2.1/tcp/1/p2p/{node}/p2p-circuit").parse().unwrap();
        for addr in addresses.iter().chain([&relayed]) {
            let listener_id = ListenerId::next();
            gate.on_swarm_event(FromSwarm::NewListenAddr(NewListenAddr { listener_id, addr }));
        }
        assert_eq!(gate.inner().0, [addresses[0].clone(), addresses[2].clone()]);
    }
}
