//! How long packets take, and how much of a delay that calls for. All in samples at 48 kHz.
//!
//! What was lost and came again as a copy in a later packet is a packet that took longer: one distribution tells both how
//! long to wait for stragglers and how long for copies. How long is worth it is a matter of cost: a delay costs what it
//! is, and so does every packet that is not there in time.

use std::collections::VecDeque;

/// Transits that count: 8 s of 20 ms packets.
const WINDOW: usize = 400;

/// The wanted delay falls only when it could have been smaller for so long: every change of tempo costs quality, and a
/// path that was bad a moment ago is seldom good for long. In packets: 6 s.
const HOLD: u32 = 300;

/// A packet of 20 ms, and how many of them one packet holds at most (RFC 6716, section 3.2).
const SHORT: i64 = 960;
const MOST_SHORT: i64 = 6;

/// Less of a rise than this (5 ms), and less of a fall than that (10 ms), is not worth a change of tempo.
const MUCH_MORE: i64 = 240;
const MUCH_LESS: i64 = 480;

/// What it costs to have one packet in a hundred too late: as much as 15 ms of delay.
const COST_PER_HUNDREDTH: i64 = 720;

/// What was needed so often within a second is needed now: a queue on the way fills within moments, and holds up more
/// packets in a row than jitter does. One that breathes fills again within seconds, and to follow each breath costs more
/// quality than the delay is worth: it is remembered for 5 s, not as long as jitter is.
const SURGE: i64 = 48_000;
const SURGE_HELD: i64 = 240_000;
const SURGE_PACKETS: usize = 3;

/// Less than this more (20 ms) is not worth a change of tempo.
const FOLLOWED: i64 = 960;

/// When all that comes is late for longer than this (100 ms), that is no jitter but such a queue: it is followed, and only
/// what comes on top of it is learnt. What was the least of so long (5 s) is no queue but the path.
const JITTER: i64 = 4_800;
const QUEUE: i64 = 240_000;
/// Packets in that time, at most: of 10 ms.
const QUEUE_PACKETS: usize = 500;

/// A queue shorter than this (75 ms) is jitter, too.
const MUCH: i64 = 3_600;

/// For threads that wake a little late: 4 ms.
const MARGIN: i64 = 192;

/// Packets of late whose transit is known; nothing is copied from further back.
const KNOWN: usize = 64;

/// Beyond this, people interrupt each other: 400 ms.
const MOST: i64 = 19_200;

/// A transit so far from the others is another timeline, or a stall after which a new one is as good: 1 s.
const JUMP: i64 = 48_000;

/// Two packets of a new timeline agree within so much: 0.5 s.
const AGREE: i64 = 24_000;

/// Where a packet belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// At this timestamp, counted without wrapping around.
    At(i64),
    /// There too, but it came before, itself or as a copy.
    Again(i64),
    /// There, but on a new timeline: what was before has no relation to it.
    Restarted(i64),
    /// Far from all others. If the next packet agrees with it, the sender has restarted; otherwise it is garbage.
    Suspect,
}

/// Watches transits.
#[derive(Default)]
pub(super) struct Delay {
    transits: VecDeque<i64>,
    sorted: Vec<i64>,
    /// Timestamps and transits of what came in order, as long ago as a queue may last.
    recent: VecDeque<(i64, i64)>,
    /// The transit that several of them had within a second, or more, and when.
    surge: Option<(i64, i64)>,
    /// Since this timestamp all that came in order was later than this transit.
    late_since: Option<(i64, i64)>,
    /// The newest timestamp, unwrapped.
    newest: Option<i64>,
    suspect: Option<i64>,
    /// Timestamps whose transit was learnt.
    known: VecDeque<i64>,
    /// Packets of 20 ms that one packet stands for.
    weight: i64,
    /// The latest transit that is played in time: it rises at once and falls when all of a `HOLD` was below.
    target: Option<i64>,
    /// The greatest that would have been enough in the `HOLD` that runs.
    enough: i64,
    held: u32,
}

impl Delay {
    /// The packets that come hold so much sound: long ones count as often as the short ones that they stand for, so that
    /// nothing is remembered for longer.
    pub(super) fn set_duration(&mut self, samples: i64) {
        self.weight = (samples / SHORT).clamp(1, MOST_SHORT);
    }

