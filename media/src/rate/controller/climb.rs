//! How the rate climbs: no quicker than it was proven, and no higher than what is known of the path.

use std::time::{Duration, Instant};

use super::{super::wall::LATELY, Controller, MIN_BPS, Mode, NARROW_BPS, QUEUE_MS, Seen};

/// The rate climbs by so much a second right after it was too much (or by this part of it, if that is less), and by
/// twice as much each second later. That it is the same for everyone makes shares of one link even.
const SLOPE_BPS: f32 = 50_000.0;
const SLOPE: f32 = 0.12;
/// Or by this part of it where a queue seems to begin.
const CAUTIOUS_SLOPE: f32 = 0.02;
/// Or by this part of it, and no more than this, near the rate that was too much before.
const NEAR_SLOPE: f32 = 0.06;
const NEAR_SLOPE_BPS: f32 = 30_000.0;
/// On a narrow path it gets steeper more slowly: there is little room for what was too much.
const STEEPER: f32 = 1.25;
const NARROW_STEEPER: f32 = 0.7;
/// Where the queue is longer than this part of what is taken for one, one seems to begin.
const CAUTION: f32 = 0.6;
/// Unless it stays as long as it is, though ever more is sent. On a narrow path there is little more to send.
const CAUTION_FOR: Duration = Duration::from_secs(2);
/// Less than this part of what is taken for a queue is none.
const NO_QUEUE: f32 = 0.4;
/// Never by more than this part a second, which is also how it starts.
const MAX_GROWTH: f32 = 0.8;
/// The rate may be so many times what is really sent: pictures that stand still prove nothing.
const HEADROOM: f32 = 1.6;
const HEADROOM_BPS: f32 = 60_000.0;

impl Controller {
    /// Nothing is known of a limit: as steeply as may be.
    pub(super) fn start(&mut self, seen: &Seen) {
        self.climb_by(seen, f32::INFINITY);
    }

    /// There was a limit, until `since`.
    pub(super) fn climb(&mut self, seen: &Seen, since: Instant) {
        let seconds = seen.now.saturating_duration_since(since).as_secs_f32();
        let steeper = if self.target < NARROW_BPS { NARROW_STEEPER } else { STEEPER };
        let slope_bps = SLOPE_BPS.min(self.target * SLOPE) * (seconds * steeper).min(8.0).exp2();
        let near = self.known.is_some_and(|known| known.is_near(self.target));
        self.climb_by(seen, if near { slope_bps.min(self.target * NEAR_SLOPE).min(NEAR_SLOPE_BPS) } else { slope_bps });
    }

    fn climb_by(&mut self, seen: &Seen, slope_bps: f32) {
        let near_a_queue = seen.queue_ms > seen.threshold_ms * CAUTION;
        if near_a_queue && seen.still > CAUTION_FOR && self.target > NARROW_BPS {
            self.found_path(seen);
        }
        let slope_bps = if near_a_queue { self.target * CAUTIOUS_SLOPE } else { slope_bps };
        self.raise(seen.now, slope_bps, seen.elapsed);
    }

    /// By so much a second, as far as it was proven and what is known allows.
    pub(super) fn raise(&mut self, now: Instant, slope_bps: f32, elapsed: Duration) {
        let seconds = elapsed.as_secs_f32();
        let raised = self.target + slope_bps.min(self.target * MAX_GROWTH) * seconds;
        // What was sent lately, though not all of it arrived.
        let sent =
            self.delivery.bps(Duration::from_secs(1)).unwrap_or(self.target) / (1.0 - self.losses.recent()).max(0.3);
        let proven = sent * HEADROOM + HEADROOM_BPS;
        let mut most = proven.min(self.known_limit(now));
        if let Some(limit) = self.wall.and_then(|wall| wall.limit(now)) {
            most = most.min(limit);
        }
        self.target = raised.min(most.max(self.target)).clamp(MIN_BPS, self.max);
    }

    /// What is known of the path allows no more than this.
    fn known_limit(&mut self, now: Instant) -> f32 {
        let Some(known) = &mut self.known else { return f32::INFINITY };
        let is_beside = matches!(self.mode, Mode::Beside { .. });
        if let Some(width) = self.width.bps(now).filter(|_| !is_beside) {
            if let Some(held) = known.held(now, width) {
                self.target = self.target.min(held);
                return held;
            }
            if known.is_past(width) {
                tracing::debug!(bps = width as u32, "the path has become wider");
                self.known = None;
                self.mode = Mode::Starting;
                return f32::INFINITY;
            }
        }
        // The encoder lags behind: what it has not sent yet says nothing.
        let lately = self.delivery.bps(LATELY).unwrap_or(0.0);
        let is_queue = self.delays.queue_ms().is_some_and(|queue_ms| queue_ms > QUEUE_MS * NO_QUEUE);
        if !known.is_outdated(now, self.target, lately, is_queue) {
            return known.limit();
        }
        // What comes next is unknown, and where there is little it is soon too much: the slope begins anew.
        if let (true, Mode::Climbing { since }) = (known.bps < NARROW_BPS, &mut self.mode) {
            *since = now;
        }
        self.known = None;
        f32::INFINITY
    }
}
