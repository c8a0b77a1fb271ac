//! A device that is gone: how soon it is looked for again, when another may take its place, and when that is told. Pure.

use std::time::{Duration, Instant};

/// How often a device that stays away is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// For so long the very device is waited for: a headset that changes its profile, and with it its rate, is gone for a
/// moment, and nobody wants to hear of that, nor another microphone meanwhile.
const ALONE: Duration = Duration::from_millis(150);

/// From then on it is gone in earnest.
const MOMENT: Duration = Duration::from_millis(600);

/// A device that is gone, and since when.
#[derive(Debug)]
pub(super) struct Outage {
    since: Instant,
    detail: String,
}

impl Outage {
    /// One that worked until now.
    pub(super) const fn new(now: Instant, detail: String) -> Self {
        Self { since: now, detail }
    }

    /// One that was never there.
    pub(super) fn from_the_start(now: Instant, detail: String) -> Self {
        Self { since: now.checked_sub(LOOK_EVERY).unwrap_or(now), detail }
    }

    /// What the device, or the system, said of it.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Whether another device may take its place.
    pub(super) fn others_may(&self, now: Instant) -> bool {
        self.age(now) >= ALONE
    }

    /// Whether it is worth telling.
    pub(super) fn counts(&self, now: Instant) -> bool {
        self.age(now) >= MOMENT
    }

    /// How long until it is looked for again.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let age = self.age(now);
        if age < MOMENT {
            Duration::from_millis(20)
        } else if age < LOOK_EVERY {
            Duration::from_millis(250)
        } else {
            LOOK_EVERY
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::clock;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_device_that_is_back_at_once_is_neither_replaced_nor_missed() {
        let start = clock::now();
        let outage = Outage::new(start, String::new());
        assert!(!outage.others_may(start + 100 * MS) && !outage.counts(start + 100 * MS));
        assert!(outage.wait(start + 100 * MS) <= 20 * MS, "it is waited for eagerly");
    }

    #[test]
    fn a_device_that_stays_away_is_replaced_then_missed_then_looked_for_now_and_then() {
        let start = clock::now();
        let outage = Outage::new(start, String::new());
        assert!(outage.others_may(start + 200 * MS), "others hear us within 200 ms");
        assert!(outage.counts(start + 600 * MS));
        assert_eq!(outage.wait(start + 60_000 * MS), LOOK_EVERY);
    }

    #[test]
    fn a_device_that_was_never_there_is_replaced_at_once() {
        let start = clock::now();
        let outage = Outage::from_the_start(start, String::new());
        assert!(outage.others_may(start) && outage.counts(start));
        assert_eq!(outage.wait(start), LOOK_EVERY);
    }
}