    /// Finds a packet's place, and learns from its transit.
    pub(super) fn place(&mut self, timestamp: u32, arrived: i64) -> Placed {
        let Some(newest) = self.newest else {
            self.restart(i64::from(timestamp), arrived);
            return Placed::At(i64::from(timestamp));
        };
        // RFC 3550, section 5.1: timestamps wrap around; the difference to the newest is what counts.
        let unwrapped = newest + i64::from(timestamp.wrapping_sub(newest as u32) as i32);
        let transit = arrived - unwrapped;
        if (transit - self.base()).abs() > JUMP {
            // As for sequence numbers in RFC 3550, appendix A.1: two in a row make a new truth.
            if self.suspect.take().is_some_and(|suspect| (suspect - transit).abs() < AGREE) {
                self.restart(unwrapped, arrived);
                return Placed::Restarted(unwrapped);
            }
            self.suspect = Some(transit);
            return Placed::Suspect;
        }
        self.suspect = None;
        self.newest = Some(newest.max(unwrapped));
        if unwrapped > newest {
            self.follow(unwrapped, transit);
        }
        if self.arrived(unwrapped, arrived) { Placed::At(unwrapped) } else { Placed::Again(unwrapped) }
    }

    /// The packet at this timestamp came as a copy of low quality in the one after it.
    pub(super) fn copied(&mut self, timestamp: i64, arrived: i64) {
        // What is older than all that is known was learnt and forgotten, or belongs to the time before the first packet.
        if self.known.front().is_some_and(|oldest| timestamp > *oldest) {
            self.arrived(timestamp, arrived);
        }
    }

    /// What comes in order tells how long the queue on the way is now.
    fn follow(&mut self, timestamp: i64, transit: i64) {
        let (since, usual) = self.late_since.unwrap_or((timestamp, self.target.unwrap_or(transit)));
        self.late_since = (transit > usual).then_some((since, usual));
        self.recent.push_back((timestamp, transit));
        while self.recent.len() > QUEUE_PACKETS || self.recent.front().is_some_and(|(then, _)| timestamp - then > QUEUE)
        {
            self.recent.pop_front();
        }
        let mut largest = [i64::MIN; SURGE_PACKETS];
        for (_, transit) in self.recent.iter().rev().take_while(|(then, _)| timestamp - then <= SURGE) {
            if let Some(least) = largest.iter_mut().min().filter(|least| **least < *transit) {
                *least = *transit;
            }
        }
        let Some(surge) = largest.into_iter().min().filter(|surge| *surge > i64::MIN) else { return };
        if self.surge.is_none_or(|(held, since)| surge >= held || timestamp - since > SURGE_HELD) {
            self.surge = Some((surge, timestamp));
        }
    }

    /// How long everything has stood in a queue in the last moments.
    fn queued(&self, timestamp: i64) -> i64 {
        let (mut path, mut lately) = (i64::MAX, i64::MAX);
        for (then, transit) in &self.recent {
            path = path.min(*transit);
            if timestamp - then <= JITTER {
                lately = lately.min(*transit);
            }
        }
        if lately > path.saturating_add(MUCH) && lately < i64::MAX { lately - path } else { 0 }
    }

    /// Learns, unless it was learnt before.
    fn arrived(&mut self, timestamp: i64, arrived: i64) -> bool {
        if self.known.contains(&timestamp) {
            return false;
        }
        if self.known.len() == KNOWN {
            self.known.pop_front();
        }
        self.known.push_back(timestamp);
        let queued = match self.late_since {
            Some((since, _)) if timestamp - since >= JITTER => self.queued(timestamp),
            Some(_) | None => 0,
        };
        let transit = arrived - timestamp - queued;
        (0..self.weight.max(1)).for_each(|_| self.learn(transit));
        true
    }

    fn restart(&mut self, timestamp: i64, arrived: i64) {
        *self = Self { newest: Some(timestamp), weight: self.weight, ..Self::default() };
        self.arrived(timestamp, arrived);
    }

