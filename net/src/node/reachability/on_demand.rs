//! A protocol that costs a connection next to nothing until somebody uses it: the library's handler, with its queues
//! and timers, is made when the first stream comes in and whoever owns the behaviour admits it.

use std::{
    fmt,
    net::IpAddr,
    task::{Context, Poll},
};

use libp2p::{
    Stream, StreamProtocol,
    core::upgrade::{DeniedUpgrade, ReadyUpgrade},
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, SubstreamProtocol,
        handler::{ConnectionEvent, FullyNegotiatedInbound},
    },
};

/// A handler that answers streams of others, and opens none.
pub(in crate::node) trait Answers:
    ConnectionHandler<
        FromBehaviour = std::convert::Infallible,
        InboundProtocol = ReadyUpgrade<StreamProtocol>,
        OutboundProtocol = DeniedUpgrade,
        InboundOpenInfo = (),
        OutboundOpenInfo = (),
    >
{
}

impl<H> Answers for H where
    H: ConnectionHandler<
            FromBehaviour = std::convert::Infallible,
            InboundProtocol = ReadyUpgrade<StreamProtocol>,
            OutboundProtocol = DeniedUpgrade,
            InboundOpenInfo = (),
            OutboundOpenInfo = (),
        >
{
}

/// See the module. One stream waits to be admitted; others are reset meanwhile.
pub(in crate::node) struct OnDemand<H> {
    protocol: StreamProtocol,
    ip: Option<IpAddr>,
    inner: Option<Box<H>>,
    waiting: Option<Box<Stream>>,
    /// Nobody has been asked yet whether the waiting stream is admitted.
    is_new: bool,
}

impl<H> OnDemand<H> {
    /// For a connection from `ip`.
    pub(super) fn new(protocol: StreamProtocol, ip: Option<IpAddr>) -> Self {
        Self { protocol, ip, inner: None, waiting: None, is_new: false }
    }
}

/// What it tells.
#[derive(Debug)]
pub(in crate::node) enum Told<E> {
    /// Somebody at this address wants to use the protocol. Answer with [`Admission`].
    Wanted { ip: Option<IpAddr> },
    /// The library's handler says so.
    Inner(E),
}

/// The handler to use, unless there is one by now; or none.
pub(in crate::node) struct Admission<H>(pub(in crate::node) Option<Box<H>>);

impl<H> fmt::Debug for Admission<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Admission").field(&self.0.is_some()).finish()
    }
}

impl<H: Answers> ConnectionHandler for OnDemand<H> {
    type FromBehaviour = Admission<H>;
    type ToBehaviour = Told<H::ToBehaviour>;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = DeniedUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ())
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        if std::mem::take(&mut self.is_new) {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Told::Wanted { ip: self.ip }));
        }
        match &mut self.inner {
            Some(inner) => inner.poll(cx).map(|event| event.map_custom(Told::Inner)),
            None => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, Admission(handler): Admission<H>) {
        let (Some(stream), Some(handler)) = (self.waiting.take(), handler) else { return };
        let inner = self.inner.get_or_insert(handler);
        let admitted = FullyNegotiatedInbound { protocol: *stream, info: () };
        inner.on_connection_event(ConnectionEvent::FullyNegotiatedInbound(admitted));
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>) {
        if let ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) = event {
            if self.waiting.is_none() {
                self.waiting = Some(Box::new(protocol));
                self.is_new = true;
            }
        } else if let Some(inner) = &mut self.inner {
            inner.on_connection_event(event);
        }
    }
}
