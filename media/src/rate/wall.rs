//! What was too much for a path: how close to it the rate may come, and how it is noticed that the path became wider.

use std::time::{Duration, Instant};

use super::Outcome;

/// A path that carries less than this has little room beside the voice. What was too much for it stays too much for a
/// while, which doubles each time it is tried and found so; packets that left together and arrive as far apart as before
/// say it without being tried.
pub(super) const THIN_BPS: f32 = 160_000.0;
const FIRST_PATIENCE: Duration = Duration::from_secs(16);
const LONGEST_PATIENCE: Duration = Duration::from_secs(64);
/// Unless packets that left together arrive so close to each other that the path must be so many times wider. What they
/// show is all of it: others have their part.
const WIDER: f32 = 1.7;
const OURS: f32 = 0.8;
/// Packets that left within this time left together; the second is at least so large.
const PAIR_GAP: Duration = Duration::from_micros(600);
const MIN_PAIR_BYTES: u32 = 80;
/// This part of it is not.
const BELOW: f32 = 0.93;
/// What differs by less than this part is the same wall.
const SAME: f32 = 0.4;

/// What was too much for any path is remembered for so long.
const KNOWN_FOR: Duration = Duration::from_secs(10);
/// Near it, the rate climbs slowly.
const NEAR: f32 = 0.95;
/// It is too much no more when the rate is so many times higher, nearly that gets through, and no queue begins; or when
/// so many times more got through.
const MORE: f32 = 1.06;
const NEARLY: f32 = 0.9;
const GOT_MORE: f32 = 1.03;
/// What gets through is looked at over this time.
pub(super) const LATELY: Duration = Duration::from_millis(500);

/// While packets that left together show a path that is wider than what got through by no more than this, nobody else is
/// there. Nor is it narrower: pairs that show less have others between them.
const ALONE: f32 = 1.2;
const NO_LESS: f32 = 0.95;
/// The path is then used up to this part.
const HELD: f32 = 0.9;
/// So much more is another path.
const PAST: f32 = 1.4;

/// What got through when it was too much, until more was really sent, or it is long ago.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) bps: f32,
    since: Instant,
    /// The path's width was seen to be just that: nobody else is there, and there is nothing to look for.
    alone: bool,
}

impl Known {
    pub(super) fn met(now: Instant, bps: f32) -> Self {
        Self { bps, since: now, alone: false }
    }

    /// What the rate may be while packets that left together show that the path is as wide as what got through: close to
    /// it, without its queue.
    pub(super) fn held(&mut self, now: Instant, width: f32) -> Option<f32> {
        (self.bps * NO_LESS..self.bps * ALONE).contains(&width).then(|| {
            (self.since, self.alone) = (now, true);
            width.min(self.bps * 1.1) * HELD
        })
    }

    /// The path was no wider than what got through, and now it is.
    pub(super) fn is_past(&self, width: f32) -> bool {
        self.alone && width > self.bps * PAST
    }

    pub(super) fn is_near(&self, target: f32) -> bool {
        target > self.bps * NEAR
    }

    /// The rate goes no higher before that is proven to be possible.
    pub(super) fn limit(&self) -> f32 {
        (self.bps * 1.12).max(self.bps + 15_000.0)
    }

    /// `lately`: what gets through now, when `target` is the rate.
    pub(super) fn is_outdated(&self, now: Instant, target: f32, lately: f32, is_queue: bool) -> bool {
        // What got through before is not lately.
        let age = now.saturating_duration_since(self.since);
        let lately = if age < LATELY { 0.0 } else { lately };
        let is_enough = target > self.bps * MORE && lately > self.bps * NEARLY && !is_queue;
        is_enough || lately > self.bps * GOT_MORE || age > KNOWN_FOR
    }
}

/// What was too much for a thin path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wall {
    bps: f32,
    since: Instant,
    patience: Duration,
    /// The widths that pairs of packets have shown since; the least counts.
    seen: [f32; 2],
}

impl Wall {
    /// So much got through when more was sent; `before`: the last time.
    pub(super) fn met(now: Instant, bps: f32, before: Option<Self>) -> Self {
        let again = before.filter(|wall| (bps / wall.bps - 1.0).abs() < SAME);
        let patience = again.map_or(FIRST_PATIENCE, |wall| (wall.patience * 2).min(LONGEST_PATIENCE));
        Self { bps, since: now, patience, seen: [0.0; 2] }
    }

    /// What is not to be exceeded, for now.
    pub(super) fn limit(&self, now: Instant) -> Option<f32> {
        (now.saturating_duration_since(self.since) < self.patience).then_some(self.bps * BELOW)
    }

    /// Where it stands now that packets which left together were reported on: how close to each other they arrive is the
    /// width of the narrowest part of the path. `None`: it is gone.
    pub(super) fn moved(mut self, now: Instant, loop_time: Duration, outcomes: &[Outcome]) -> Option<Self> {
        for pair in outcomes.windows(2) {
            let [first, second] = pair else { continue };
            let (Some(first_us), Some(second_us)) = (first.arrived_us, second.arrived_us) else { continue };
            let gap = second.sent.saturating_duration_since(first.sent);
            if gap <= PAIR_GAP && second.bytes >= MIN_PAIR_BYTES && first.sent > self.since + loop_time {
                // Times in reports are no finer than 0.25 ms.
                let apart_us = (second_us - first_us).max(250);
                self.seen = [self.seen[1], second.bytes as f32 * 8e6 / apart_us as f32];
            }
        }
        let width = self.seen[0].min(self.seen[1]);
        if width <= self.bps * WIDER {
            if width > self.bps * (1.0 - SAME) {
                self.patience = LONGEST_PATIENCE;
            }
            return Some(self);
        }
        tracing::debug!(bps = width as u32, "the path is wider than thought");
        (width < THIN_BPS).then_some(Self { bps: width * OURS, since: now, ..self })
    }
}