    fn learn(&mut self, transit: i64) {
        if self.transits.len() == WINDOW
            && let Some(oldest) = self.transits.pop_front()
            && let Ok(at) = self.sorted.binary_search(&oldest)
        {
            self.sorted.remove(at);
        }
        self.transits.push_back(transit);
        let at = self.sorted.partition_point(|other| *other < transit);
        self.sorted.insert(at, transit);
        self.aim(self.cheapest());
    }

    fn aim(&mut self, cheapest: i64) {
        let target = *self.target.get_or_insert(cheapest);
        self.enough = if self.held == 0 { cheapest } else { self.enough.max(cheapest) };
        self.held += 1;
        if cheapest > target + MUCH_MORE {
            (self.target, self.held) = (Some(cheapest), 0);
        } else if cheapest >= target - MUCH_LESS {
            self.held = 0;
        } else if self.held >= HOLD {
            (self.target, self.held) = (Some(self.enough), 0);
        }
    }

    /// The transit at which delay and packets that come too late cost least together.
    fn cheapest(&self) -> i64 {
        let count = self.sorted.len() as i64;
        let cost = |(at, transit): (usize, &i64)| {
            let late = count - 1 - at as i64;
            (transit + 100 * COST_PER_HUNDREDTH * late / count, *transit)
        };
        self.sorted.iter().enumerate().map(cost).min().map_or(0, |(_, transit)| transit)
    }

    /// For a while now all that came was late: a queue grows on the way.
    pub(super) fn is_queueing(&self) -> bool {
        self.late_since.zip(self.newest).is_some_and(|((since, _), newest)| newest - since >= JITTER)
    }

    /// The smallest transit of late.
    pub(super) fn base(&self) -> i64 {
        self.sorted.first().copied().unwrap_or(0)
    }

