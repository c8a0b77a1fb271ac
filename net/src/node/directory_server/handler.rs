//! The directory stream of one connection: carries frames, decides nothing.

use std::{
    collections::VecDeque,
    convert::Infallible,
    task::{Context, Poll},
    time::Instant,
};

use futures::{StreamExt, channel::mpsc};
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

/// Commands that may wait: what is written at a time, and last words with the end.
const MAX_COMMANDS: usize = 4;

/// From the behaviour to a stream.
#[derive(Debug)]
pub(crate) enum Command {
    Write { frames: Vec<Vec<u8>> },
    Close,
}

/// From a connection to the behaviour.
#[derive(Debug)]
pub(crate) enum Report {
    /// Commands go through a channel of the stream's own: the swarm looks through all connections for the one that a
    /// command is meant for, which takes longer than all else when there are ten thousand.
    Opened {
        number: u32,
        observed: Multiaddr,
        commands: mpsc::Sender<Command>,
    },
    Received {
        number: u32,
        request: Request,
    },
    Drained {
        number: u32,
    },
    Ended {
        number: u32,
    },
}

enum Line {
    None,
    Open {
        number: u32,
        stream: Box<Framed<Stream>>,
        commands: mpsc::Receiver<Command>,
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
            Line::Open { number, stream, commands, busy } => {
                let number = *number;
                let mut close = false;
                while let Poll::Ready(Some(command)) = commands.poll_next_unpin(cx) {
                    match command {
                        Command::Write { frames } => {
                            frames.iter().for_each(|frame| stream.push(frame));
                            *busy = true;
                        }
                        Command::Close => close = true,
                    }
                }
                if close {
                    if let Line::Open { stream, .. } = std::mem::replace(&mut self.line, Line::None) {
                        self.line = Line::Closing(stream);
                    }
                    return self.poll_open(cx);
                }
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
    type FromBehaviour = Infallible;
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

    fn on_behaviour_event(&mut self, command: Infallible) {
        match command {}
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
        let (sender, commands) = mpsc::channel(MAX_COMMANDS);
        self.line = Line::Open { number, stream, commands, busy: false };
        self.reports.push_back(Report::Opened { number, observed: self.observed.clone(), commands: sender });
    }
}

/// The runtime's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
