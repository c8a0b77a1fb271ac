//! How long packets take, and how much of a delay that calls for. All in samples at 48 kHz.

use std::collections::VecDeque;

/// Transits that count: 5 s of 20 ms packets.
const WINDOW: usize = 256;

/// Of a hundred packets, so many shall be in time.
const IN_TIME_PERCENT: usize = 96;

/// For threads that wake a little late, and to have time for a remedy: 4 ms.
const MARGIN: i64 = 192;

/// With losses, the copy in the packet after the lost one is worth waiting for: 20 ms.
const FOR_COPIES: i64 = 960;

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
    /// There too, but on a new timeline: what was before has no relation to it.
    Restarted(i64),
    /// Far from all others. If the next packet agrees with it, the sender has restarted; otherwise it is garbage.
    Suspect,
}

/// Watches transits and losses.
#[derive(Default)]
pub(super) struct Delay {
    transits: VecDeque<i64>,
    sorted: Vec<i64>,
    /// The newest timestamp, unwrapped.
    newest: Option<i64>,
    suspect: Option<i64>,
    /// Part of the packets that never came, over the last few hundred.
    loss: f32,
    waits_for_copies: bool,
}

impl Delay {
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
        self.learn(transit);
        Placed::At(unwrapped)
    }

    fn restart(&mut self, timestamp: i64, arrived: i64) {
        *self = Self {
            newest: Some(timestamp),
            loss: self.loss,
            waits_for_copies: self.waits_for_copies,
            ..Self::default()
        };
        self.learn(arrived - timestamp);
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
    }

    /// A packet was decoded, `lost` numbers after the one before it.
    pub(super) fn received(&mut self, lost: u16) {
        // More than a second's worth is a restart, not a loss.
        let lost = if lost > 50 { 0 } else { lost };
        for _ in 0..lost {
            self.loss += (1.0 - self.loss) / WINDOW as f32;
        }
        self.loss -= self.loss / WINDOW as f32;
        self.waits_for_copies = self.loss > if self.waits_for_copies { 0.005 } else { 0.015 };
    }

    /// The smallest transit of late.
    pub(super) fn base(&self) -> i64 {
        self.sorted.first().copied().unwrap_or(0)
    }

    /// The lag over the base that is worth having.
    pub(super) fn wanted(&self) -> i64 {
        let last = self.sorted.len().saturating_sub(1);
        let at = (self.sorted.len() * IN_TIME_PERCENT / 100).min(last);
        let spread = self.sorted.get(at).map_or(0, |transit| transit - self.base());
        (spread + MARGIN + if self.waits_for_copies { FOR_COPIES } else { 0 }).min(MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(run(40), MARGIN);
        assert_eq!(run(10), MARGIN + 2_000);
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

    #[test]
    fn losses_make_room_for_the_copies_and_a_clean_path_takes_it_back() {
        let mut delay = Delay::default();
        delay.place(0, 0);
        for i in 0..400 {
            delay.received(u16::from(i % 20 == 0));
        }
        assert_eq!(delay.wanted(), MARGIN + FOR_COPIES);
        for _ in 0..1_000 {
            delay.received(0);
        }
        assert_eq!(delay.wanted(), MARGIN);
    }
}
