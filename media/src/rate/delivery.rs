//! What gets through: the rate at which packets arrive, and the part that doesn't.

use std::{collections::VecDeque, time::Duration};

/// Arrivals that are remembered.
const MEMORY_US: i64 = 1_000_000;
const MAX_ARRIVALS: usize = 2_048;

/// No path loses more than this by itself: the rest does not fit through.
const MOST_USUAL: f32 = 0.4;

/// Arrivals by the far end's clock.
#[derive(Clone, Debug, Default)]
pub(super) struct Delivery {
    /// Microseconds and bytes.
    arrivals: VecDeque<(i64, u32)>,
}

impl Delivery {
    pub(super) fn add(&mut self, arrived_us: i64, bytes: u32) {
        // A clock that jumps, or a report that lies: begin anew.
        if self.arrivals.back().is_some_and(|(last, _)| (arrived_us - last).abs() > 10 * MEMORY_US) {
            self.arrivals.clear();
        }
        self.arrivals.push_back((arrived_us, bytes));
        while self.arrivals.len() > MAX_ARRIVALS
            || self.arrivals.front().is_some_and(|(first, _)| arrived_us - first > MEMORY_US)
        {
            self.arrivals.pop_front();
        }
    }

    /// Bits per second in the time before the latest arrival.
    pub(super) fn bps(&self, span: Duration) -> Option<f32> {
        let &(last, _) = self.arrivals.back()?;
        let span_us = span.as_micros() as i64;
        let within = || self.arrivals.iter().filter(|(at, _)| last - at < span_us);
        let bytes = within().map(|(_, bytes)| f64::from(*bytes)).sum::<f64>();
        let covered = self.arrivals.front().map_or(0, |(first, _)| last - first).min(span_us);
        (covered * 2 > span_us).then(|| (bytes * 8e6 / covered as f64) as f32)
    }
}

/// Of fewer packets than this, chance loses any part.
const SIGNIFICANT: f32 = 150.0;

/// Loss, against the path's usual.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses {
    /// Exponentially weighted: over the last second or so, and over the last ten.
    recent: f32,
    /// The same over so many packets as tell a change from chance: of the voice alone, those of seconds.
    counted: f32,
    usual: Option<f32>,
    recent_weight: f32,
}

impl Losses {
    /// So many of so many packets were lost.
    pub(super) fn add(&mut self, lost: usize, total: usize, elapsed: Duration) {
        if total == 0 {
            return;
        }
        let loss = lost as f32 / total as f32;
        // By packets, so that a report on a few says little; and by time.
        let share = 1.0 - (-elapsed.as_secs_f32() / 0.7).exp();
        let counts = (total as f32 / SIGNIFICANT).min(1.0);
        let weight = share.max(counts);
        self.recent += (loss - self.recent) * weight;
        self.counted += (loss - self.counted) * counts;
        self.recent_weight = (self.recent_weight + weight).min(1.0);
        let usual = self.usual.get_or_insert(0.0);
        *usual += (self.recent - *usual) * (1.0 - (-elapsed.as_secs_f32() / 5.0).exp());
    }

    /// Of the last second, 0 to 1.
    pub(super) fn recent(&self) -> f32 {
        self.recent
    }

    /// Of the last ten seconds, as far as it goes on.
    pub(super) fn usual(&self) -> f32 {
        self.usual.unwrap_or(0.0).min(self.recent * 2.0).min(MOST_USUAL)
    }

    /// How far it is above the usual now, be it by chance.
    pub(super) fn sudden(&self) -> f32 {
        (self.recent - self.usual()).max(0.0)
    }

    /// How far it is above the usual.
    pub(super) fn excess(&self) -> f32 {
        (self.recent.min(self.counted) - self.usual()).max(0.0)
    }

    /// What is lost now is what this path loses.
    pub(super) fn accept(&mut self) {
        self.usual = Some(self.recent);
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

    use super::*;

    /// Reports of a second or so of the voice alone.
    fn report(losses: &mut Losses, random: &mut SmallRng, part: f64) {
        let lost = (0..6).filter(|_| random.random_bool(part)).count();
        losses.add(lost, 6, Duration::from_millis(240));
    }

    #[test]
    fn chance_is_no_change_and_a_change_is_one() {
        for seed in 0..20 {
            let (mut losses, mut random) = (Losses::default(), SmallRng::seed_from_u64(seed));
            (0..100).for_each(|_| report(&mut losses, &mut random, 0.25));
            let most = (0..2_000).map(|_| {
                report(&mut losses, &mut random, 0.25);
                losses.excess()
            });
            let most = most.fold(0.0, f32::max);
            assert!(most < 0.15, "seed {seed}: {most} of 25 %");
            let noticed = (1..100).find(|_| {
                report(&mut losses, &mut random, 0.7);
                losses.excess() > 0.15
            });
            assert!(noticed.is_some_and(|reports| reports < 40), "seed {seed}: noticed after {noticed:?} reports");
        }
    }
}
