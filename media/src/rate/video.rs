//! The bitrate of the picture. Loss alone is no congestion: a radio link loses packets at any rate, and sending less
//! repairs nothing. A queue that builds before the bottleneck is, and it shows in the round-trip time.

use std::time::{Duration, Instant};

use super::Bitrate;
use crate::rtp::PathReport;

/// For 1280 x 720; other sizes in proportion to their pixels.
const START: f32 = 1_500_000.0;
const MAX: f32 = 2_500_000.0;
const REFERENCE_PIXELS: f32 = 1280.0 * 720.0;
/// Below this a picture is not worth its packets.
const MIN: Bitrate = Bitrate::from_bps(120_000);
/// Whatever the size, nobody's link is offered more.
const CEILING: f32 = 4_000_000.0;

/// Loss with which a queue that builds is certain to overflow.
const HEAVY_LOSS: f32 = 0.10;
/// Loss at which the path is overloaded even if its queue is too short to show.
const EXTREME_LOSS: f32 = 0.30;
/// Loss up to which a path counts as clean.
const CLEAN_LOSS: f32 = 0.02;
/// Above the path's own round-trip time by this much, a queue is building, or standing.
const BUILDING_MS: f32 = 40.0;
const STANDING_MS: f32 = 150.0;
/// Time for a change to show in the reports, besides the round trip.
const SETTLE: Duration = Duration::from_millis(700);
/// A path's lowest round-trip time is forgotten after this long, since paths change.
const BASE_RTT_LIFE: Duration = Duration::from_secs(30);

/// Decides the bitrate.
pub(crate) struct VideoRate {
    target: Bitrate,
    max: Bitrate,
    base_rtt: Option<(f32, Instant)>,
    settled_at: Option<Instant>,
    raised_at: Option<Instant>,
}

impl VideoRate {
    pub(crate) fn new(width: u32, height: u32) -> Self {
        let scale = (width as f32 * height as f32 / REFERENCE_PIXELS).max(0.1);
        let bitrate = |bps: f32| Bitrate::from_bps((bps * scale).min(CEILING) as u32);
        Self { target: bitrate(START), max: bitrate(MAX), base_rtt: None, settled_at: None, raised_at: None }
    }

    /// Another size of picture on the same path: keeps what is known of the path.
    pub(crate) fn resize(&mut self, width: u32, height: u32) {
        let fresh = Self::new(width, height);
        let share = self.target.as_bps() as f32 / self.max.as_bps() as f32;
        self.target = fresh.max.scaled(share).max(MIN);
        self.max = fresh.max;
    }

    pub(crate) fn target(&self) -> Bitrate {
        self.target
    }

    /// Takes a report of the far end.
    pub(crate) fn handle_report(&mut self, now: Instant, report: PathReport) {
        let queue_ms = self.queue_ms(now, report.rtt_ms);
        let since_raise = self.raised_at.replace(now).map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        if self.settled_at.is_some_and(|at| now < at) {
            return;
        }
        let congested = report.loss > HEAVY_LOSS && queue_ms > BUILDING_MS;
        if congested {
            self.lower(now, report.rtt_ms, 0.7);
        } else if report.loss > EXTREME_LOSS || queue_ms > STANDING_MS {
            self.lower(now, report.rtt_ms, 0.85);
        } else if report.loss <= CLEAN_LOSS && queue_ms < BUILDING_MS {
            let seconds = since_raise.as_secs_f32().min(1.0);
            self.target = self.target.scaled(1.0 + 0.1 * seconds).min(self.max);
        }
    }

    fn lower(&mut self, now: Instant, rtt_ms: f32, factor: f32) {
        let before = self.target;
        self.target = self.target.scaled(factor).max(MIN);
        self.settled_at = Some(now + SETTLE + Duration::from_secs_f32(rtt_ms.clamp(0.0, 1_000.0) / 1_000.0));
        tracing::debug!(from = before.as_bps(), to = self.target.as_bps(), "the path is congested: less video");
    }

    /// How long packets wait in queues on the way, beyond what the path takes by itself.
    fn queue_ms(&mut self, now: Instant, rtt_ms: f32) -> f32 {
        let base = match self.base_rtt {
            Some((base, since)) if base <= rtt_ms && now.saturating_duration_since(since) < BASE_RTT_LIFE => base,
            _ => {
                self.base_rtt = Some((rtt_ms, now));
                rtt_ms
            }
        };
        rtt_ms - base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HD: (u32, u32) = (1280, 720);

    /// Feeds a report a second, and tells the target after the last.
    fn after(seconds: u64, mut report: impl FnMut(u64) -> PathReport) -> u32 {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let start = Instant::now();
        let mut rate = VideoRate::new(HD.0, HD.1);
        for second in 0..seconds {
            rate.handle_report(start + Duration::from_secs(second), report(second));
        }
        rate.target().as_bps()
    }

    fn path(loss: f32, rtt_ms: f32) -> PathReport {
        PathReport { loss, rtt_ms, jitter_ms: 0.0 }
    }

    #[test]
    fn a_clean_path_is_filled_up_to_the_maximum_and_no_further() {
        assert!(after(4, |_| path(0.0, 20.0)) > 1_900_000);
        assert_eq!(after(60, |_| path(0.0, 20.0)), 2_500_000);
    }

    #[test]
    fn random_loss_does_not_lower_the_picture() {
        for loss in [0.05, 0.10, 0.2] {
            assert_eq!(after(60, |_| path(loss, 50.0)), 1_500_000, "{loss}");
        }
    }

    #[test]
    fn loss_with_a_growing_queue_lowers_quickly_down_to_the_minimum() {
        let congested = |second| path(0.15, 50.0 + 100.0 * second as f32);
        assert!(after(6, congested) < 750_000);
        assert_eq!(after(25, congested), 120_000);
    }

    #[test]
    fn a_standing_queue_without_loss_lowers_until_it_is_gone() {
        assert!(after(10, |second| path(0.0, if second == 0 { 30.0 } else { 400.0 })) < 1_000_000);
    }

    #[test]
    fn a_path_that_recovers_is_used_again() {
        let target =
            after(40, |second| if second < 8 { path(0.2, 40.0 + 90.0 * second as f32) } else { path(0.0, 40.0) });
        assert_eq!(target, 2_500_000);
    }

    #[test]
    fn absurd_reports_keep_the_target_within_its_bounds() {
        for report in [path(f32::NAN, f32::NAN), path(9.0, f32::INFINITY), path(-1.0, -5.0), path(1.0, 0.0)] {
            let target = after(30, |_| report);
            assert!((120_000..=2_500_000).contains(&target), "{target} after {report:?}");
        }
    }

    #[test]
    fn another_size_keeps_the_share_that_the_path_gave() {
        let mut rate = VideoRate::new(HD.0, HD.1);
        rate.resize(640, 360);
        assert_eq!(rate.target().as_bps(), 375_000);
        rate.resize(HD.0, HD.1);
        assert!((1_499_000..=1_500_000).contains(&rate.target().as_bps()));
    }
}
