use std::{
    task::{Context, Poll},
    time::{Duration, Instant},
};

use libp2p::{
    Stream, StreamProtocol,
    core::upgrade::ReadyUpgrade,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use tokio::time::{Interval, MissedTickBehavior};

use super::{
    frame::{Frame, MAX_FRAME_BYTES},
    liveness::{Liveness, Patience, TICK},
};
use crate::{presence::Announcement, token_bucket::TokenBucket, wire::Framed};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/parlor/heartbeat/1");

/// How heartbeats are spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// To a person, directly. They may stall for a second without being taken for dead; a dead one is noticed within
    /// two.
    Near,
    /// To a person, through a relay that others use too. Whether they are there, the node says; here it is only asked
    /// whether the way is.
    Relayed,
    /// Not at all: to a node.
    Off,
}

impl Pace {
    /// A beat is sent every so many ticks of 200 ms.
    const fn ticks_per_beat(self) -> u32 {
        match self {
            Self::Near => 2,
            Self::Relayed | Self::Off => 10,
        }
    }

    pub(super) const fn patience(self) -> Patience {
        match self {
            Self::Near => {
                Patience { lost_after: Duration::from_millis(1800), first_frame_within: Duration::from_secs(2) }
            }
            Self::Relayed | Self::Off => {
                Patience { lost_after: Duration::from_secs(7), first_frame_within: Duration::from_secs(7) }
            }
        }
    }
}

/// In a call beats are so many times rarer: as rare as somebody bears to whom ours does not get through.
const RARER_IN_CALL: u32 = 2;

/// How many frames the other end may send at once, and per second in the long run. Whoever sends more is cut off.
const FRAME_BURST: u32 = 50;
const FRAMES_PER_SECOND: f64 = 20.0;

/// Bytes that may wait to be written before further beats are left out: the other end does not read.
const MAX_BUFFERED_BYTES: usize = 4 * MAX_FRAME_BYTES;

/// From the behaviour to a connection.
#[derive(Debug)]
pub(crate) enum Command {
    /// Say who we are now.
    Say(Announcement),
    /// Say that this process ends.
    Goodbye { session: u64 },
    /// Silence may last so many times longer than usual. `in_call`: media of a call shows that the other end lives, and
    /// leaves little of a thin path to beats.
    BePatient { times: u32, in_call: bool },
}

/// From a connection to the behaviour.
#[derive(Debug)]
pub(crate) enum Report {
    Hello(Announcement),
    Goodbye { session: u64 },
    Dead(Death),
}

/// Why a connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// Nothing was heard for too long.
    Silent,
    /// The other end does not speak this protocol: it is some other program.
    Foreign,
    /// The other end sends far more than it should.
    Flooding,
}

/// The stream on which we speak.
enum Voice {
    /// To be asked for at the next tick.
    Closed,
    Opening,
    Open(Box<Framed<Stream>>),
}

/// One connection's heartbeats.
pub(crate) struct Handler {
    pace: Pace,
    voice: Voice,
    /// The stream on which the other end speaks. A newer one replaces it.
    ear: Option<Framed<Stream>>,
    /// What a fresh stream starts with.
    hello: Option<Announcement>,
    ticker: Interval,
    ticks: u32,
    in_call: bool,
    /// A tick has passed and is not dealt with yet.
    tick_due: bool,
    now: Instant,
    liveness: Liveness,
    budget: TokenBucket,
    verdict: Verdict,
}

/// Whether the other end is alive.
enum Verdict {
    Alive,
    /// To be reported.
    Dead(Death),
    /// The connection is about to be closed.
    Reported,
}

impl Handler {
    /// Must be called on a tokio runtime: starts the timer.
    /// Silence may last so many `times` longer than usual.
    pub(super) fn new(hello: Option<Announcement>, pace: Pace, times: u32) -> Self {
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let now = tokio::time::Instant::now().into_std();
        Self {
            pace,
            voice: Voice::Closed,
            ear: None,
            hello,
            ticker,
            ticks: 0,
            in_call: false,
            tick_due: false,
            now,
            liveness: Liveness::new(now, pace.patience().times(times)),
            budget: TokenBucket::new(FRAME_BURST, FRAMES_PER_SECOND, now),
            verdict: Verdict::Alive,
        }
    }

    fn speak(&mut self, frame: &Frame) {
        if let Voice::Open(stream) = &mut self.voice
            && stream.buffered() < MAX_BUFFERED_BYTES
        {
            stream.push(&frame.encode());
        }
    }

