//! Spreads packets in time, so that a key frame neither overruns a small router's buffer nor holds up the voice.
//!
//! A leaky bucket over three queues: the voice never waits, repairs go before new pictures, the camera's before a shared
//! screen's, and all leave at a little more than the rate that the path was found to carry.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::Bitrate;

/// The pace while the path has shown no limit: what a frame is made of leaves almost at once.
const OPEN_PACE: Bitrate = Bitrate::from_bps(20_000_000);
/// The pace on a path that has: so much above the rate, and less on narrow and thin ones, where all that waits should wait
/// here, behind the voice.
const PACE: f32 = 1.3;
const NARROW_PACE: f32 = 1.25;
const NARROW: Bitrate = Bitrate::from_bps(450_000);
const THIN_PACE: f32 = 1.15;
const THIN: Bitrate = Bitrate::from_bps(200_000);

/// How quickly packets leave, of all that may be sent.
pub(crate) fn pace(target: Bitrate, is_limited: bool) -> Bitrate {
    if !is_limited {
        OPEN_PACE
    } else if target < THIN {
        target.scaled(THIN_PACE)
    } else if target < NARROW {
        target.scaled(NARROW_PACE)
    } else {
        target.scaled(PACE)
    }
}

/// What a packet is to the person at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Voice, and what keeps the connection going: leaves at once.
    Voice,
    /// Repairs a picture that others wait for.
    Repair,
    /// A new picture of the camera.
    Picture,
    /// A new picture of a shared screen: large, and not to hold up the camera's.
    Screen,
}

/// Packets that may wait. Pictures are dropped as frames by whoever encodes, long before.
const MAX_PACKETS: usize = 1_024;
/// Repairs that wait longer come too late.
const REPAIR_LIFE: Duration = Duration::from_millis(400);
/// Timers are no finer than this.
const TICK: Duration = Duration::from_millis(2);
/// Time without packets that may be made up for: small frames leave at once.
const BURST: Duration = Duration::from_millis(8);

/// Packets on their way to the network.
#[derive(Debug)]
pub(crate) struct Pacer<P> {
    repairs: VecDeque<Waiting<P>>,
    pictures: VecDeque<Waiting<P>>,
    screens: VecDeque<Waiting<P>>,
    /// Of repairs and the camera's pictures, and of all.
    bytes: usize,
    all_bytes: usize,
    rate: Bitrate,
    /// Until then the packets that left occupy the path.
    busy_until: Option<Instant>,
}

#[derive(Debug)]
struct Waiting<P> {
    packet: P,
    bytes: u32,
    since: Instant,
}

impl<P> Pacer<P> {
    pub(crate) fn new(rate: Bitrate) -> Self {
        Self {
            repairs: VecDeque::new(),
            pictures: VecDeque::new(),
            screens: VecDeque::new(),
            bytes: 0,
            all_bytes: 0,
            rate,
            busy_until: None,
        }
    }

    /// How quickly packets leave.
    pub(crate) fn set_rate(&mut self, rate: Bitrate) {
        self.rate = rate;
    }

    /// Takes a packet; gives it back when it shall leave at once.
    pub(crate) fn push(&mut self, now: Instant, class: Class, packet: P, bytes: u32) -> Option<P> {
        let queue = match class {
            Class::Voice => {
                // It takes its part of the path: pictures wait for it.
                self.occupy(now, bytes);
                return Some(packet);
            }
            Class::Repair => &mut self.repairs,
            Class::Picture => &mut self.pictures,
            Class::Screen => &mut self.screens,
        };
        if queue.len() < MAX_PACKETS {
            queue.push_back(Waiting { packet, bytes, since: now });
            self.bytes += if class == Class::Screen { 0 } else { bytes as usize };
            self.all_bytes += bytes as usize;
        }
        None
    }

