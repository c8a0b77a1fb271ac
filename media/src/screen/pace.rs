//! When a shared screen is looked at, and when what it shows is sent: when it changed, a little while after so that the
//! picture gets sharp, and now and then in any case.

use std::time::{Duration, Instant};

/// How often a screen is looked at, at most: 15 times a second.
const ACTIVE: Duration = Duration::from_micros(66_667);
/// How often one is looked at that has not changed for [`CALM_AFTER`].
const CALM: Duration = Duration::from_millis(125);
const CALM_AFTER: Duration = Duration::from_secs(3);
/// What changed is coded coarsely at first. The same picture again and again, for so long, lets the encoder refine it.
const REFINING: Duration = Duration::from_millis(2_000);
/// A picture that does not change is sent so often: somebody may have lost a part of it, and it shows that all is well.
const KEEP_EVERY: Duration = Duration::from_millis(1_000);

/// The pace of one shared screen.
#[derive(Debug, Default)]
pub(super) struct Pace {
    changed: Option<Instant>,
    sent: Option<Instant>,
}

impl Pace {
    /// Whether a picture that was taken now is to be sent. `changed`: it is another than the last.
    pub(super) fn is_due(&mut self, now: Instant, changed: bool) -> bool {
        if changed {
            self.changed = Some(now);
        }
        let since = |at: Option<Instant>| at.map_or(Duration::MAX, |at| now.saturating_duration_since(at));
        let due = since(self.changed) < REFINING || since(self.sent) >= KEEP_EVERY;
        if due {
            self.sent = Some(now);
        }
        due
    }

    /// When to look next, after a look that began at `looked`.
    pub(super) fn next(&self, looked: Instant) -> Instant {
        let calm = self.changed.is_some_and(|at| looked.saturating_duration_since(at) > CALM_AFTER);
        looked + if calm { CALM } else { ACTIVE }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do")]
mod tests {
    use super::*;

    /// What is sent in each second of a screen that changes at these milliseconds.
    fn sent(seconds: u64, changes: impl Fn(u128) -> bool) -> Vec<usize> {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let mut sent = vec![0; seconds as usize];
        let mut at = start;
        while at < start + Duration::from_secs(seconds) {
            let elapsed = at - start;
            if pace.is_due(at, changes(elapsed.as_millis())) {
                sent[elapsed.as_secs() as usize] += 1;
            }
            at = pace.next(at);
        }
        sent
    }

    #[test]
    fn what_changes_is_sent_at_once_fifteen_times_a_second() {
        assert!(sent(4, |_| true).iter().all(|frames| (14..=16).contains(frames)));
    }

    #[test]
    fn what_stands_gets_sharp_and_is_then_sent_once_a_second() {
        let sent = sent(10, |ms| ms == 0);
        assert!(sent[0] >= 14 && sent[1] >= 14, "{sent:?}");
        assert!(sent[4..].iter().all(|frames| (0..=1).contains(frames)), "{sent:?}");
        assert!(sent[4..].iter().sum::<usize>() >= 5, "{sent:?}");
    }

    #[test]
    fn a_calm_screen_is_followed_again_when_it_changes() {
        let sent = sent(12, |ms| ms == 0 || ms >= 8_000);
        assert!(sent[6] <= 1 && sent[9] >= 14, "{sent:?}");
    }
}
