//! How wide the path's narrowest part is: packets that leave faster than it carries arrive at its own pace, without a
//! queue that lasts longer than they do.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::Outcome;

/// Pairs that are looked at together, and for how long: what single ones show is noise.
const MAX_PAIRS: usize = 48;
const MIN_PAIRS: usize = 8;
const LIFE: Duration = Duration::from_secs(2);
/// These are the newest.
const NEWEST: usize = 3;
/// More is a path that slept.
const MAX_GAP_US: i64 = 2_000_000;
/// Two packets left faster than the path may carry when at so many times the rate.
const FASTER: f32 = 1.35;
/// Less says little beside the times in reports, which are no finer than 0.25 ms.
const MIN_BYTES: u32 = 100;

/// What pairs of packets that left closely behind each other took.
#[derive(Clone, Debug, Default)]
pub(super) struct Width {
    /// When the second one left, its bits, and by how many microseconds it arrived behind the first.
    pairs: VecDeque<(Instant, f32, i64)>,
}

impl Width {
    /// Takes what a report says, in the order of departure. `bps`: what the path is thought to carry.
    pub(super) fn add(&mut self, outcomes: &[Outcome], bps: f32) {
        for pair in outcomes.windows(2) {
            let [first, second] = pair else { continue };
            let (Some(first_us), Some(second_us)) = (first.arrived_us, second.arrived_us) else { continue };
            let gap = second.sent.saturating_duration_since(first.sent);
            let bits = second.bytes as f32 * 8.0;
            // The first still occupies the path when the second comes, and on a wider one they would arrive sooner.
            let together = first.bytes.min(second.bytes) as f32 * 8.0 > gap.as_secs_f32() * bps * FASTER;
            if together && second.bytes >= MIN_BYTES {
                if self.pairs.len() >= MAX_PAIRS {
                    self.pairs.pop_front();
                }
                self.pairs.push_back((second.sent, bits, second_us.saturating_sub(first_us).clamp(0, MAX_GAP_US)));
            }
        }
    }

    /// Bits per second that the newest show, without the one that took longest: few, for when there is no time.
    pub(super) fn newest_bps(&self, now: Instant) -> Option<f32> {
        let newest = || self.lately(now).rev().take(NEWEST);
        let (longest, _) =
            newest().enumerate().max_by_key(|(_, (.., us))| *us).filter(|_| newest().count() == NEWEST)?;
        let rest = || newest().enumerate().filter(|(index, _)| *index != longest).map(|(_, pair)| pair);
        let us = rest().map(|(.., us)| *us).sum::<i64>();
        Some(rest().map(|(_, bits, _)| bits).sum::<f32>() * 1e6 / us.max(1) as f32)
    }

    /// What was seen before was another path.
    pub(super) fn forget_all_but_newest(&mut self) {
        self.pairs.drain(..self.pairs.len().saturating_sub(NEWEST));
    }

    /// Bits per second, as far as enough was seen lately.
    pub(super) fn bps(&self, now: Instant) -> Option<f32> {
        if self.lately(now).count() < MIN_PAIRS {
            return None;
        }
        let bits = self.lately(now).map(|(_, bits, _)| bits).sum::<f32>();
        let us = self.lately(now).map(|(.., us)| *us).sum::<i64>();
        Some(bits * 1e6 / us.max(1) as f32)
    }

    fn lately(&self, now: Instant) -> impl DoubleEndedIterator<Item = &(Instant, f32, i64)> {
        self.pairs.iter().filter(move |(sent, ..)| now.saturating_duration_since(*sent) < LIFE)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do")]
mod tests {
    use super::*;

    /// What is seen of frames of four packets that leave at `sent_bps`, on a path that carries `carried_bps`.
    fn seen(sent_bps: f64, carried_bps: f64) -> Option<f32> {
        let (mut width, start) = (Width::default(), Instant::now());
        let bits = 9_600.0;
        for frame in 0..20 {
            let outcome = |packet: u32| {
                let sent =
                    start + Duration::from_secs_f64(f64::from(frame) / 30.0 + f64::from(packet) * bits / sent_bps);
                let paces = f64::from(packet) * bits / sent_bps.min(carried_bps);
                let arrived_us = Some((f64::from(frame) / 30.0 * 1e6 + paces * 1e6) as i64);
                Outcome { sent, arrived_us, bytes: 1_200 }
            };
            width.add(&(0..4).map(outcome).collect::<Vec<_>>(), 1e6);
        }
        width.bps(start + Duration::from_secs(1))
    }

    #[test]
    fn packets_that_leave_faster_than_the_path_carries_show_what_it_carries() {
        let near = |seen: Option<f32>, bps: f32| seen.is_some_and(|seen| (seen / bps - 1.0).abs() < 0.01);
        assert!(near(seen(5e6, 1e6), 1e6), "{:?}", seen(5e6, 1e6));
        assert!(near(seen(1.5e6, 20e6), 1.5e6), "no more than what they try: {:?}", seen(1.5e6, 20e6));
        assert_eq!(seen(1.2e6, 1e6), None, "too slow to tell");
    }
}
