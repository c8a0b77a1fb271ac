//! Takes in streams of `/parlor/turn/1`; the relay serves them.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
    time::Instant,
};

use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{
        Endpoint,
        transport::PortUse,
        upgrade::{DeniedUpgrade, ReadyUpgrade},
    },
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
        SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, FullyNegotiatedInbound},
    },
};

use crate::token_bucket::TokenBucket;

const PROTOCOL: StreamProtocol = StreamProtocol::new("/parlor/turn/1");

/// How many streams a connection may open at once, and per second in the long run. Further ones are reset.
const STREAM_BURST: u32 = 8;
const STREAMS_PER_SECOND: f64 = 0.5;

/// A stream that somebody has opened. It keeps its connection.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) peer: PeerId,
    pub(super) stream: Stream,
}

/// See the module. Holds what the swarm has not fetched yet.
#[derive(Default)]
pub(super) struct Behaviour {
    opened: VecDeque<Opened>,
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Opened;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, peer: PeerId, _: ConnectionId, stream: THandlerOutEvent<Self>) {
        self.opened.push_back(Opened { peer, stream });
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.opened.pop_front().map_or(Poll::Pending, |opened| Poll::Ready(ToSwarm::GenerateEvent(opened)))
    }
}

pub(super) struct Handler {
    streams: TokenBucket,
    opened: Option<Stream>,
}

impl Handler {
    fn new() -> Self {
        Self { streams: TokenBucket::new(STREAM_BURST, STREAMS_PER_SECOND, now()), opened: None }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = std::convert::Infallible;
    type ToBehaviour = Stream;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = DeniedUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        match event {}
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        let opened = self.opened.take();
        opened.map_or(Poll::Pending, |stream| Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(stream)))
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>) {
        if let ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) = event
            && self.streams.take(now())
        {
            self.opened = Some(protocol);
        }
    }
}

/// The runtime's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
