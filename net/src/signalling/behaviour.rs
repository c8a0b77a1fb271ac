use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Instant,
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm,
    },
};
use tokio::time::Sleep;

use super::{
    Body,
    calls::{Calls, Effect, Path, StreamId},
    handler::{Command, Handler, Report},
};
use crate::{CallId, Event};

/// What comes of signalling.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// For the app.
    Event(Event),
    /// Something waits for a connection to this peer: dial, or say that they are [`Behaviour::unreachable`].
    Reach { peer: PeerId },
}

/// Drives [`Calls`] with the swarm's events, streams and time.
pub(crate) struct Behaviour {
    calls: Calls,
    /// Wakes us at `alarm_at`.
    alarm: Pin<Box<Sleep>>,
    alarm_at: Option<Instant>,
    queue: VecDeque<ToSwarm<Outcome, Command>>,
    waker: Option<Waker>,
}

impl Behaviour {
    /// Must be called on a tokio runtime: has a timer.
    pub(crate) fn new() -> Self {
        Self {
            calls: Calls::new(now()),
            alarm: Box::pin(tokio::time::sleep_until(tokio::time::Instant::now())),
            alarm_at: None,
            queue: VecDeque::new(),
            waker: None,
        }
    }

    pub(crate) fn send(&mut self, peer: PeerId, call: CallId, body: Body) {
        self.calls.send(now(), peer, call, body);
        self.wake();
    }

    pub(crate) fn close_call(&mut self, peer: PeerId, call: CallId) {
        self.calls.close(now(), peer, call);
        self.wake();
    }

    /// The app can't keep up with this call's messages.
    pub(crate) fn refuse(&mut self, peer: PeerId, call: CallId) {
        self.calls.refuse(peer, call);
        self.wake();
    }

    /// There is no way to this peer: what waits for them fails now.
    pub(crate) fn unreachable(&mut self, peer: PeerId) {
        self.calls.unreachable(peer);
        self.wake();
    }

    /// A connection was found dead; it may take a while until it is closed.
    pub(crate) fn connection_dead(&mut self, peer: PeerId, connection: ConnectionId) {
        self.calls.disconnected(peer, connection);
        self.wake();
    }

    /// Whether a call's messages go over this connection.
    pub(crate) fn carries_call(&self, connection: ConnectionId) -> bool {
        self.calls.uses(connection)
    }

    /// Whether all that was sent is acknowledged.
    pub(crate) fn is_idle(&self) -> bool {
        self.calls.is_idle()
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        let (peer_id, connection, event) = match effect {
            Effect::Open { peer, stream } => (peer, stream.connection, Command::Open { number: stream.number }),
            Effect::Write { peer, stream, bytes } => {
                (peer, stream.connection, Command::Write { number: stream.number, bytes })
            }
            Effect::Close { peer, stream } => (peer, stream.connection, Command::Close { number: stream.number }),
            Effect::Reach { peer } => {
                return self.queue.push_back(ToSwarm::GenerateEvent(Outcome::Reach { peer }));
            }
            Effect::Event(event) => return self.queue.push_back(ToSwarm::GenerateEvent(Outcome::Event(event))),
        };
        self.queue.push_back(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(connection), event });
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
                let path = if established.endpoint.is_relayed() { Path::Relayed } else { Path::Direct };
                self.calls.connected(established.peer_id, established.connection_id, path);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                self.calls.disconnected(peer_id, connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, report: THandlerOutEvent<Self>) {
        match report {
            Report::Received { number, bytes } => {
                self.calls.received(now(), peer, StreamId { connection, number }, &bytes);
            }
            Report::Ended { number, end } => self.calls.stream_ended(peer, StreamId { connection, number }, end),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            while let Some(effect) = self.calls.poll_effect() {
                self.carry_out(effect);
            }
            if let Some(event) = self.queue.pop_front() {
                return Poll::Ready(event);
            }
            let wanted = self.calls.poll_timeout();
            if let Some(at) = wanted
                && self.alarm_at != wanted
            {
                self.alarm.as_mut().reset(at.into());
            }
            self.alarm_at = wanted;
            if wanted.is_some() && self.alarm.as_mut().poll(cx).is_ready() {
                self.alarm_at = None;
                self.calls.handle_timeout(now());
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
