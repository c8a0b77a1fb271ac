//! Figures over the last second.

use std::time::{Duration, Instant};

/// Collects samples and sums them up once a second.
pub(crate) struct PerSecond {
    since: Instant,
    samples: Vec<f32>,
}

/// A second's samples in figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Second {
    /// Samples per second.
    pub(crate) rate: f32,
    /// Zero when there was no sample.
    pub(crate) mean: f32,
    /// `None` when there was no sample.
    pub(crate) median: Option<f32>,
}

/// Samples that are kept of one second; more are counted as these.
const MAX_SAMPLES: usize = 1_000;

impl PerSecond {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, samples: Vec::new() }
    }

    pub(crate) fn add(&mut self, sample: f32) {
        if self.samples.len() < MAX_SAMPLES {
            self.samples.push(sample);
        }
    }

    /// The figures of the last second, when it is over.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Second> {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < Duration::from_secs(1) {
            return None;
        }
        let count = self.samples.len();
        self.samples.sort_unstable_by(f32::total_cmp);
        let second = Second {
            rate: count as f32 / elapsed.as_secs_f32(),
            mean: self.samples.iter().sum::<f32>() / count.max(1) as f32,
            median: self.samples.get(count / 2).copied(),
        };
        self.samples.clear();
        self.since = now;
        Some(second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_summed_up_when_it_is_over_and_the_next_begins_empty() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let start = Instant::now();
        let mut figures = PerSecond::new(start);
        [1.0, 9.0, 2.0].into_iter().for_each(|sample| figures.add(sample));
        assert_eq!(figures.poll(start + Duration::from_millis(999)), None);
        let second = figures.poll(start + Duration::from_secs(2));
        assert_eq!(second, Some(Second { rate: 1.5, mean: 4.0, median: Some(2.0) }));
        let second = figures.poll(start + Duration::from_secs(3));
        assert_eq!(second, Some(Second { rate: 0.0, mean: 0.0, median: None }));
    }
}
