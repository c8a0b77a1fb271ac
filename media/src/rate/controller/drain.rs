//! What is done about a queue: less is sent than gets through, until it is gone, or until it shows that it was none, or
//! somebody else's.

use std::time::{Duration, Instant};

use super::{
    super::{
        silence,
        wall::{Known, THIN_BPS, Wall},
    },
    Controller, MIN_BPS, Mode, OTHERS_BACK_OFF, OTHERS_MEMORY, OVERFLOW, Seen,
};

/// After a queue the rate goes on at this part of what got through.
const BACK_OFF: f32 = 0.88;
/// And at this part while the queue is drained, or less, the longer it is.
const DRAIN: f32 = 0.82;
/// But never at less than this, if the queue is this long; the voice gets through again when it is gone.
const MIN_DRAINING_BPS: f32 = 31_500.0;
const LONG_QUEUE_MS: f32 = 120.0;
/// What was sent meanwhile is worth nothing when it needs longer than this.
const TOO_LATE: Duration = Duration::from_millis(600);
/// Shorter than this part of what is taken for a queue, it is gone.
const GONE: f32 = 0.8;
/// A queue is drained in about this time.
const DRAIN_MS: f32 = 400.0;
/// A queue that has the same length for so long, whatever is sent, is none: the path has become longer.
const STILL_AFTER: Duration = Duration::from_millis(900);
/// And where as little is sent as may be, after this.
const LEAST_AFTER: Duration = Duration::from_secs(4);
/// A queue that survives a back-off for this long is somebody else's.
const OTHERS_AFTER: Duration = Duration::from_millis(1_500);
/// Thinner links are filled by ourselves.
const OTHERS_MIN_BPS: f32 = 500_000.0;

/// A queue that is being drained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Drain {
    /// When it was noticed, what got through then, and how long it was.
    since: Instant,
    first: f32,
    queue_ms: f32,
    /// What the path carries, as far as is known by now, bit/s.
    got_through: f32,
    /// Until then nothing is known of what the lower rate did.
    until: Instant,
}

impl Drain {
    /// The rate when the queue is gone, bit/s.
    pub(super) fn afterwards(&self) -> f32 {
        self.got_through * BACK_OFF
    }
}

impl Controller {
    /// A queue has begun.
    pub(super) fn met(&mut self, seen: &Seen) {
        let before = self.target;
        let first = seen.got_through.min(self.target);
        let Seen { now, queue_ms, .. } = *seen;
        self.drain(seen, Drain { since: now, first, queue_ms, got_through: first, until: now });
        if !seen.is_sudden {
            return;
        }
        self.width.forget_all_but_newest();
        let meanwhile = self.unheard(now, silence::SUSPICION).map_or(0.0, |unheard| unheard.as_secs_f32() * before);
        if meanwhile > TOO_LATE.as_secs_f32() * seen.got_through {
            self.overflowed = Some(OVERFLOW);
        }
    }

    /// Less than gets through.
    fn drain(&mut self, seen: &Seen, drain: Drain) {
        let Seen { now, queue_ms, .. } = *seen;
        let Drain { got_through, .. } = drain;
        let is_new = drain.since == now;
        if got_through < THIN_BPS && (is_new || self.wall.is_none()) {
            self.wall = Some(Wall::met(now, got_through, self.wall));
        }
        self.known = Some(Known::met(now, got_through));
        if is_new {
            self.overflowed = Some(0);
        }
        // The voice goes on in any case: on a thin path there is little to lower.
        let less = (DRAIN - queue_ms / DRAIN_MS).clamp(0.4, DRAIN);
        let least = if queue_ms > LONG_QUEUE_MS { MIN_DRAINING_BPS } else { MIN_BPS };
        self.target = (got_through * less).min(self.target).clamp(least, self.max);
        // Until what is sent now is reported on.
        let until = now + self.loop_time + Duration::from_millis(100);
        self.mode = Mode::Draining(Drain { until, ..drain });
        tracing::debug!(bps = self.target as u32, "a queue builds");
    }

    pub(super) fn go_on_draining(&mut self, seen: &Seen, drain: Drain) {
        let Seen { now, queue_ms, threshold_ms, got_through, .. } = *seen;
        let first = drain.first;
        if queue_ms < threshold_ms * GONE {
            self.target = self.target.max(drain.afterwards()).clamp(MIN_BPS, self.max);
            // What overflowed is no path without a queue.
            self.losses.accept();
            self.mode = Mode::Climbing { since: now };
        } else if self.stands_still(seen, drain) {
            self.target = self.target.max(first * BACK_OFF);
            self.found_path(seen);
        } else if now.saturating_duration_since(drain.since) > OTHERS_AFTER
            && queue_ms > drain.queue_ms * 0.5
            && got_through < first * 0.75
            && first > OTHERS_MIN_BPS
        {
            tracing::debug!(bps = self.target as u32, "somebody else keeps the queue full");
            self.others_until = Some(now + OTHERS_MEMORY);
            self.wall = None;
            self.target = self.target.max(first * OTHERS_BACK_OFF * OTHERS_BACK_OFF);
            self.mode = Mode::Beside { since: now, reacted: now };
        } else if now >= drain.until || seen.is_sudden && seen.narrow.is_some() {
            // While much waits, what arrives is what the path carries; later it is what we send.
            let is_much = queue_ms > threshold_ms * 2.0;
            let got_through = if is_much { got_through.min(drain.got_through) } else { drain.got_through };
            self.drain(seen, Drain { got_through, ..drain });
        }
    }

    /// The queue has the same length whatever is sent.
    fn stands_still(&self, seen: &Seen, drain: Drain) -> bool {
        let still = seen.still.min(seen.now.saturating_duration_since(drain.since));
        // On a path that loses packets anyway, those are not lost to a queue.
        let lost = if drain.first > OTHERS_MIN_BPS { self.losses.sudden() } else { self.losses.recent() };
        let is_least = self.target <= MIN_BPS;
        // A queue that we keep full by ourselves overflows.
        let is_less = lost < 0.03 && seen.got_through < drain.first * 0.75 || lost < 0.01 && is_least;
        still > STILL_AFTER && is_less || still > LEAST_AFTER && is_least
    }

    /// What was taken for a queue is the path.
    pub(super) fn found_path(&mut self, seen: &Seen) {
        tracing::debug!(ms = seen.queue_ms, "what was taken for a queue is the path");
        self.delays.rebase();
        self.mode = Mode::Climbing { since: seen.now };
    }
}