    /// The lag over the base that is worth having.
    pub(super) fn wanted(&self) -> i64 {
        let base = self.base();
        let target = self.target.unwrap_or(base);
        let surge = self.surge.map(|(transit, _)| transit);
        let target = surge.filter(|surge| *surge > target + FOLLOWED).unwrap_or(target);
        (target - base).clamp(0, MOST - MARGIN) + MARGIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_packets_forget_a_stall_as_soon_as_short_ones() {
        for samples in [960, 1_920, 5_760] {
            let mut delay = Delay::default();
            delay.set_duration(samples);
            let second = |delay: &mut Delay, from: i64, late: i64| {
                for at in (from * 48_000..(from + 1) * 48_000).step_by(samples as usize) {
                    delay.place(at as u32, at + late);
                }
            };
            (0..5).for_each(|at| second(&mut delay, at, 0));
            second(&mut delay, 5, 4_800);
            assert!(delay.wanted() > 4_000, "{samples}");
            (6..20).for_each(|at| second(&mut delay, at, 0));
            assert!(delay.wanted() < 1_000, "{samples}: {}", delay.wanted());
        }
    }

    #[test]
    fn on_a_steady_path_the_margin_is_all() {
        let mut delay = Delay::default();
        for i in 0..300_u32 {
            delay.place(i * 960, i64::from(i) * 960 + 1_000);
        }
        assert_eq!((delay.base(), delay.wanted()), (1_000, MARGIN));
    }

    #[test]
    fn a_few_stragglers_do_not_count_and_many_do() {
        let mut delay = Delay::default();
        let mut run = |every: u32| {
            for i in 0..2_560_u32 {
                delay.place(i * 960, i64::from(i) * 960 + if i.is_multiple_of(every) { 2_000 } else { 0 });
            }
            let wanted = delay.wanted();
            delay = Delay::default();
            wanted
        };
        assert_eq!(run(100), MARGIN);
        assert_eq!(run(10), MARGIN + 2_000);
    }

    /// A path that is `late` samples longer from the sixth second on, for so many seconds; what is wanted and the base,
    /// each 100 ms.
    fn beside_a_queue(late: i64, seconds: u32) -> Vec<(i64, i64)> {
        let mut delay = Delay::default();
        let mut seen = Vec::new();
        for i in 0..1_500_u32 {
            let queued = (300..300 + 50 * seconds).contains(&i);
            delay.place(i * 960, i64::from(i) * 960 + if queued { late } else { 0 });
            if i % 5 == 4 {
                seen.push((delay.wanted(), delay.base()));
            }
        }
        seen
    }

    #[test]
    fn a_queue_is_followed_at_once_and_forgotten_when_it_is_gone() {
        let seen = beside_a_queue(9_600, 2);
        assert_eq!(seen[59], (MARGIN, 0));
        assert!(seen[60..80].iter().all(|(wanted, _)| *wanted == MARGIN + 9_600), "{:?}", &seen[60..80]);
        assert!(seen[80..120].iter().all(|(wanted, _)| *wanted == MARGIN + 9_600), "{:?}", &seen[80..120]);
        assert!(seen[141..].iter().all(|(wanted, _)| *wanted == MARGIN), "{:?}", &seen[135..150]);
    }

    #[test]
    fn a_path_that_stays_longer_becomes_the_base() {
        let seen = beside_a_queue(9_600, 24);
        let (wanted, base) = seen[seen.len() - 1];
        assert!(base == 9_600 && wanted < 1_000, "{wanted} over {base}");
    }

    #[test]
    fn timestamps_wrap_around_in_either_direction() {
        let mut delay = Delay::default();
        let start = u32::MAX - 960;
        assert_eq!(delay.place(start, 0), Placed::At(i64::from(start)));
        assert_eq!(delay.place(start.wrapping_add(1_920), 1_920), Placed::At(i64::from(start) + 1_920));
        assert_eq!(delay.place(start.wrapping_add(960), 1_930), Placed::At(i64::from(start) + 960));
    }

    #[test]
    fn one_stray_packet_is_ignored_and_two_in_a_row_are_a_restart() {
        let mut delay = Delay::default();
        for i in 0..50_u32 {
            delay.place(i * 960, i64::from(i) * 960);
        }
        assert_eq!(delay.place(1 << 30, 48_000), Placed::Suspect);
        assert_eq!(delay.place(50 * 960, 48_000), Placed::At(48_000));
        assert_eq!(delay.place(1 << 30, 48_960), Placed::Suspect);
        assert_eq!(delay.place((1 << 30) + 960, 49_920), Placed::Restarted((1 << 30) + 960));
        assert_eq!(delay.place((1 << 30) + 1_920, 50_880), Placed::At((1 << 30) + 1_920));
    }

    /// `lost` of a hundred packets come only as copies, `later` samples after their time.
    fn wanted_with_copies(lost: u32, later: i64) -> i64 {
        let mut delay = Delay::default();
        for i in 0..1_000_u32 {
            let at = i64::from(i) * 960;
            if i % 100 >= lost {
                delay.place(i * 960, at);
            } else if i > 0 {
                delay.copied(at, at + later);
            }
        }
        delay.wanted()
    }

    #[test]
    fn copies_are_waited_for_when_enough_depend_on_them() {
        assert_eq!(wanted_with_copies(0, 960), MARGIN);
        assert_eq!(wanted_with_copies(1, 960), MARGIN);
        assert_eq!(wanted_with_copies(10, 960), MARGIN + 960);
        assert_eq!(wanted_with_copies(10, 1_920), MARGIN + 1_920);
        // Half a second for every tenth packet is a bad bargain.
        assert_eq!(wanted_with_copies(10, 24_000), MARGIN);
    }

    #[test]
    fn a_copy_of_what_came_itself_changes_nothing() {
        let mut delay = Delay::default();
        for i in 0..300_u32 {
            delay.place(i * 960, i64::from(i) * 960);
            delay.copied(i64::from(i) * 960 - 960, i64::from(i) * 960);
        }
        assert_eq!(delay.wanted(), MARGIN);
    }

    #[test]
    fn the_delay_rises_at_once_and_falls_when_the_path_was_good_for_long() {
        let mut delay = Delay::default();
        let mut run = |packets: std::ops::Range<u32>, every: u32, late: i64| {
            for i in packets {
                delay.place(i * 960, i64::from(i) * 960 + if i.is_multiple_of(every) { late } else { 0 });
            }
            delay.wanted()
        };
        assert_eq!(run(0..500, 1_000, 0), MARGIN);
        assert_eq!(run(500..700, 5, 2_000), MARGIN + 2_000);
        assert_eq!(run(700..1_100, 1_000, 0), MARGIN + 2_000);
        assert_eq!(run(1_100..1_400, 1_000, 0), MARGIN);
    }
}
