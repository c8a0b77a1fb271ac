//! The node's side of `/parlor/directory/1`: drives the [`Registry`] with the swarm's streams and time.

mod handler;

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use futures::channel::mpsc;
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
    },
};
use tokio::time::Sleep;

use self::handler::{Command, Handler, Report};
use super::{
    Reached,
    registry::{ClientId, Effect, Registry},
};
use crate::directory::{NodeStatus, Push};

/// Somebody wants access to TURN. Answer with [`Behaviour::tell`].
#[derive(Debug)]
pub(super) struct TurnWanted {
    pub(super) client: ClientId,
    pub(super) peer: PeerId,
}

/// Where a client is told what.
struct Stream {
    number: u32,
    commands: mpsc::Sender<Command>,
}

/// See the module. Holds requests for TURN that the swarm has not fetched yet, which are few.
pub(super) struct Behaviour {
    registry: Registry,
    /// Wakes us at `alarm_at`.
    alarm: Pin<Box<Sleep>>,
    alarm_at: Option<Instant>,
    wanted: VecDeque<TurnWanted>,
    /// The newest stream of each connection that has one.
    streams: HashMap<ConnectionId, Stream>,
    waker: Option<Waker>,
}

impl Behaviour {
    /// Must be called on a tokio runtime: has a timer.
    pub(super) fn new(registry: Registry) -> Self {
        Self {
            registry,
            alarm: Box::pin(tokio::time::sleep_until(tokio::time::Instant::now())),
            alarm_at: None,
            wanted: VecDeque::new(),
            streams: HashMap::new(),
            waker: None,
        }
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Of which nodes people are told who ask.
    pub(super) fn set_nodes(&mut self, nodes: Vec<Multiaddr>) {
        self.registry.set_nodes(nodes);
    }

    /// What is known of our addresses, for whoever asks how the node is doing.
    pub(super) fn set_reached(&mut self, reached: &[(Multiaddr, Reached)]) {
        let count = |wanted| reached.iter().filter(|(_, reached)| *reached == wanted).count();
        self.registry.set_reached(count(Reached::Yes), count(Reached::No));
    }

    pub(super) fn tell(&mut self, client: ClientId, push: &Push) {
        self.registry.tell(client, push);
        self.wake();
    }

    /// Tells everybody that the node stops.
    pub(super) fn shut_down(&mut self) {
        self.registry.shut_down();
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        let (client, command) = match effect {
            Effect::Write { client, frames } => (client, Command::Write { frames }),
            Effect::Close { client } => (client, Command::Close),
            Effect::GrantTurn { client, peer } => return self.wanted.push_back(TurnWanted { client, peer }),
            Effect::TellStatus { client, status } => {
                let status = NodeStatus { unix_ms: unix_ms(), ..status };
                return self.registry.tell(client, &Push::Status(status));
            }
        };
        // Otherwise it has ended meanwhile, and the report of that is on its way.
        if let Some(stream) = self.streams.get_mut(&client.connection)
            && stream.number == client.number
            && let Err(error) = stream.commands.try_send(command)
        {
            tracing::debug!(%error, "a client is not told");
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = TurnWanted;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(remote.clone()))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        remote: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(remote.clone()))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ConnectionClosed(ConnectionClosed { peer_id: peer, connection_id: connection, .. }) = event
            && let Some(Stream { number, .. }) = self.streams.remove(&connection)
        {
            self.registry.disconnected(now(), ClientId { peer, connection, number });
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, report: THandlerOutEvent<Self>) {
        let client = |number| ClientId { peer, connection, number };
        match report {
            Report::Opened { number, observed, commands } => {
                self.streams.insert(connection, Stream { number, commands });
                self.registry.connected(now(), client(number), observed);
            }
            Report::Received { number, request } => self.registry.handle(now(), client(number), request),
            Report::Drained { number } => self.registry.drained(client(number)),
            Report::Ended { number } => self.registry.disconnected(now(), client(number)),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            if let Some(wanted) = self.wanted.pop_front() {
                return Poll::Ready(ToSwarm::GenerateEvent(wanted));
            }
            if let Some(effect) = self.registry.poll_effect() {
                self.carry_out(effect);
                continue;
            }
            let wanted = self.registry.poll_timeout();
            if self.alarm_at != Some(wanted) {
                self.alarm.as_mut().reset(wanted.into());
                self.alarm_at = Some(wanted);
            }
            if self.alarm.as_mut().poll(cx).is_ready() {
                self.alarm_at = None;
                self.registry.handle_timeout(now());
                continue;
            }
            self.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
    }
}

/// The runtime's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[expect(clippy::disallowed_methods, reason = "the time of day is told to whoever asks; this is where it is read")]
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
