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

/// Loss, against the path's usual.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses {
    /// Exponentially weighted: over the last second or so, and over the last ten.
    recent: f32,
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
        let weight = share.max(total as f32 / 150.0).min(1.0);
        self.recent += (loss - self.recent) * weight;
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

    /// How far it is above the usual.
    pub(super) fn excess(&self) -> f32 {
        (self.recent - self.usual.unwrap_or(0.0).min(MOST_USUAL)).max(0.0)
    }

    /// What is lost now is what this path loses.
    pub(super) fn accept(&mut self) {
        self.usual = Some(self.recent);
    }
}
