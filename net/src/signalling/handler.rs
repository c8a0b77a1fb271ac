//! The signalling streams of one connection: carries frames, decides nothing.

use std::{
    collections::{BTreeMap, VecDeque},
    task::{Context, Poll},
};

use libp2p::{
    Stream, StreamProtocol,
    core::upgrade::ReadyUpgrade,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};

use super::{MAX_MESSAGE_BYTES, calls::StreamEnd};
use crate::wire::Framed;

const PROTOCOL: StreamProtocol = StreamProtocol::new("/parlor/signal/1");

/// How many signalling streams a connection may have. Further ones are reset.
const MAX_STREAMS: usize = 32;

/// How much may wait to be written on a stream. A call's unacknowledged messages fit twice. More: the stream breaks.
const MAX_BUFFERED_BYTES: usize = 8 * MAX_MESSAGE_BYTES;

/// From the behaviour to a connection. Streams that we open have even numbers.
#[derive(Debug)]
pub(crate) enum Command {
    Open { number: u64 },
    Write { number: u64, bytes: Vec<u8> },
    Close { number: u64 },
}

/// From a connection to the behaviour. Streams that were opened to us have odd numbers.
#[derive(Debug)]
pub(crate) enum Report {
    Received { number: u64, bytes: Vec<u8> },
    Ended { number: u64, end: StreamEnd },
}

enum Slot {
    /// Asked for. What is to be sent waits.
    Opening {
        waiting: Vec<Vec<u8>>,
        then_close: bool,
    },
    Open(Framed<Stream>),
    /// What was written is being sent, then the stream is dropped.
    Closing(Framed<Stream>),
}

/// The signalling streams of one connection.
#[derive(Default)]
pub(crate) struct Handler {
    slots: BTreeMap<u64, Slot>,
    to_open: VecDeque<u64>,
    opened_to_us: u64,
    ended: VecDeque<Report>,
}

impl Handler {
    fn break_off(&mut self, number: u64, end: StreamEnd) {
        self.slots.remove(&number);
        self.ended.push_back(Report::Ended { number, end });
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Command;
    type ToBehaviour = Report;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = u64;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn on_behaviour_event(&mut self, command: Command) {
        match command {
            Command::Open { number } if self.slots.len() >= MAX_STREAMS => self.break_off(number, StreamEnd::Broken),
            Command::Open { number } => {
                self.slots.insert(number, Slot::Opening { waiting: Vec::new(), then_close: false });
                self.to_open.push_back(number);
            }
            Command::Write { number, bytes } => match self.slots.get_mut(&number) {
                Some(Slot::Opening { waiting, .. }) => waiting.push(bytes),
                Some(Slot::Open(stream)) => {
                    stream.push(&bytes);
                    if stream.buffered() > MAX_BUFFERED_BYTES {
                        self.break_off(number, StreamEnd::Broken);
                    }
                }
                // It has ended meanwhile, and the report of that is on its way.
                Some(Slot::Closing(_)) | None => {}
            },
            Command::Close { number } => match self.slots.remove(&number) {
                Some(Slot::Opening { waiting, .. }) => {
                    self.slots.insert(number, Slot::Opening { waiting, then_close: true });
                }
                Some(Slot::Open(stream) | Slot::Closing(stream)) => {
                    self.slots.insert(number, Slot::Closing(stream));
                }
                None => {}
            },
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, u64, Self::ToBehaviour>> {
        if let Some(number) = self.to_open.pop_front() {
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), number);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        let mut broken = Vec::new();
        let mut finished = Vec::new();
        let mut received = None;
        for (&number, slot) in &mut self.slots {
            match slot {
                Slot::Opening { .. } => {}
                Slot::Closing(stream) => {
                    if stream.poll_close(cx).is_ready() {
                        finished.push(number);
                    }
                }
                Slot::Open(stream) => {
                    if let Poll::Ready(Err(error)) = stream.poll_flush(cx) {
                        tracing::debug!(%error, "a signalling stream broke");
                        broken.push((number, StreamEnd::Broken));
                        continue;
                    }
                    // One message at a time: the behaviour's pace is the pace at which streams are read.
                    if received.is_some() {
                        continue;
                    }
                    match stream.poll_next(cx) {
                        Poll::Pending => {}
                        Poll::Ready(Some(Ok(bytes))) => received = Some(Report::Received { number, bytes }),
                        Poll::Ready(Some(Err(error))) => {
                            tracing::debug!(%error, "a signalling stream broke");
                            broken.push((number, StreamEnd::Broken));
                        }
                        Poll::Ready(None) => broken.push((number, StreamEnd::Closed)),
                    }
                }
            }
        }
        for number in finished {
            self.slots.remove(&number);
        }
        for (number, end) in broken {
            self.break_off(number, end);
        }
        match received.or_else(|| self.ended.pop_front()) {
            Some(report) => Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report)),
            None => Poll::Pending,
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), u64>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                if self.slots.len() >= MAX_STREAMS {
                    tracing::debug!("a signalling stream too many is reset");
                    return;
                }
                let number = 2 * self.opened_to_us + 1;
                self.opened_to_us += 1;
                self.slots.insert(number, Slot::Open(Framed::new(protocol, MAX_MESSAGE_BYTES)));
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info: number }) => {
                let Some(Slot::Opening { waiting, then_close }) = self.slots.remove(&number) else { return };
                let mut stream = Framed::new(protocol, MAX_MESSAGE_BYTES);
                for bytes in waiting {
                    stream.push(&bytes);
                }
                self.slots.insert(number, if then_close { Slot::Closing(stream) } else { Slot::Open(stream) });
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: number, error }) => {
                tracing::debug!(%error, "a signalling stream was refused");
                self.break_off(
                    number,
                    match error {
                        StreamUpgradeError::NegotiationFailed => StreamEnd::Unsupported,
                        StreamUpgradeError::Timeout | StreamUpgradeError::Io(_) => StreamEnd::Broken,
                        StreamUpgradeError::Apply(never) => match never {},
                    },
                );
            }
            _ => {}
        }
    }
}
