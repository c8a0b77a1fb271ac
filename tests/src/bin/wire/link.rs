//! What a bad link does to a frame. Pure: time and chance come in.

use std::time::{Duration, Instant};

use parlor_tests::Impairment;

/// For how long a delay that wanders remembers where it was.
const JITTER_MEMORY: Duration = Duration::from_millis(50);

/// One direction.
pub(crate) struct Link {
    random: Random,
    /// When the bottleneck has sent what it was given so far.
    sent_until: Instant,
    /// Whether the last packet was lost in a burst.
    in_burst: bool,
    /// Where the wandering delay is, in standard deviations, and since when.
    wander: (f64, Instant),
    /// What was sent later arrives no earlier, unless it overtakes on purpose.
    last_arrival: Instant,
}

impl Link {
    /// The same `seed` gives the same fate to the same frames.
    pub(crate) fn new(seed: u64, now: Instant) -> Self {
        Self { random: Random(seed), sent_until: now, in_burst: false, wander: (0.0, now), last_arrival: now }
    }

    /// When `frame`, sent `now`, arrives; `None` when it is lost.
    pub(crate) fn arrival(&mut self, now: Instant, frame: &[u8], setting: Impairment) -> Option<Instant> {
        const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
        if frame.get(12..14) == Some(&ETHERTYPE_ARP) {
            return Some(now);
        }
        let sent = self.bottleneck(now, frame.len(), setting)?;
        if self.loses(setting) {
            return None;
        }
        let due = sent + self.delay(sent, setting);
        if self.random.next_unit() * 100.0 < f64::from(setting.reorder_percent) {
            return Some(due + Duration::from_millis(setting.reorder_ms.into()));
        }
        self.last_arrival = due.max(self.last_arrival);
        Some(self.last_arrival)
    }

    fn bottleneck(&mut self, now: Instant, length: usize, setting: Impairment) -> Option<Instant> {
        if setting.rate_kbps == 0 {
            return Some(now);
        }
        let start = self.sent_until.max(now);
        if start - now > Duration::from_millis(setting.queue_ms.into()) {
            return None;
        }
        self.sent_until = start + Duration::from_micros(length as u64 * 8 * 1000 / u64::from(setting.rate_kbps));
        Some(self.sent_until)
    }

    fn loses(&mut self, setting: Impairment) -> bool {
        let rate = f64::from(setting.loss_percent) / 100.0;
        if setting.mean_burst <= 1.0 || rate >= 1.0 {
            return self.random.next_unit() < rate;
        }
        let leave = 1.0 / f64::from(setting.mean_burst);
        let enter = leave * rate / (1.0 - rate);
        self.in_burst = self.random.next_unit() < if self.in_burst { 1.0 - leave } else { enter };
        self.in_burst
    }

    fn delay(&mut self, at: Instant, setting: Impairment) -> Duration {
        let delay = Duration::from_millis(setting.delay_ms.into());
        if setting.jitter_ms == 0 {
            return delay;
        }
        let (wander, since) = self.wander;
        let kept = (-at.saturating_duration_since(since).as_secs_f64() / JITTER_MEMORY.as_secs_f64()).exp();
        let wander = wander * kept + self.random.next_normal() * (1.0 - kept * kept).sqrt();
        self.wander = (wander, at);
        Duration::from_secs_f64((delay.as_secs_f64() + wander * f64::from(setting.jitter_ms) / 1e3).max(0.0))
    }
}

/// `SplitMix64`: the same losses in every run.
struct Random(u64);

impl Random {
    /// Evenly spread over 0..1.
    fn next_unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// With mean 0 and deviation 1 (Box and Muller).
    fn next_normal(&mut self) -> f64 {
        let (radius, angle) = (1.0 - self.next_unit(), self.next_unit());
        (-2.0 * radius.ln()).sqrt() * (angle * std::f64::consts::TAU).cos()
    }
}

#[cfg(test)]
mod tests {
    use parlor_tests::now;

