//! How much the path carries: from the fate of single packets to a bitrate for all of them together.
//!
//! Queues decide, not losses. The delay of packets over the shortest delay seen lately is the time they stand in a
//! queue; when that grows beyond the path's own noise, we send more than gets through: the rate falls to a little less
//! than what arrives, for as long as it takes to drain the queue, and then climbs again, slowly around the rate that
//! was too much and ever faster beyond. Losses without a queue are a radio link's, and sending less repairs nothing;
//! only losses far above the path's usual mean something: a bottleneck without a queue.
//!
//! Once a limit is met, it need not be met again: packets of a frame that leave together arrive as far apart as the
//! narrowest part of the path makes them. While that is what got through, nobody else is there, and the rate is held a
//! little below it; when it is more by far, the path has become wider, and the rate climbs at once. Beside others that
//! says less, and the queue decides.
//!
//! Someone else may keep the queue full (a download: TCP fills every buffer). Then backing off empties nothing, and
//! going on would be starving: the rate follows losses instead, as the other's does, until the queue is seen empty, or
//! has had the same length for so long that it is the path's own delay.
//!
//! In the tradition of RFC 8298 (SCReAM), RFC 6817 (LEDBAT) and draft-ietf-rmcat-gcc.

mod climb;
mod drain;

use std::time::{Duration, Instant};

use self::drain::Drain;
use super::{
    Bitrate, History,
    delay::Delays,
    delivery::{Delivery, Losses},
    silence::{self, Silence},
    wall::{Known, THIN_BPS, Wall},
    width::Width,
};

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// When it left.
    pub(crate) sent: Instant,
    /// When it arrived, microseconds on the far end's clock; `None`: it did not.
    pub(crate) arrived_us: Option<i64>,
    /// Its size on the wire.
    pub(crate) bytes: u32,
}

/// Below this not even the thinnest voice gets through.
const MIN_BPS: f32 = 43_000.0;
/// A queue of this length is ours, or somebody's; longer on noisy paths, by this many times the noise.
const QUEUE_MS: f32 = 25.0;
const NOISE_FACTOR: f32 = 3.0;
/// On a thin path a packet of the voice is late by itself, not only behind others.
const PACKET_BITS: f32 = 1_600.0;
const MAX_THRESHOLD_MS: f32 = 150.0;
/// A path of less than this is narrow.
const NARROW_BPS: f32 = 400_000.0;
/// Over this time is looked at what gets through while a queue stands; and over this, when it has grown at once.
const GROWN: Duration = Duration::from_millis(300);
const GROWN_AT_ONCE: Duration = Duration::from_millis(150);
/// And over this, when it has grown so quickly that only the newest packets show it.
const GROWN_UNSEEN: Duration = Duration::from_millis(80);
/// Single packets are late when they are by so many times what a queue would be.
const PLAINLY: f32 = 1.5;
/// A path that carries less than this part of what is sent has become narrow.
const NARROWED: f32 = 0.3;
/// So many packets that did not fit into a queue are not worth repairing. On paths that lose packets at all times, those
/// are not counted.
const OVERFLOW: usize = 8;
const OVERFLOW_LOSS: f32 = 0.08;
/// Losses without a queue that are no accident any more.
const EXCESS_LOSS: f32 = 0.15;
/// Others go, and paths change: after this long it is looked at anew.
const OTHERS_LIFE: Duration = Duration::from_secs(60);
/// The same length is this, more or less.
const STILL_MS: f32 = 8.0;
/// Whoever fills a queue makes room for us, and takes what we leave: it changes.
const OTHERS_STILL_AFTER: Duration = Duration::from_secs(2);
/// Who was noticed once is expected to fill the queue again.
const OTHERS_MEMORY: Duration = Duration::from_secs(25);
/// Beside others the rate climbs by this much a second, and falls by this factor at a loss.
const OTHERS_SLOPE_BPS: f32 = 110_000.0;
const OTHERS_BACK_OFF: f32 = 0.75;
/// A report on so many packets of which this part is lost: they did not fit into a queue that is short.
const FLOOD: usize = 32;
const FLOOD_LOSS: f32 = 0.75;

/// Decides how much to send.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    target: f32,
    max: f32,
    delays: Delays,
    delivery: Delivery,
    losses: Losses,
    mode: Mode,
    /// The first instant of all: what delays are measured against.
    epoch: Instant,
    last_report: Option<Instant>,
    /// How far reports come from each other, on average.
    reports_apart: Duration,
    silence: Option<Silence>,
    /// Reports failed to come for so long until then: for a while, single packets are believed that say why.
    unheard: Option<(Instant, Duration)>,
    wall: Option<Wall>,
    /// What got through when it was too much, until more was really sent, or it is long ago.
    known: Option<Known>,
    /// What packets that left together show of the path.
    width: Width,
    /// Since when the queue has had this length, milliseconds.
    still: (Instant, f32),
    /// Somebody else was there lately: until then a queue is taken to be theirs.
    others_until: Option<Instant>,
    /// Packets lost while the queue that is being drained stood, until somebody was told that it overflowed.
    overflowed: Option<usize>,
    /// From a packet's departure to the report on it: a round trip, and the far end's patience.
    loop_time: Duration,
}

