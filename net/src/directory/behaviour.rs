use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Instant,
};

use libp2p::{
    Multiaddr, PeerId, Stream,
    core::{
        Endpoint,
        transport::{ListenerId, PortUse},
    },
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, DialError, DialFailure, FromSwarm, ListenOpts,
        NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::{sync::oneshot, time::Sleep};

use super::{
    Card, Push,
    client::{Client, Effect},
    handler::{Command, Handler, Report},
};
use crate::{Circle, Found, IceServer, NodeState, OfflineReason, presence::Announcement};

/// The longest reason that is told why a node can't be reached, in characters.
const MAX_REASON_CHARS: usize = 200;

/// What comes of being a client of nodes.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A node shows somebody, with what they have signed.
    Seen { node: PeerId, peer: PeerId, found: Found, said: Announcement },
    /// A node shows somebody no more.
    Unseen { node: PeerId, peer: PeerId, found: Found, reason: OfflineReason },
    /// How a node is doing has changed.
    Node(NodeState),
    /// Our nodes know these others, which are used, too, from now on.
    Learned(Vec<Multiaddr>),
    /// These serve media from now on.
    IceServers(Vec<IceServer>),
    /// Offer the node's TURN relay on a port of this machine, and [say which](Behaviour::shim_at).
    Shim { node: PeerId },
    /// The node is no longer in the circle.
    Forget { node: PeerId },
}

/// Drives [`Client`] with the swarm's events, streams and time.
pub(crate) struct Behaviour {
    client: Client,
    /// The attempts to connect that count.
    dials: HashMap<PeerId, ConnectionId>,
    /// Where we listen on nodes' relays.
    reservations: HashMap<ListenerId, PeerId>,
    /// Wakes us at `alarm_at`.
    alarm: Pin<Box<Sleep>>,
    alarm_at: Option<Instant>,
    queue: VecDeque<ToSwarm<Outcome, Command>>,
    waker: Option<Waker>,
}

impl Behaviour {
    /// Must be called on a tokio runtime: has a timer.
    pub(crate) fn new(local: PeerId, card: Card) -> Self {
        Self {
            client: Client::new(local, card, rand::random()),
            dials: HashMap::new(),
            reservations: HashMap::new(),
            alarm: Box::pin(tokio::time::sleep_until(tokio::time::Instant::now())),
            alarm_at: None,
            queue: VecDeque::new(),
            waker: None,
        }
    }

    /// Who is found, and by whom, has changed.
    pub(crate) fn set_circle(&mut self, circle: Circle) {
        self.client.set_circle(now(), circle);
        self.wake();
    }

    /// We say something else of ourselves now.
    pub(crate) fn set_card(&mut self, card: Card) {
        self.client.set_card(now(), card);
        self.wake();
    }

    /// The addresses of this machine have changed, or it has slept.
    pub(crate) fn network_changed(&mut self) {
        self.client.network_changed(now());
        self.wake();
    }

    /// A node's TURN relay is behind this port of this machine now.
    pub(crate) fn shim_at(&mut self, node: PeerId, port: u16) {
        self.client.shim_at(node, port);
        self.wake();
    }

    /// Opens a stream to a node's TURN relay. If that can't be done, the sender is dropped.
    pub(crate) fn open_turn(&mut self, node: PeerId, reply: oneshot::Sender<Stream>) {
        if let Some(connection) = self.client.connection(&node) {
            self.notify(node, connection, Command::OpenTurn(reply));
            self.wake();
        }
    }

    /// Tells the nodes that this process ends.
    pub(crate) fn say_goodbye(&mut self) {
        self.client.say_goodbye(now());
        self.wake();
    }

    /// Whether a peer is a node of the circle.
    pub(crate) fn is_node(&self, peer: &PeerId) -> bool {
        self.client.is_node(peer)
    }

