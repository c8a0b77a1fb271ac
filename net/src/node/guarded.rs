//! The directory, and the circuit relay that asks it: nobody is connected with whom they hide from.
//!
//! The library's relay knows no such rule, and its requests have no public names; but they can be reached through the
//! types of its handler. A request that is turned away here gets the answer that it gets when the other person is not
//! there, so that nobody learns from it that they are blocked.
//!
//! Nor does it know which of somebody's connections are dead: who comes back from another network is reached there alone.

use std::{
    collections::{HashMap, VecDeque},
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    relay,
    swarm::{
        CloseConnection, ConnectionClosed, ConnectionDenied, ConnectionHandler, ConnectionHandlerSelect, ConnectionId,
        FromSwarm, NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        derive_prelude::Either,
    },
};

use super::directory_server::{self, TurnWanted};

/// `NO_RESERVATION` of the circuit relay protocol, version 2.
const NO_RESERVATION: i32 = 204;

/// What comes of both.
#[derive(Debug)]
pub(super) enum Outcome {
    TurnWanted(TurnWanted),
    Relay(relay::Event),
}

/// The left one of two types.
trait Left {
    type Type;
}

impl<L, R> Left for Either<L, R> {
    type Type = L;
}

type Asked = <THandlerOutEvent<relay::Behaviour> as Left>::Type;
type Answer = <THandlerInEvent<relay::Behaviour> as Left>::Type;

/// See the module.
pub(super) struct Behaviour {
    pub(super) directory: directory_server::Behaviour,
    relay: relay::Behaviour,
    /// Where people asked to be reached last. As many as there are connections at most.
    reached_at: HashMap<PeerId, ConnectionId>,
    queue: VecDeque<ToSwarm<Outcome, THandlerInEvent<Self>>>,
}

impl Behaviour {
    pub(super) fn new(directory: directory_server::Behaviour, relay: relay::Behaviour) -> Self {
        Self { directory, relay, reached_at: HashMap::new(), queue: VecDeque::new() }
    }

    /// Somebody asks to be reached by way of this connection. They change their network and don't say goodbye: the one
    /// before is closed, lest the relay, which takes any of them, leads others into a dead end.
    fn is_reached_at(&mut self, peer: PeerId, connection: ConnectionId) {
        let before = self.reached_at.insert(peer, connection).filter(|before| *before != connection);
        if let Some(before) = before {
            tracing::debug!("a connection is replaced by a newer one");
            let connection = CloseConnection::One(before);
            self.queue.push_back(ToSwarm::CloseConnection { peer_id: peer, connection });
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = ConnectionHandlerSelect<THandler<directory_server::Behaviour>, THandler<relay::Behaviour>>;
    type ToSwarm = Outcome;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let directory = self.directory.handle_established_inbound_connection(connection, peer, local, remote)?;
        let relay = self.relay.handle_established_inbound_connection(connection, peer, local, remote)?;
        Ok(directory.select(relay))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let directory = self.directory.handle_established_outbound_connection(connection, peer, remote, role, port)?;
        let relay = self.relay.handle_established_outbound_connection(connection, peer, remote, role, port)?;
        Ok(directory.select(relay))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) = event
            && self.reached_at.get(&peer_id) == Some(&connection_id)
        {
            self.reached_at.remove(&peer_id);
        }
        self.directory.on_swarm_event(event);
        self.relay.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {
            Either::Left(event) => self.directory.on_connection_handler_event(peer, connection, event),
            Either::Right(Either::Left(Asked::CircuitReqReceived { inbound_circuit_req, endpoint })) => {
                let hidden = self.directory.registry().is_hidden_from(inbound_circuit_req.dst(), peer);
                match NO_RESERVATION.try_into() {
                    Ok(status) if hidden => self.queue.push_back(ToSwarm::NotifyHandler {
                        peer_id: peer,
                        handler: NotifyHandler::One(connection),
                        event: Either::Right(Either::Left(Answer::DenyCircuitReq {
                            circuit_id: None,
                            inbound_circuit_req,
                            status,
                        })),
                    }),
                    _ => {
                        let event = Either::Left(Asked::CircuitReqReceived { inbound_circuit_req, endpoint });
                        self.relay.on_connection_handler_event(peer, connection, event);
                    }
                }
            }
            Either::Right(event) => {
                if let Either::Left(Asked::ReservationReqReceived { .. }) = &event {
                    self.is_reached_at(peer, connection);
                }
                self.relay.on_connection_handler_event(peer, connection, event);
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(event) = self.queue.pop_front() {
            return Poll::Ready(event);
        }
        if let Poll::Ready(event) = self.directory.poll(cx) {
            return Poll::Ready(event.map_out(Outcome::TurnWanted).map_in(Either::Left));
        }
        if let Poll::Ready(event) = self.relay.poll(cx) {
            return Poll::Ready(event.map_out(Outcome::Relay).map_in(Either::Right));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::{task::Waker, time::Instant};

    use libp2p::core::ConnectedPoint;

    use super::{
        super::{NodeConfig, event_loop::terms, registry::Registry},
        *,
    };

    fn guarded() -> Behaviour {
        let config = NodeConfig::new(libp2p::identity::Keypair::generate_ed25519());
        let directory = directory_server::Behaviour::new(Registry::new(Instant::now(), terms(&config, None)));
        Behaviour::new(directory, relay::Behaviour::new(PeerId::random(), relay::Config::default()))
    }

    fn connection(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    /// Which connections are to be closed.
    fn closing(guarded: &mut Behaviour) -> Vec<ConnectionId> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut closing = Vec::new();
        while let Poll::Ready(event) = guarded.poll(&mut cx) {
            if let ToSwarm::CloseConnection { connection: CloseConnection::One(connection), .. } = event {
                closing.push(connection);
            }
        }
        closing
    }

    fn closed(guarded: &mut Behaviour, peer: PeerId, number: usize) {
        let endpoint = ConnectedPoint::Listener { local_addr: Multiaddr::empty(), send_back_addr: Multiaddr::empty() };
        guarded.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
            peer_id: peer,
            connection_id: connection(number),
            endpoint: &endpoint,
            cause: None,
            remaining_established: 0,
        }));
    }

    #[tokio::test]
    async fn who_comes_back_by_another_connection_is_reached_there_and_the_older_one_is_closed() {
        let (mut guarded, ann, bob) = (guarded(), PeerId::random(), PeerId::random());
        guarded.is_reached_at(ann, connection(1));
        guarded.is_reached_at(bob, connection(2));
        guarded.is_reached_at(ann, connection(1));
        assert_eq!(closing(&mut guarded), [], "a reservation is renewed");
        guarded.is_reached_at(ann, connection(3));
        assert_eq!(closing(&mut guarded), [connection(1)]);
        // The end of the older one does not make the newer one forgotten.
        closed(&mut guarded, ann, 1);
        guarded.is_reached_at(ann, connection(4));
        assert_eq!(closing(&mut guarded), [connection(3)]);
    }

    #[tokio::test]
    async fn a_connection_that_has_ended_by_itself_is_not_closed_again() {
        let (mut guarded, ann) = (guarded(), PeerId::random());
        guarded.is_reached_at(ann, connection(1));
        closed(&mut guarded, ann, 1);
        guarded.is_reached_at(ann, connection(2));
        assert_eq!(closing(&mut guarded), []);
    }
}