/// What the path seems to be like.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// No limit was met yet.
    Starting,
    /// The rate was too much, and is lowered until the queue is gone.
    Draining(Drain),
    /// The queue is gone.
    Climbing { since: Instant },
    /// Somebody else fills the queue.
    Beside { since: Instant, reacted: Instant },
}

/// Negative for what was sent before the epoch: the first packets left before the first report came.
fn micros_since(epoch: Instant, at: Instant) -> i64 {
    at.saturating_duration_since(epoch).as_micros() as i64 - epoch.saturating_duration_since(at).as_micros() as i64
}

/// What the newest reports look like.
#[derive(Clone, Copy, Debug)]
struct Seen {
    now: Instant,
    /// Since the report before.
    elapsed: Duration,
    /// The last report told of losses.
    lost: bool,
    queue_ms: f32,
    /// More than this is a queue.
    threshold_ms: f32,
    /// The queue is so new that only the newest packets show it.
    is_sudden: bool,
    /// Packets that were sent together say that the path carries so little of what is sent, bit/s.
    narrow: Option<f32>,
    /// What arrives, bit/s: before a queue was noticed that grew at once, more did.
    got_through: f32,
    /// The queue has had this length for so long.
    still: Duration,
}

impl Seen {
    fn is_queue(&self) -> bool {
        self.queue_ms > self.threshold_ms
    }
}

impl Controller {
    pub(crate) fn new(now: Instant, start: Bitrate, max: Bitrate) -> Self {
        Self {
            target: start.as_bps() as f32,
            max: max.as_bps() as f32,
            delays: Delays::new(),
            delivery: Delivery::default(),
            losses: Losses::default(),
            mode: Mode::Starting,
            epoch: now,
            last_report: None,
            reports_apart: Duration::ZERO,
            silence: None,
            unheard: None,
            wall: None,
            known: None,
            width: Width::default(),
            still: (now, 0.0),
            others_until: None,
            overflowed: None,
            loop_time: Duration::from_millis(100),
        }
    }

    /// For all packets together, with all their headers.
    pub(crate) fn target(&self) -> Bitrate {
        Bitrate::from_bps(self.target as u32)
    }

    /// The path is too thin for a picture, as far as is known: packets that leave together would tell.
    pub(crate) fn wants_pairs(&self) -> bool {
        self.wall.is_some()
    }

    /// What the rate is when the queue that is being drained is gone: sizes of pictures follow this one.
    pub(crate) fn sustainable(&self) -> Bitrate {
        match self.mode {
            Mode::Draining(drain) => Bitrate::from_bps(self.target.max(drain.afterwards()) as u32),
            Mode::Starting | Mode::Climbing { .. } | Mode::Beside { .. } => self.target(),
        }
    }

    /// More is of no use to anybody.
    pub(crate) fn set_max(&mut self, max: Bitrate) {
        self.max = (max.as_bps() as f32).max(MIN_BPS);
        self.target = self.target.min(self.max);
    }

    /// The part of packets that was lost lately, 0 to 1.
    pub(crate) fn loss(&self) -> f32 {
        self.losses.recent()
    }

    /// The part of packets that this path loses by accident, as it usually does: none while they may be lost to a queue, and
    /// none on thin paths, which have nothing to spare against it.
    pub(crate) fn accidental_loss(&self) -> f32 {
        let is_free = match self.mode {
            Mode::Starting | Mode::Climbing { .. } => {
                self.target >= NARROW_BPS * 0.75 && self.queue_ms() < self.threshold_ms()
            }
            Mode::Draining(_) | Mode::Beside { .. } => false,
        };
        if is_free { self.losses.usual() } else { 0.0 }
    }

    /// Whether a queue has just overflowed by so much that a new picture is sooner there than all that was lost. Told
    /// once for each queue.
    pub(crate) fn take_overflow(&mut self) -> bool {
        let lost = self.overflowed.take_if(|lost| *lost >= OVERFLOW);
        lost.is_some()
    }

    /// From a packet's departure to the report on it: hardly more than a round trip.
    pub(crate) fn loop_time(&self) -> Duration {
        self.loop_time
    }