    /// What the other end says, one report at a time; `None` when nothing more has come in.
    fn listen(&mut self, cx: &mut Context<'_>) -> Option<Report> {
        while let Some(ear) = &mut self.ear {
            match ear.poll_next(cx) {
                Poll::Pending => return None,
                Poll::Ready(None) => self.ear = None,
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(%error, "a heartbeat stream broke");
                    self.ear = None;
                }
                Poll::Ready(Some(Ok(bytes))) => {
                    if !self.budget.take(self.now) {
                        self.verdict = Verdict::Dead(Death::Flooding);
                        self.ear = None;
                        return None;
                    }
                    match Frame::decode(&bytes) {
                        Ok(frame) => {
                            self.liveness.heard();
                            match frame {
                                Frame::Hello(announcement) => return Some(Report::Hello(announcement)),
                                Frame::Goodbye { session } => return Some(Report::Goodbye { session }),
                                Frame::Beat | Frame::Unknown => {}
                            }
                        }
                        Err(error) => tracing::debug!(%error, "a malformed heartbeat is dropped"),
                    }
                }
            }
        }
        None
    }

    /// A relayed connection is kept for as long as it carries a call, not for the sake of heartbeats.
    fn yield_to_calls(&self, stream: &mut Stream) {
        match self.pace {
            Pace::Relayed => stream.ignore_for_keep_alive(),
            Pace::Near | Pace::Off => {}
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) {
        if let Voice::Open(stream) = &mut self.voice
            && let Poll::Ready(Err(error)) = stream.poll_flush(cx)
        {
            tracing::debug!(%error, "a heartbeat stream broke");
            self.voice = Voice::Closed;
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Command;
    type ToBehaviour = Report;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn on_behaviour_event(&mut self, command: Command) {
        match command {
            Command::Say(announcement) => {
                self.speak(&Frame::Hello(announcement.clone()));
                self.hello = Some(announcement);
            }
            Command::Goodbye { session } => self.speak(&Frame::Goodbye { session }),
            Command::BePatient { times, in_call } => {
                self.in_call = in_call;
                self.liveness.set_patience(self.pace.patience().times(times));
            }
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        if self.pace == Pace::Off {
            return Poll::Pending;
        }
        while let Poll::Ready(tick) = self.ticker.poll_tick(cx) {
            self.now = tick.into_std().max(self.now);
            self.ticks = self.ticks.wrapping_add(1);
            self.tick_due = true;
        }
        // Before silence is judged: after a stall of our own, what the other end sent meanwhile lies here unread.
        if let Some(report) = self.listen(cx) {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report));
        }
        if std::mem::take(&mut self.tick_due) {
            if self.liveness.tick(self.now) && matches!(self.verdict, Verdict::Alive) {
                self.verdict = Verdict::Dead(Death::Silent);
            }
            let rarer = if self.in_call { RARER_IN_CALL } else { 1 };
            if self.ticks.is_multiple_of(self.pace.ticks_per_beat() * rarer) {
                self.speak(&Frame::Beat);
            }
            if matches!(self.voice, Voice::Closed) && matches!(self.verdict, Verdict::Alive) {
                self.voice = Voice::Opening;
                let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ());
                return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
            }
        }
        self.flush(cx);
        if let Verdict::Dead(death) = self.verdict {
            self.verdict = Verdict::Reported;
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Report::Dead(death)));
        }
        Poll::Pending
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>) {
        match event {
            // A node is no person.
            ConnectionEvent::FullyNegotiatedInbound(_) if self.pace == Pace::Off => {}
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { mut protocol, .. }) => {
                self.yield_to_calls(&mut protocol);
                self.ear = Some(Framed::new(protocol, MAX_FRAME_BYTES));
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { mut protocol, .. }) => {
                self.yield_to_calls(&mut protocol);
                self.voice = Voice::Open(Box::new(Framed::new(protocol, MAX_FRAME_BYTES)));
                if let Some(hello) = self.hello.clone() {
                    self.speak(&Frame::Hello(hello));
                }
                self.speak(&Frame::Beat);
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                tracing::debug!(%error, "a heartbeat stream was refused");
                self.voice = Voice::Closed;
                if matches!(error, StreamUpgradeError::NegotiationFailed) {
                    self.verdict = Verdict::Dead(Death::Foreign);
                }
            }
            _ => {}
        }
    }
}
