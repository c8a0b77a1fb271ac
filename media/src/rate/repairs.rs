//! Which retransmissions are worth sending: not those of a picture that was given up, and none twice in a round trip.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Retransmissions that are remembered.
const MAX_SENT: usize = 512;
/// A packet may be sent again after a round trip divided by this: on paths that lose much, requests for one packet come
/// more often than that, and several copies on the way are worth more than a picture that stands.
const AGAIN_AFTER: u32 = 2;
const SHORTEST_WAIT: Duration = Duration::from_millis(15);

/// What was retransmitted, and what never will be.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    /// Sequence number of the picture's packet that was last given up.
    given_up: Option<u16>,
    /// Newest last.
    sent: VecDeque<(u16, Instant)>,
}

impl Repairs {
    /// The pictures up to this packet are not needed any more: a key frame follows.
    pub(crate) fn give_up(&mut self, last: u16) {
        self.given_up = Some(last);
        self.sent.clear();
    }

    /// A picture's packet leaves for the first time.
    pub(crate) fn first_sent(&mut self, sequence: u16) {
        // Far enough ahead, old numbers would seem new.
        if self.given_up.is_some_and(|last| sequence.wrapping_sub(last) > 1 << 14) {
            self.given_up = None;
        }
    }

    /// Whether to send a packet again now.
    pub(crate) fn is_worth(&mut self, now: Instant, sequence: u16, rtt: Duration) -> bool {
        if self.given_up.is_some_and(|last| last.wrapping_sub(sequence) < 1 << 14) {
            return false;
        }
        let wait = (rtt / AGAIN_AFTER).max(SHORTEST_WAIT);
        let lately = |&(number, at): &(u16, Instant)| number == sequence && now.saturating_duration_since(at) < wait;
        if self.sent.iter().rev().any(lately) {
            return false;
        }
        if self.sent.len() == MAX_SENT {
            self.sent.pop_front();
        }
        self.sent.push_back((sequence, now));
        true
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do")]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_packet_is_repaired_once_in_half_a_round_trip() {
        let (mut repairs, start) = (Repairs::default(), Instant::now());
        let worth = (0..200).filter(|&ms| repairs.is_worth(start + ms * MS, 7, 100 * MS)).collect::<Vec<_>>();
        assert_eq!(worth, [0, 50, 100, 150]);
        assert!(repairs.is_worth(start + 200 * MS, 8, 100 * MS));
    }

    #[test]
    fn what_was_given_up_is_not_repaired_and_what_follows_is() {
        let (mut repairs, now) = (Repairs::default(), Instant::now());
        repairs.give_up(2);
        for (sequence, worth) in [(65_530, false), (2, false), (3, true), (400, true)] {
            assert_eq!(repairs.is_worth(now, sequence, MS), worth, "{sequence}");
        }
        repairs.first_sent(3);
        repairs.first_sent(30_000);
        assert!(repairs.is_worth(now, 1, MS), "numbers begin anew");
    }

    #[test]
    fn memory_is_bounded() {
        let (mut repairs, now) = (Repairs::default(), Instant::now());
        for sequence in 0..60_000 {
            repairs.is_worth(now, sequence, MS);
        }
        assert_eq!(repairs.sent.len(), MAX_SENT);
    }
}
