//! What the times of packets tell about queues: how long packets wait on the way, and how much of that is only noise.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The shortest one-way delay is that of an empty queue. Paths and clocks change: it is forgotten after one to two of
/// these.
const BASE_LIFE: Duration = Duration::from_secs(8);
/// Delays of so much time are looked at together, at least: their minimum is what stands in the queue, whereas a frame
/// that goes through at once makes only some of its own packets wait.
const WINDOW: Duration = Duration::from_millis(60);
const LONGEST_WINDOW: Duration = Duration::from_millis(450);
/// These are the newest.
const NEWEST: usize = 2;
/// Delays kept at most.
const MAX_DELAYS: usize = 1_024;
/// What one report may add to the noise: a queue that grows quickly is no noise.
const MAX_NOISE_MS: f32 = 50.0;

/// One-way delays, against the shortest that was seen lately. The two clocks need not agree.
#[derive(Clone, Debug)]
pub(super) struct Delays {
    /// The shortest, in microseconds, in the interval that began then, and in the one before.
    base: Option<(Instant, i64, i64)>,
    /// When packets were sent, and their delays in microseconds.
    recent: VecDeque<(Instant, i64)>,
    /// How much the delay changes from report to report, milliseconds: mean of the absolute differences.
    noise_ms: f32,
    last_ms: Option<f32>,
}

impl Delays {
    pub(super) fn new() -> Self {
        Self { base: None, recent: VecDeque::new(), noise_ms: 0.0, last_ms: None }
    }

    /// Takes the delay of a packet that arrived. `keep_base`: a queue is known to stand, so that the shortest delay of the
    /// last seconds is not that of an empty one.
    pub(super) fn add(&mut self, now: Instant, sent: Instant, delay_us: i64, keep_base: bool) {
        match &mut self.base {
            None => self.base = Some((now, delay_us, delay_us)),
            Some((since, current, previous)) => {
                if now.saturating_duration_since(*since) > BASE_LIFE && !keep_base {
                    (*since, *previous, *current) = (now, *current, delay_us);
                }
                *current = (*current).min(delay_us);
            }
        }
        self.recent.push_back((sent, delay_us));
        if self.recent.len() > MAX_DELAYS {
            self.recent.pop_front();
        }
    }

    /// The path has become longer: what is seen now is its delay.
    pub(super) fn rebase(&mut self) {
        let shortest = self.recent.iter().map(|(_, delay_us)| *delay_us).min();
        if let (Some((_, current, previous)), Some(shortest)) = (&mut self.base, shortest) {
            (*current, *previous) = (shortest, shortest);
        }
    }

    /// A report was taken in: forgets what is too old, and learns how noisy the path is.
    pub(super) fn report_ended(&mut self) {
        let Some(&(newest, _)) = self.recent.back() else { return };
        let window = self.window();
        while self.recent.front().is_some_and(|(sent, _)| newest.saturating_duration_since(*sent) > LONGEST_WINDOW) {
            self.recent.pop_front();
        }
        let Some(delay_ms) = self.shortest_within(newest, window.min(WINDOW)) else { return };
        if let Some(last_ms) = self.last_ms.replace(delay_ms) {
            let change_ms = (delay_ms - last_ms).abs().min(MAX_NOISE_MS);
            self.noise_ms += (change_ms - self.noise_ms) * 0.04;
        }
    }

    /// How long packets stand in queues, milliseconds.
    pub(super) fn queue_ms(&self) -> Option<f32> {
        let &(newest, _) = self.recent.back()?;
        self.shortest_within(newest, self.window())
    }

    /// The least that the newest packets stood in queues, milliseconds.
    pub(super) fn newest_ms(&self) -> f32 {
        let Some((_, current, previous)) = self.base else { return 0.0 };
        let newest = self.recent.iter().rev().take(NEWEST).map(|(_, delay_us)| *delay_us).min();
        newest.map_or(0.0, |newest| (newest - current.min(previous)) as f32 / 1e3)
    }

    /// How much the delay changes by itself, milliseconds.
    pub(super) fn noise_ms(&self) -> f32 {
        self.noise_ms
    }

    /// The noisier the path, the longer it takes to see what is below the noise.
    fn window(&self) -> Duration {
        (WINDOW + Duration::from_secs_f32(self.noise_ms * 14.0 / 1e3)).min(LONGEST_WINDOW)
    }

    fn shortest_within(&self, newest: Instant, window: Duration) -> Option<f32> {
        let (_, current, previous) = self.base?;
        let recent = self.recent.iter().rev().take_while(|(sent, _)| newest.saturating_duration_since(*sent) <= window);
        let shortest = recent.map(|(_, delay_us)| *delay_us).min()?;
        Some((shortest - current.min(previous)) as f32 / 1e3)
    }
}
