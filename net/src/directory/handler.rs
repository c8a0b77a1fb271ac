//! The client's streams on one connection to a node: carries frames, decides nothing.

use std::{
    collections::VecDeque,
    convert::Infallible,
    task::{Context, Poll},
};

use libp2p::{
    Stream, StreamProtocol,
    core::upgrade::{DeniedUpgrade, ReadyUpgrade},
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedOutbound},
    },
};
use tokio::sync::oneshot;

use super::message::{MAX_PUSH_BYTES, MAX_REQUEST_BYTES, PROTOCOL};
use crate::wire::Framed;

/// A stream of TURN messages to the node's relay (RFC 4571 framing).
pub(crate) const TURN_PROTOCOL: StreamProtocol = StreamProtocol::new("/parlor/turn/1");

/// How much may wait to be written. More: the node does not read, the stream ends.
const MAX_BUFFERED_BYTES: usize = 32 * MAX_REQUEST_BYTES;

/// How many streams may wait to be opened.
const MAX_OPENING: usize = 64;

/// From the behaviour to a connection.
#[derive(Debug)]
pub(crate) enum Command {
    /// Send these frames; open the stream first if need be.
    Say(Vec<Vec<u8>>),
    /// Open a stream to the node's TURN relay. If it can't be opened, the sender is dropped.
    OpenTurn(oneshot::Sender<Stream>),
}

/// From a connection to the behaviour.
#[derive(Debug)]
pub(crate) enum Report {
    Pushed(Vec<u8>),
    Ended { reason: String },
}

/// What a stream that is being opened is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    Directory,
    Turn(oneshot::Sender<Stream>),
}

enum Directory {
    /// Nothing was said yet.
    Closed,
    Opening {
        waiting: Vec<Vec<u8>>,
    },
    Open(Box<Framed<Stream>>),
    /// It is not opened again: the connection is about to be closed.
    Ended,
}

/// The client's streams on one connection.
pub(crate) struct Handler {
    directory: Directory,
    to_open: VecDeque<Purpose>,
    ended: Option<String>,
}

impl Default for Handler {
    fn default() -> Self {
        Self { directory: Directory::Closed, to_open: VecDeque::new(), ended: None }
    }
}

impl Handler {
    fn end(&mut self, reason: impl Into<String>) {
        self.directory = Directory::Ended;
        self.ended = Some(reason.into());
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Command;
    type ToBehaviour = Report;
    type InboundProtocol = DeniedUpgrade;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Purpose;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(DeniedUpgrade, ())
    }

    fn on_behaviour_event(&mut self, command: Command) {
        match command {
            Command::Say(frames) => match &mut self.directory {
                Directory::Closed => {
                    self.directory = Directory::Opening { waiting: frames };
                    self.to_open.push_back(Purpose::Directory);
                }
                Directory::Opening { waiting } => waiting.extend(frames),
                Directory::Open(stream) => {
                    frames.iter().for_each(|frame| stream.push(frame));
                    if stream.buffered() > MAX_BUFFERED_BYTES {
                        self.end("it does not read");
                    }
                }
                Directory::Ended => {}
            },
            Command::OpenTurn(reply) => {
                if self.to_open.len() < MAX_OPENING {
                    self.to_open.push_back(Purpose::Turn(reply));
                }
            }
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Purpose, Self::ToBehaviour>> {
        if let Some(purpose) = self.to_open.pop_front() {
            let protocol = match &purpose {
                Purpose::Directory => PROTOCOL,
                Purpose::Turn(_) => TURN_PROTOCOL,
            };
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(protocol), purpose);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        if let Directory::Open(stream) = &mut self.directory {
            if let Poll::Ready(Err(error)) = stream.poll_flush(cx) {
                self.end(error.to_string());
            } else {
                // One frame at a time: the behaviour's pace is the pace at which the stream is read.
                match stream.poll_next(cx) {
                    Poll::Pending => {}
                    Poll::Ready(Some(Ok(frame))) => {
                        return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Report::Pushed(frame)));
                    }
                    Poll::Ready(Some(Err(error))) => self.end(error.to_string()),
                    Poll::Ready(None) => self.end("it closed the stream"),
                }
            }
        }
        match self.ended.take() {
            Some(reason) => Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Report::Ended { reason })),
            None => Poll::Pending,
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), Purpose>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info }) => {
                match info {
                    Purpose::Directory => {
                        let Directory::Opening { waiting } = &mut self.directory else { return };
                        let waiting = std::mem::take(waiting);
                        let mut stream = Box::new(Framed::new(stream, MAX_PUSH_BYTES));
                        waiting.iter().for_each(|frame| stream.push(frame));
                        self.directory = Directory::Open(stream);
                    }
                    // Whoever asked may have stopped waiting: then the stream is closed.
                    Purpose::Turn(reply) => drop(reply.send(stream)),
                }
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let error = error.map_upgrade_err(|never: Infallible| match never {});
                tracing::debug!(%error, "a stream to a node was refused");
                match info {
                    Purpose::Directory => self.end(error.to_string()),
                    Purpose::Turn(_) => {}
                }
            }
            _ => {}
        }
    }
}