    /// How long packets stand in queues on the way, milliseconds.
    pub(crate) fn queue_ms(&self) -> f32 {
        self.delays.queue_ms().unwrap_or(0.0)
    }

    /// The path sets the limit, not what there is to send.
    pub(crate) fn is_limited(&self) -> bool {
        match self.mode {
            Mode::Starting => false,
            Mode::Draining(_) | Mode::Climbing { .. } | Mode::Beside { .. } => self.target < self.max * 0.95,
        }
    }

    /// So much is on the way that pictures wait until something is heard of it: less, once reports fail to come.
    pub(crate) fn is_blocked(&self, now: Instant, sent: &History) -> bool {
        let heard = self.last_report;
        let patience = self.patience();
        let is_late = |since: Instant| now.saturating_duration_since(since) > patience;
        let is_silent = heard.is_some_and(is_late) && sent.waiting_since(heard).is_some_and(is_late);
        let window = if is_silent || self.unheard(now, silence::HELD_ON).is_some() {
            silence::SILENT_WINDOW
        } else {
            silence::window(self.target, heard.map(|_| self.loop_time))
        };
        sent.in_flight() >= window
    }

    /// When a report came last.
    pub(crate) fn last_report(&self) -> Option<Instant> {
        self.last_report
    }

    /// Takes what a report says.
    pub(crate) fn handle_report(&mut self, now: Instant, outcomes: &[Outcome]) {
        if outcomes.is_empty() {
            return;
        }
        let elapsed = self.last_report.replace(now).map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        if elapsed > self.patience() {
            self.unheard = Some((now, elapsed));
        }
        let elapsed = elapsed.min(Duration::from_millis(300));
        self.reports_apart = (self.reports_apart * 15 + elapsed) / 16;
        let keep_base = match self.mode {
            Mode::Starting | Mode::Climbing { .. } | Mode::Draining(_) => false,
            Mode::Beside { since, .. } => now.saturating_duration_since(since) < OTHERS_LIFE,
        };
        let mut newest = None;
        for outcome in outcomes {
            let Some(arrived_us) = outcome.arrived_us else { continue };
            let sent_us = micros_since(self.epoch, outcome.sent);
            self.delays.add(now, outcome.sent, arrived_us.saturating_sub(sent_us), keep_base);
            self.delivery.add(arrived_us, outcome.bytes);
            newest = newest.max(Some(outcome.sent));
        }
        if let Some(wall) = self.wall {
            self.wall = wall.moved(now, self.loop_time, outcomes);
            if let (None, Mode::Climbing { .. }) = (self.wall, self.mode) {
                self.mode = Mode::Starting;
            }
        }
        self.delays.report_ended();
        self.width.add(outcomes, self.known.map_or(self.target, |known| known.bps));
        if let Some(newest) = newest {
            let sample = now.saturating_duration_since(newest).min(Duration::from_secs(2));
            self.loop_time = (self.loop_time * 7 + sample) / 8;
        }
        let lost = outcomes.iter().filter(|outcome| outcome.arrived_us.is_none()).count();
        self.losses.add(lost, outcomes.len(), elapsed);
        if let Some(silence) = self.silence.take() {
            self.target = self.target.max(silence.ended(outcomes, self.losses.usual())).min(self.max);
            self.mode = Mode::Starting;
        }
        if let (Mode::Draining(_), Some(overflowed)) = (self.mode, &mut self.overflowed)
            && self.losses.sudden() > OVERFLOW_LOSS
        {
            *overflowed += lost;
        }
        let lost_part = lost as f32 / outcomes.len() as f32;
        if outcomes.len() >= FLOOD && lost_part > FLOOD_LOSS && self.mode == Mode::Starting {
            self.flooded(1.0 - lost_part);
        } else {
            let seen = self.look(now, elapsed, lost > 0);
            self.decide(&seen);
        }
    }

    /// Time passed. `waiting_since`: when the oldest packet left of which nothing is heard.
    pub(crate) fn handle_timeout(&mut self, now: Instant, waiting_since: Option<Instant>) {
        let Some(waiting_since) = waiting_since else { return };
        let since = self.last_report.map_or(waiting_since, |last| last.max(waiting_since));
        if self.silence.is_none()
            && let Some(silence) = Silence::begins(now, since, self.target, self.loop_time, self.reports_apart)
        {
            tracing::debug!("no reports: nothing gets through");
            self.silence = Some(silence);
            self.target = MIN_BPS;
            // What waits is for a path that is no more.
            self.overflowed = Some(OVERFLOW);
        }
    }

    /// A report that is later than this is missed.
    fn patience(&self) -> Duration {
        silence::patience(self.reports_apart, self.losses.usual())
    }