    /// The next packet that may leave now.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(P, u32)> {
        if self.busy_until.is_some_and(|until| until > now + TICK / 2) {
            return None;
        }
        while let Some(waiting) = self.repairs.pop_front() {
            self.left(waiting.bytes, Class::Repair);
            if now.saturating_duration_since(waiting.since) <= REPAIR_LIFE {
                self.occupy(now, waiting.bytes);
                return Some((waiting.packet, waiting.bytes));
            }
        }
        let (waiting, class) = match self.pictures.pop_front() {
            Some(waiting) => (waiting, Class::Picture),
            None => (self.screens.pop_front()?, Class::Screen),
        };
        self.left(waiting.bytes, class);
        self.occupy(now, waiting.bytes);
        Some((waiting.packet, waiting.bytes))
    }

    /// When [`Pacer::pop`] may have something.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let first = self.repairs.front().or(self.pictures.front()).or(self.screens.front())?;
        Some(self.busy_until.unwrap_or(first.since).max(first.since))
    }

    /// Forgets the pictures and repairs that wait: the path has become so thin that they would come too late.
    pub(crate) fn clear(&mut self) {
        self.repairs.clear();
        self.pictures.clear();
        self.screens.clear();
        (self.bytes, self.all_bytes) = (0, 0);
    }

    /// How long what waits will take, a screen's pictures apart.
    pub(crate) fn delay(&self) -> Duration {
        duration(self.bytes as u64, self.rate)
    }

    /// How long all that waits will take.
    pub(crate) fn whole_delay(&self) -> Duration {
        duration(self.all_bytes as u64, self.rate)
    }

    fn left(&mut self, bytes: u32, class: Class) {
        self.bytes -= if class == Class::Screen { 0 } else { bytes as usize };
        self.all_bytes -= bytes as usize;
    }

    fn occupy(&mut self, now: Instant, bytes: u32) {
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let from = self.busy_until.map_or(earliest, |until| until.max(earliest));
        // What can't wait may borrow, but not more than a second.
        self.busy_until = Some((from + duration(u64::from(bytes), self.rate)).min(now + Duration::from_secs(1)));
    }
}

fn duration(bytes: u64, rate: Bitrate) -> Duration {
    Duration::from_micros(bytes * 8_000_000 / u64::from(rate.as_bps().max(1_000)))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "packets need a time; any will do")]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn drain(pacer: &mut Pacer<u32>, start: Instant, ms: u32) -> Vec<(u32, u32)> {
        let pops = (0..ms)
            .flat_map(|at| std::iter::from_fn(|| pacer.pop(start + at * MS).map(|(p, _)| (at, p))).collect::<Vec<_>>());
        pops.collect()
    }

    #[test]
    fn a_key_frame_is_spread_at_the_rate() {
        let (mut pacer, start) = (Pacer::new(Bitrate::from_bps(960_000)), Instant::now());
        (0..25).for_each(|i| assert_eq!(pacer.push(start, Class::Picture, i, 1_200), None));
        assert_eq!(pacer.delay(), 250 * MS);
        let left = drain(&mut pacer, start, 300);
        assert_eq!(left.len(), 25);
        let last = left.last().map(|(at, _)| *at).unwrap();
        assert!((225..=245).contains(&last), "10 ms each, less the burst: {last}");
        assert!(left.iter().filter(|(at, _)| *at < 50).count() <= 7);
    }

    #[test]
    fn voice_leaves_at_once_and_repairs_go_before_pictures() {
        let (mut pacer, start) = (Pacer::new(Bitrate::from_bps(960_000)), Instant::now());
        for i in 0..5 {
            assert_eq!(pacer.push(start, Class::Picture, i, 1_200), None);
        }
        for i in 10..12 {
            assert_eq!(pacer.push(start, Class::Repair, i, 1_200), None);
        }
        assert_eq!(pacer.push(start, Class::Voice, 99, 120), Some(99));
        let order = drain(&mut pacer, start, 100).into_iter().map(|(_, packet)| packet).collect::<Vec<_>>();
        assert_eq!(order, [10, 11, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_screens_key_frame_does_not_hold_up_the_camera() {
        let (mut pacer, start) = (Pacer::new(Bitrate::from_bps(960_000)), Instant::now());
        for i in 0..50 {
            assert_eq!(pacer.push(start, Class::Screen, i, 1_200), None);
        }
        for i in 100..102 {
            assert_eq!(pacer.push(start, Class::Picture, i, 1_200), None);
        }
        assert_eq!((pacer.delay(), pacer.whole_delay()), (20 * MS, 520 * MS));
        let order = drain(&mut pacer, start, 600).into_iter().map(|(_, packet)| packet).collect::<Vec<_>>();
        assert_eq!((&order[..3], order.len()), (&[100, 101, 0][..], 52));
        assert_eq!((pacer.delay(), pacer.whole_delay()), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn repairs_that_waited_too_long_are_not_sent() {
        let (mut pacer, start) = (Pacer::new(Bitrate::from_bps(8_000)), Instant::now());
        for i in 0..3 {
            assert_eq!(pacer.push(start, Class::Repair, i, 1_000), None);
        }
        assert_eq!(drain(&mut pacer, start, 2_500), [(0, 0)]);
        assert_eq!(pacer.delay(), Duration::ZERO);
    }

    #[test]
    fn what_waits_is_bounded() {
        let (mut pacer, start) = (Pacer::new(Bitrate::from_bps(8_000)), Instant::now());
        for i in 0..5_000 {
            assert_eq!(pacer.push(start, Class::Picture, i, 1), None);
        }
        assert_eq!(pacer.pictures.len(), MAX_PACKETS);
    }
}
