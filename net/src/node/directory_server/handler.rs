//! The directory stream of one connection: carries frames, decides nothing.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
    time::Instant,
};

use libp2p::{
    Multiaddr, Stream, StreamProtocol,
    core::upgrade::{DeniedUpgrade, ReadyUpgrade},
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, SubstreamProtocol,
        handler::{ConnectionEvent, FullyNegotiatedInbound},
    },
};

use crate::{
    directory::{MAX_REQUEST_BYTES, PROTOCOL, Request},
    token_bucket::TokenBucket,
    wire::Framed,
};

/// How many streams may be opened at once, and per second in the long run. Further ones are reset.
const STREAM_BURST: u32 = 5;
const STREAMS_PER_SECOND: f64 = 0.2;

/// From the behaviour to a connection.
#[derive(Debug)]
pub(crate) enum Command {
    Write { number: u32, frames: Vec<Vec<u8>> },
    Close { number: u32 },
}

/// From a connection to the behaviour.
#[derive(Debug)]
pub(crate) enum Report {
    Opened { number: u32, observed: Multiaddr },
    Received { number: u32, request: Request },
    Drained { number: u32 },
    Ended { number: u32 },
}

enum Line {
    None,
    Open {
        number: u32,
        stream: Box<Framed<Stream>>,
        /// It has been given something that is not written yet.
        busy: bool,
    },
    /// What was given is being written, then the stream is dropped. Does not keep the connection.
    Closing(Box<Framed<Stream>>),
}

/// One stream at a time. A newer one replaces it.
pub(crate) struct Handler {
    line: Line,
    opened: u32,
    streams: TokenBucket,
    observed: Multiaddr,
    reports: VecDeque<Report>,
}

impl Handler {
    pub(super) fn new(observed: Multiaddr) -> Self {
        Self {
            line: Line::None,
            opened: 0,
            streams: TokenBucket::new(STREAM_BURST, STREAMS_PER_SECOND, now()),
            observed,
            reports: VecDeque::new(),
        }
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Option<Report> {
        match &mut self.line {
            Line::None => None,
            Line::Closing(stream) => {
                if stream.poll_close(cx).is_ready() {
                    self.line = Line::None;
                }
                None
            }
            Line::Open { number, stream, busy } => {
                let number = *number;
                match stream.poll_flush(cx) {
                    Poll::Ready(Ok(())) if *busy => {
                        *busy = false;
                        return Some(Report::Drained { number });
                    }
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                    Poll::Ready(Err(error)) => return Some(self.end(number, &error)),
                }
                match stream.poll_next(cx) {
                    Poll::Pending => None,
                    Poll::Ready(Some(Ok(frame))) => match serde_json::from_slice(&frame) {
                        Ok(request) => Some(Report::Received { number, request }),
                        Err(error) => Some(self.end(number, &error)),
                    },
                    Poll::Ready(Some(Err(error))) => Some(self.end(number, &error)),
                    Poll::Ready(None) => Some(self.end(number, &"closed")),
                }
            }
        }
    }

    fn end(&mut self, number: u32, why: &dyn std::fmt::Display) -> Report {
        tracing::debug!(%why, "a directory stream ended");
        self.line = Line::None;
        Report::Ended { number }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Command;
    type ToBehaviour = Report;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = DeniedUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn connection_keep_alive(&self) -> bool {
        matches!(self.line, Line::Open { .. })
    }

    fn on_behaviour_event(&mut self, command: Command) {
        match (command, &mut self.line) {
            (Command::Write { number, frames }, Line::Open { number: current, stream, busy }) if number == *current => {
                frames.iter().for_each(|frame| stream.push(frame));
                *busy = true;
            }
            (Command::Close { number }, Line::Open { number: current, .. }) if number == *current => {
                if let Line::Open { stream, .. } = std::mem::replace(&mut self.line, Line::None) {
                    self.line = Line::Closing(stream);
                }
            }
            // The stream has ended meanwhile, and the report of that is on its way.
            (Command::Write { .. } | Command::Close { .. }, Line::None | Line::Open { .. } | Line::Closing(_)) => {}
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        let report = self.reports.pop_front().or_else(|| self.poll_open(cx));
        report.map_or(Poll::Pending, |report| Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report)))
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>) {
        let ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) = event else { return };
        if !self.streams.take(now()) {
            tracing::debug!("too many directory streams: one is reset");
            return;
        }
        if let Line::Open { number, .. } = self.line {
            self.reports.push_back(Report::Ended { number });
        }
        self.opened += 1;
        let number = self.opened;
        let stream = Box::new(Framed::new(protocol, MAX_REQUEST_BYTES));
        self.line = Line::Open { number, stream, busy: false };
        self.reports.push_back(Report::Opened { number, observed: self.observed.clone() });
    }
}

/// The runtime's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
