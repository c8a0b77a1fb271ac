//! How the node is doing, for whoever looks for a fault.

use std::time::{Duration, Instant};

use super::{ClientId, Effect, Registry};
use crate::directory::NodeStatus;

/// How old the told number of people may become. A new one at every request would show somebody come or go whenever the
/// true number crosses the limit between two told ones.
const COUNT_EVERY: Duration = Duration::from_secs(300);

/// About how many people are online. Anyone may ask, and whoever sits alone on a small node, or shares it with one
/// friend, must not be given away by it: so it is told with one significant digit, nothing below ten, and seldom anew.
pub(super) struct RoughCount {
    told: u32,
    again_at: Instant,
}

impl RoughCount {
    pub(super) fn new(now: Instant) -> Self {
        Self { told: 0, again_at: now }
    }

    fn of(&mut self, now: Instant, users: usize) -> u32 {
        if now >= self.again_at {
            self.told = one_digit(users);
            self.again_at = now + COUNT_EVERY;
        }
        self.told
    }
}

/// Rounded down to one significant digit; fewer than ten are none.
fn one_digit(users: usize) -> u32 {
    let users = u32::try_from(users).unwrap_or(u32::MAX);
    match users.checked_ilog10() {
        Some(digits @ 1..) => users - users % 10_u32.pow(digits),
        Some(0) | None => 0,
    }
}

impl Registry {
    /// At how many of our addresses other nodes have reached us, and at how many they have not.
    pub(in crate::node) fn set_reached(&mut self, yes: usize, no: usize) {
        let few = |count| u32::try_from(count).unwrap_or(u32::MAX);
        self.reached = Some((few(yes), few(no))).filter(|reached| *reached != (0, 0));
    }

    pub(super) fn status(&mut self, now: Instant, client: ClientId) {
        let status = NodeStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: now.saturating_duration_since(self.started).as_secs(),
            unix_ms: 0,
            about_online: Some(self.rough_count.of(now, self.users)),
            max_online: u32::try_from(self.terms.users).unwrap_or(u32::MAX),
            max_in_place: u32::try_from(self.terms.place_members).unwrap_or(u32::MAX),
            reached: self.reached,
        };
        self.effects.push_back(Effect::TellStatus { client, status });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_has_one_digit_and_a_few_people_are_none() {
        let table = [(0, 0), (1, 0), (9, 0), (10, 10), (19, 10), (20, 20), (99, 90), (100, 100), (9_876, 9_000)];
        for (users, told) in table {
            assert_eq!(one_digit(users), told, "{users}");
        }
        assert_eq!(one_digit(usize::MAX), 4_000_000_000);
    }

    #[test]
    fn nobody_is_seen_to_come_or_go_by_the_count() {
        let start = Instant::now();
        let mut count = RoughCount::new(start);
        assert_eq!(count.of(start, 20), 20);
        assert_eq!(count.of(start + COUNT_EVERY / 2, 19), 20, "the one who left is not given away");
        assert_eq!(count.of(start + COUNT_EVERY, 19), 10);
    }
}
