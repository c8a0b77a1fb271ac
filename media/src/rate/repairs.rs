//! Which retransmissions are worth sending, and how often: not those of a picture that was given up, none twice in a
//! round trip, but copies of each where they get lost as well.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Retransmissions that are remembered.
const MAX_SENT: usize = 512;
/// A packet may be sent again after a round trip divided by this: requests that come sooner are copies of the first.
const AGAIN_AFTER: u32 = 2;
const SHORTEST_WAIT: Duration = Duration::from_millis(20);
/// Between two copies of a retransmission: bursts of losses are to be over.
pub(crate) const BETWEEN_COPIES: Duration = Duration::from_millis(8);
/// From these losses on, a request and its answer go two times, and three. One that is lost costs a round trip, and
/// pictures that stand for as long: with these, less than one in a hundred is.
const TWICE: f32 = 0.015;
const THRICE: f32 = 0.12;

/// How often a request or a retransmission goes where this part of packets is lost by accident.
pub(crate) fn copies(loss: f32) -> u8 {
    1 + u8::from(loss >= TWICE) + u8::from(loss >= THRICE)
}

/// What repairs take where this part of packets is lost by accident, as a part of what is repaired.
pub(crate) fn repair_ratio(loss: f32) -> f32 {
    loss * f32::from(copies(loss))
}

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
    fn where_much_is_lost_repairs_take_more() {
        assert_eq!([0.0, 0.01, 0.05, 0.1, 0.2, 0.3, f32::NAN].map(copies), [1, 1, 2, 2, 3, 3, 1]);
        assert!((repair_ratio(0.2) - 0.6).abs() < 1e-6);
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