    /// For how long reports failed to come, if that was a moment ago and packets are late since.
    fn unheard(&self, now: Instant, moment: Duration) -> Option<Duration> {
        let (_, unheard) = self.unheard.filter(|(until, _)| now.saturating_duration_since(*until) <= moment)?;
        self.is_late().then_some(unheard)
    }

    /// Even the newest packets alone show a queue.
    fn is_late(&self) -> bool {
        self.delays.newest_ms() > self.threshold_ms() * PLAINLY
    }

    /// More than this is a queue.
    fn threshold_ms(&self) -> f32 {
        let alone_ms = if self.target < THIN_BPS { PACKET_BITS / self.target * 1e3 } else { 0.0 };
        (QUEUE_MS + alone_ms + NOISE_FACTOR * self.delays.noise_ms()).min(MAX_THRESHOLD_MS)
    }

    fn decide(&mut self, seen: &Seen) {
        let now = seen.now;
        let is_free = matches!(self.mode, Mode::Starting | Mode::Climbing { .. }) && !seen.is_queue();
        if is_free && self.losing(now, seen.got_through) {
            return;
        }
        match self.mode {
            Mode::Climbing { .. } if seen.is_queue() && self.others_until.is_some_and(|until| now < until) => {
                self.mode = Mode::Beside { since: now, reacted: now };
            }
            Mode::Starting | Mode::Climbing { .. } if seen.is_queue() => self.met(seen),
            Mode::Starting => self.start(seen),
            Mode::Climbing { since } => self.climb(seen, since),
            Mode::Draining(drain) => self.go_on_draining(seen, drain),
            Mode::Beside { since, reacted } => self.go_on_beside(seen, since, reacted),
        }
    }

    fn look(&mut self, now: Instant, elapsed: Duration, lost: bool) -> Seen {
        // Sent together, they arrive far from each other: a path that only became longer would not do that.
        let narrow = self.width.newest_bps(now).filter(|bps| *bps < self.target * NARROWED);
        let is_draining = matches!(self.mode, Mode::Draining(_));
        let is_sudden = self.is_late() && (narrow.is_some() || is_draining && self.target >= THIN_BPS);
        let queue_ms = if is_sudden { self.queue_ms().max(self.delays.newest_ms()) } else { self.queue_ms() };
        let threshold_ms = self.threshold_ms();
        let span = if is_sudden && narrow.is_some() {
            GROWN_UNSEEN
        } else if queue_ms > threshold_ms * 3.0 {
            GROWN_AT_ONCE
        } else {
            GROWN
        };
        let got_through = self.delivery.bps(span).unwrap_or(self.target);
        let got_through = if is_sudden { narrow.map_or(got_through, |bps| bps.min(got_through)) } else { got_through };
        if (queue_ms - self.still.1).abs() > STILL_MS {
            self.still = (now, queue_ms);
        }
        let still = now.saturating_duration_since(self.still.0);
        Seen { now, elapsed, lost, queue_ms, threshold_ms, is_sudden, narrow, got_through, still }
    }

    /// While somebody else fills the queue, losses decide.
    fn go_on_beside(&mut self, seen: &Seen, since: Instant, reacted: Instant) {
        let now = seen.now;
        if !seen.is_queue() {
            self.mode = Mode::Climbing { since: now };
        } else if seen.still > OTHERS_STILL_AFTER && now.saturating_duration_since(since) > OTHERS_STILL_AFTER {
            self.found_path(seen);
        } else if !seen.lost || self.losses.excess() <= 0.005 {
            self.raise(now, OTHERS_SLOPE_BPS, seen.elapsed);
        } else if now.saturating_duration_since(reacted) > self.loop_time + Duration::from_millis(400) {
            self.target = (self.target * OTHERS_BACK_OFF).max(MIN_BPS);
            self.mode = Mode::Beside { since, reacted: now };
        }
    }

    /// Only a part of what was sent at once got through. That there is no more was not seen yet.
    fn flooded(&mut self, survived: f32) {
        self.losses.accept();
        let got_through = self.delivery.bps(GROWN_AT_ONCE).unwrap_or(self.target);
        self.target = (self.target * survived).min(got_through).max(MIN_BPS);
        self.overflowed = Some(OVERFLOW);
        tracing::debug!(bps = self.target as u32, "the path is flooded");
    }

    /// Losses far above the usual, without a queue: the bottleneck has none.
    fn losing(&mut self, now: Instant, got_through: f32) -> bool {
        if self.losses.excess() < EXCESS_LOSS {
            return false;
        }
        self.losses.accept();
        self.target = (self.target * 0.85).min(got_through.max(self.target * 0.6)).max(MIN_BPS);
        self.mode = Mode::Climbing { since: now };
        tracing::debug!(bps = self.target as u32, "losses without a queue");
        true
    }
}
