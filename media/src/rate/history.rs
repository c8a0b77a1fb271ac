//! What was sent, by transport-wide sequence number, until the far end reports on it.
//! (<https://datatracker.ietf.org/doc/html/draft-holmer-rmcat-transport-wide-cc-extensions-01>)

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::Outcome;

/// Packets on the way, or lost without a word: 4 Mbit/s for ten seconds.
const MAX_PACKETS: usize = 4_096;

/// What a report says of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Transport-wide sequence number.
    pub(crate) sequence: u16,
    /// When it arrived, microseconds on the far end's clock (which wraps with the reports'); `None`: it did not.
    pub(crate) at_us: Option<i64>,
}

/// Packets that were sent and not reported on.
#[derive(Debug)]
pub(crate) struct History {
    next: u16,
    /// The oldest is number `next - len`.
    sent: VecDeque<Sent>,
    /// Of the far end's reports, unwrapped.
    last_reference_us: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Instant,
    bytes: u32,
    reported: bool,
    /// Lost, or too late, though nobody said so yet.
    given_up: bool,
}

/// The clock in reports has 24 bits of 64 ms.
const CLOCK_PERIOD_US: i64 = (1 << 24) * 64_000;

impl History {
    pub(crate) fn new(first: u16) -> Self {
        Self { next: first, sent: VecDeque::new(), last_reference_us: None }
    }

    /// Numbers a packet that leaves now.
    pub(crate) fn send(&mut self, now: Instant, bytes: u32) -> u16 {
        let sequence = self.next;
        self.next = sequence.wrapping_add(1);
        self.sent.push_back(Sent { at: now, bytes, reported: false, given_up: false });
        if self.sent.len() > MAX_PACKETS {
            self.sent.pop_front();
        }
        sequence
    }

    /// When the oldest packet left of those that were sent after `heard` and not reported on.
    pub(crate) fn waiting_since(&self, heard: Option<Instant>) -> Option<Instant> {
        let waiting = self.sent.iter().filter(|sent| !sent.reported && heard.is_none_or(|heard| sent.at > heard));
        waiting.map(|sent| sent.at).next()
    }

    /// Bytes that are on the way, as far as is known: what left after the newest packet that was reported on. Reports get
    /// lost as well.
    pub(crate) fn in_flight(&self) -> usize {
        self.sent.iter().rev().take_while(|sent| !sent.reported && !sent.given_up).map(|sent| sent.bytes as usize).sum()
    }

    /// Looks up what a report is about. `reference_us` is the time that the report's arrivals are relative to. Packets
    /// that were not sent, or reported on before, are passed over.
    pub(crate) fn report(&mut self, reference_us: i64, arrivals: &[Arrival], outcomes: &mut Vec<Outcome>) {
        let reference_us = self.unwrap_reference(reference_us);
        outcomes.clear();
        for arrival in arrivals {
            let Some(sent) = self.lookup(arrival.sequence) else { continue };
            if sent.reported {
                continue;
            }
            sent.reported = true;
            let (at, bytes) = (sent.at, sent.bytes);
            let arrived_us = arrival.at_us.map(|at_us| reference_us + at_us);
            outcomes.push(Outcome { sent: at, arrived_us, bytes });
        }
        while self.sent.front().is_some_and(|sent| sent.reported) {
            self.sent.pop_front();
        }
    }

    /// What is on the way doesn't count any more: most of it is lost. Reports on it are of use.
    pub(crate) fn give_up(&mut self) {
        self.sent.iter_mut().for_each(|sent| sent.given_up = true);
    }

    /// Forgets all that was sent.
    pub(crate) fn forget(&mut self) {
        self.sent.clear();
    }

    /// Gives up on what was sent long ago.
    pub(crate) fn expire(&mut self, now: Instant, life: Duration) {
        while self.sent.front().is_some_and(|sent| now.saturating_duration_since(sent.at) > life) {
            self.sent.pop_front();
        }
    }

    fn lookup(&mut self, sequence: u16) -> Option<&mut Sent> {
        let behind = usize::from(self.next.wrapping_sub(sequence));
        let index = self.sent.len().checked_sub(behind)?;
        self.sent.get_mut(index)
    }

    fn unwrap_reference(&mut self, reference_us: i64) -> i64 {
        let last = *self.last_reference_us.get_or_insert(reference_us);
        let ahead = (reference_us - last).rem_euclid(CLOCK_PERIOD_US);
        let ahead = if ahead > CLOCK_PERIOD_US / 2 { ahead - CLOCK_PERIOD_US } else { ahead };
        self.last_reference_us = Some(last + ahead);
        last + ahead
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "packets need a time; any will do")]
mod tests {
    use super::*;

    fn arrival(sequence: u16, at_us: i64) -> Arrival {
        Arrival { sequence, at_us: Some(at_us) }
    }

    #[test]
    fn a_report_finds_what_was_sent_once_and_over_wraps() {
        let (mut history, now) = (History::new(65_534), Instant::now());
        let numbers = (0..4).map(|i| history.send(now, 100 + i)).collect::<Vec<_>>();
        assert_eq!(numbers, [65_534, 65_535, 0, 1]);
        assert_eq!(history.in_flight(), 406);
        let mut outcomes = Vec::new();
        let lost = Arrival { sequence: 65_535, at_us: None };
        history.report(0, &[arrival(65_534, 5), lost, arrival(0, 7), arrival(0, 7), arrival(500, 1)], &mut outcomes);
        let got = outcomes.iter().map(|outcome| (outcome.bytes, outcome.arrived_us)).collect::<Vec<_>>();
        assert_eq!(got, [(100, Some(5)), (101, None), (102, Some(7))]);
        assert_eq!(history.in_flight(), 103);
        history.report(0, &[arrival(65_534, 5), arrival(1, 9)], &mut outcomes);
        assert_eq!(outcomes.len(), 1);
        assert_eq!(history.in_flight(), 0);
    }

    #[test]
    fn the_clock_of_reports_goes_on_over_its_wrap() {
        let (mut history, now) = (History::new(0), Instant::now());
        let mut outcomes = Vec::new();
        let mut at = |reference_us| {
            let sequence = history.send(now, 1);
            history.report(reference_us, &[arrival(sequence, 0)], &mut outcomes);
            outcomes[0].arrived_us
        };
        assert_eq!(at(CLOCK_PERIOD_US - 64_000), Some(CLOCK_PERIOD_US - 64_000));
        assert_eq!(at(64_000), Some(CLOCK_PERIOD_US + 64_000));
        assert_eq!(at(CLOCK_PERIOD_US - 64_000), Some(CLOCK_PERIOD_US - 64_000));
    }

    #[test]
    fn memory_is_bounded_when_nothing_is_reported() {
        let (mut history, now) = (History::new(0), Instant::now());
        for _ in 0..100_000 {
            history.send(now, 1);
        }
        assert_eq!(history.in_flight(), MAX_PACKETS);
        history.expire(now + Duration::from_secs(3), Duration::from_secs(2));
        assert_eq!(history.in_flight(), 0);
    }
}