    use super::*;

    const FRAME: [u8; 1250] = [0; 1250];

    fn link() -> (Link, Instant) {
        let start = now();
        (Link::new(1, start), start)
    }

    /// Which of so many frames, one a millisecond, arrive, and how late.
    fn fates(setting: Impairment, frames: u64) -> Vec<Option<Duration>> {
        let (mut link, start) = link();
        let mut fate = |i| {
            let sent = start + Duration::from_millis(i);
            Some(link.arrival(sent, &FRAME, setting)?.saturating_duration_since(sent))
        };
        (0..frames).map(&mut fate).collect()
    }

    #[test]
    fn frames_arrive_after_the_delay() {
        let fates = fates(Impairment { delay_ms: 25, ..Impairment::default() }, 10);
        assert_eq!(fates, [Some(Duration::from_millis(25)); 10]);
    }

    #[test]
    fn as_many_frames_are_lost_as_asked_for_but_no_arp() {
        let lost = fates(Impairment { loss_percent: 5.0, ..Impairment::default() }, 10_000);
        let lost = lost.iter().filter(|fate| fate.is_none()).count();
        assert!((400..600).contains(&lost), "{lost}");
        let (mut link, start) = link();
        let mut arp = FRAME;
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        let all_lost = Impairment { loss_percent: 100.0, ..Impairment::default() };
        assert_eq!(link.arrival(start, &arp, all_lost), Some(start));
    }

    #[test]
    fn losses_come_in_bursts_of_the_length_asked_for() {
        let fates = fates(Impairment { loss_percent: 10.0, mean_burst: 5.0, ..Impairment::default() }, 100_000);
        let lost = fates.iter().filter(|fate| fate.is_none()).count();
        let bursts = fates.windows(2).filter(|pair| pair[0].is_some() && pair[1].is_none()).count();
        assert!((9_000..11_000).contains(&lost), "{lost}");
        let mean = lost as f64 / bursts as f64;
        assert!((4.5..5.5).contains(&mean), "{mean}");
    }

    #[test]
    fn jitter_wanders_about_the_delay_and_keeps_the_order() {
        let fates = fates(Impairment { delay_ms: 200, jitter_ms: 20, ..Impairment::default() }, 20_000);
        let ms: Vec<f64> = fates.iter().flatten().map(|late| late.as_secs_f64() * 1e3).collect();
        let mean = ms.iter().sum::<f64>() / ms.len() as f64;
        let deviation = (ms.iter().map(|late| (late - mean).powi(2)).sum::<f64>() / ms.len() as f64).sqrt();
        // What would have overtaken waits: a little later than asked for, with a little less spread.
        assert!((200.0..215.0).contains(&mean), "{mean}");
        assert!((14.0..21.0).contains(&deviation), "{deviation}");
        assert!(ms.windows(2).all(|pair| pair[1] >= pair[0] - 1.001), "none overtakes another");
    }

    #[test]
    fn some_are_overtaken() {
        let setting = Impairment { reorder_percent: 2.0, reorder_ms: 20, ..Impairment::default() };
        let fates = fates(setting, 10_000);
        let held = fates.iter().filter(|fate| **fate == Some(Duration::from_millis(20))).count();
        assert!((150..250).contains(&held), "{held}");
        assert!(fates.iter().all(|fate| fate.is_some()));
    }

    #[test]
    fn a_bottleneck_queues_as_long_as_asked_for_and_drops_the_rest() {
        let (mut link, start) = link();
        let setting = Impairment { rate_kbps: 1000, queue_ms: 200, ..Impairment::default() }; // 10 ms a frame
        let arrivals: Vec<_> = (0..100).filter_map(|_| link.arrival(start, &FRAME, setting)).collect();
        assert_eq!(arrivals.first(), Some(&(start + Duration::from_millis(10))));
        assert_eq!(arrivals.last(), Some(&(start + Duration::from_millis(210))));
        assert_eq!(arrivals.len(), 21);
    }
}
