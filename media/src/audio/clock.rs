//! Absolute deadlines, 10 ms apart, for sound that no device paces.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How far the deadlines may lie in the past before they are given up and start anew.
const GIVE_UP: Duration = Duration::from_secs(1);

const STEP: Duration = Duration::from_millis(10);

/// The next deadline. A late thread catches up piece by piece, so that the count of pieces follows real time.
#[derive(Debug)]
pub(crate) struct PieceClock {
    due: Instant,
}

impl PieceClock {
    pub(crate) fn new(now: Instant) -> Self {
        Self { due: now }
    }

    /// How long until a piece is due, if `patience` is granted on top: zero when it is.
    pub(crate) fn wait(&self, now: Instant, patience: Duration) -> Duration {
        (self.due + patience).saturating_duration_since(now)
    }

    /// Moves on by one piece. Returns the pieces that were skipped because the thread stood still for too long.
    pub(crate) fn tick(&mut self, now: Instant) -> u32 {
        let behind = now.saturating_duration_since(self.due);
        self.due += STEP;
        if behind < GIVE_UP {
            return 0;
        }
        let skipped = u32::try_from(behind.as_millis() / STEP.as_millis()).unwrap_or(u32::MAX / 1000);
        self.due += STEP * skipped;
        skipped
    }

    /// A device delivered or took a piece at `now`: deadlines follow it.
    pub(crate) fn follow(&mut self, now: Instant) {
        self.due = now + STEP;
    }
}

/// The time, for audio threads.
#[expect(clippy::disallowed_methods, reason = "audio threads run in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Sleeps at most `duration`; [`thread::Thread::unpark`] wakes earlier.
pub(crate) fn doze(duration: Duration) {
    thread::park_timeout(duration);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_thread_catches_up_without_losing_pieces() {
        let start = now();
        let mut clock = PieceClock::new(start);
        let late = start + Duration::from_millis(95);
        let mut pieces = 0;
        while clock.wait(late, Duration::ZERO).is_zero() {
            assert_eq!(clock.tick(late), 0);
            pieces += 1;
        }
        assert_eq!(pieces, 10);
        assert_eq!(clock.wait(late, Duration::ZERO), Duration::from_millis(5));
    }

    #[test]
    fn a_thread_that_stood_still_skips_what_it_missed_and_says_so() {
        let start = now();
        let mut clock = PieceClock::new(start);
        let woken = start + Duration::from_secs(60);
        assert_eq!(clock.tick(woken), 6000);
        assert_eq!(clock.wait(woken, Duration::ZERO), STEP);
    }
}