    /// The nodes of the circle.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = PeerId> {
        self.client.nodes()
    }

    /// Where somebody can be reached through nodes.
    pub(crate) fn routes(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.client.routes(peer)
    }

    /// Whether ways to people may open soon: see [`Client::awaits_a_node`].
    pub(crate) fn awaits_a_node(&self) -> bool {
        self.client.awaits_a_node()
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn notify(&mut self, peer_id: PeerId, connection: ConnectionId, event: Command) {
        self.queue.push_back(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(connection), event });
    }

    fn carry_out(&mut self, effect: Effect) {
        let outcome = match effect {
            Effect::Dial { node, addresses } => {
                // Not from the port that we listen on: that can't be used twice for one destination in short succession.
                let opts = DialOpts::peer_id(node)
                    .addresses(addresses)
                    .condition(PeerCondition::Always)
                    .allocate_new_port()
                    .build();
                self.dials.insert(node, opts.connection_id());
                return self.queue.push_back(ToSwarm::Dial { opts });
            }
            Effect::HangUp { node, connection } => {
                return self.queue.push_back(ToSwarm::CloseConnection {
                    peer_id: node,
                    connection: CloseConnection::One(connection),
                });
            }
            Effect::Say { node, connection, requests } => {
                let frames = requests
                    .iter()
                    .map(|request| serde_json::to_vec(request).expect("a request has string keys and plain values"))
                    .collect();
                return self.notify(node, connection, Command::Say(frames));
            }
            Effect::Reserve { node, address } => {
                self.release(node);
                let opts = ListenOpts::new(address);
                self.reservations.insert(opts.listener_id(), node);
                return self.queue.push_back(ToSwarm::ListenOn { opts });
            }
            Effect::Forget { node } => {
                self.release(node);
                self.dials.remove(&node);
                Outcome::Forget { node }
            }
            Effect::Seen { node, peer, found, said } => Outcome::Seen { node, peer, found, said },
            Effect::Unseen { node, peer, found, reason } => Outcome::Unseen { node, peer, found, reason },
            Effect::State(state) => Outcome::Node(state),
            Effect::Learned(nodes) => Outcome::Learned(nodes),
            Effect::IceServers(servers) => Outcome::IceServers(servers),
            Effect::Shim { node } => Outcome::Shim { node },
        };
        self.queue.push_back(ToSwarm::GenerateEvent(outcome));
    }

    /// Ceases to listen on a node's relay.
    fn release(&mut self, node: PeerId) {
        let queue = &mut self.queue;
        self.reservations.retain(|id, at| {
            if *at == node {
                queue.push_back(ToSwarm::RemoveListener { id: *id });
            }
            *at != node
        });
    }

    fn listener_ended(&mut self, listener: ListenerId, why: &dyn std::fmt::Debug) {
        if let Some(node) = self.reservations.remove(&listener) {
            tracing::debug!(%node, ?why, "not listening on this node's relay any more");
            self.client.unreserved(now(), node);
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Outcome;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                let (peer, endpoint) = (established.peer_id, established.endpoint);
                if self.client.is_node(&peer) && endpoint.is_dialer() && !endpoint.is_relayed() {
                    let address = endpoint.get_remote_address().clone();
                    self.client.connected(now(), peer, established.connection_id, address);
                }
            }
            FromSwarm::ConnectionClosed(closed) => {
                let reason = closed.cause.map_or_else(|| "it closed the connection".to_owned(), ToString::to_string);
                self.client.disconnected(now(), closed.peer_id, closed.connection_id, shortened(reason));
            }
            FromSwarm::DialFailure(DialFailure { peer_id: Some(peer), error, connection_id })
                if self.dials.get(&peer) == Some(&connection_id) =>
            {
                self.client.dial_failed(now(), peer, reason(error));
            }
            FromSwarm::ListenerError(failed) => self.listener_ended(failed.listener_id, &failed.err),
            FromSwarm::ListenerClosed(closed) => self.listener_ended(closed.listener_id, &closed.reason),
            _ => {}
        }
        self.wake();
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, report: THandlerOutEvent<Self>) {
        match report {
            Report::Pushed(frame) => match serde_json::from_slice::<Push>(&frame) {
                Ok(push) => self.client.pushed(now(), peer, connection, push),
                Err(error) => {
                    tracing::debug!(node = %peer, %error, "a node does not make sense");
                    self.client.disconnected(now(), peer, connection, "it does not make sense".into());
                }
            },
            Report::Ended { reason } => self.client.disconnected(now(), peer, connection, shortened(reason)),
        }
        self.wake();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            while let Some(effect) = self.client.poll_effect() {
                self.carry_out(effect);
            }
            if let Some(event) = self.queue.pop_front() {
                return Poll::Ready(event);
            }
            let wanted = self.client.poll_timeout();
            if let Some(at) = wanted
                && self.alarm_at != wanted
            {
                self.alarm.as_mut().reset(at.into());
            }
            self.alarm_at = wanted;
            if wanted.is_some() && self.alarm.as_mut().poll(cx).is_ready() {
                self.alarm_at = None;
                self.client.handle_timeout(now());
                continue;
            }
            self.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
    }
}

/// Why a node can't be connected, in a line.
fn reason(error: &DialError) -> String {
    let text = match error {
        DialError::Transport(errors) => errors.first().map_or_else(|| error.to_string(), |(_, error)| innermost(error)),
        DialError::WrongPeerId { .. } => "another node answers there".to_owned(),
        other => other.to_string(),
    };
    shortened(text)
}

/// What is at the bottom of an error, such as "Connection refused".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn shortened(text: String) -> String {
    if text.chars().count() <= MAX_REASON_CHARS { text } else { text.chars().take(MAX_REASON_CHARS).collect() }
}

/// The runtime's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
