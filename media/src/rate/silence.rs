//! What to do while nothing is heard of what was sent: no report says that it was too much, but going on would be
//! flooding.

use std::time::{Duration, Instant};

use super::Outcome;

/// Pictures wait when more is on the way than is sent in two round trips and this time.
const UNHEARD: Duration = Duration::from_millis(300);
const MIN_WINDOW: usize = 6_000;
/// Before anything was heard at all no more is sent than a large picture with its voice, bytes.
const FIRST_WINDOW: usize = 48_000;
/// Without a report for so long (or four round trips) only the voice is sent.
const SILENCE: Duration = Duration::from_millis(400);
/// When reports come again, on all that left meanwhile, and no more than this part was lost, it was no congestion (a
/// machine stood still, or the way back did not work): the rate is at once this part of what it was.
const FIRST: Duration = Duration::from_millis(100);
const FEW_LOST: f32 = 0.1;
const UNHARMED: f32 = 0.7;
/// Otherwise this part: the path was away, or is another one now.
const CAREFUL: f32 = 0.15;

/// How many bytes may be on the way at once. `loop_time`: `None` before the first report.
pub(super) fn window(bps: f32, loop_time: Option<Duration>) -> usize {
    loop_time.map_or(FIRST_WINDOW, |loop_time| {
        let time = loop_time * 2 + UNHEARD;
        MIN_WINDOW.max((bps * time.as_secs_f32() / 8.0) as usize)
    })
}

/// A time without reports.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    /// When the first packet left of which nothing is heard.
    since: Instant,
    noticed: Instant,
    /// What the rate was before, bits per second.
    before: f32,
}

impl Silence {
    /// Whether there is one. `since`: when the first packet left of which nothing is heard.
    pub(super) fn begins(now: Instant, since: Instant, bps: f32, loop_time: Duration) -> Option<Self> {
        let patience = SILENCE.max(loop_time * 4);
        (now.saturating_duration_since(since) > patience).then_some(Self { since, noticed: now, before: bps })
    }

    /// What the rate may be at once now that a report came, bits per second.
    pub(super) fn ended(self, outcomes: &[Outcome]) -> f32 {
        let lost = outcomes.iter().filter(|outcome| outcome.arrived_us.is_none()).count();
        let few = lost as f32 <= outcomes.len() as f32 * FEW_LOST;
        let mut arrived = outcomes.iter().filter(|outcome| outcome.arrived_us.is_some());
        let all = arrived.next().is_some_and(|first| first.sent <= self.since + FIRST)
            && arrived.next_back().is_some_and(|last| last.sent + FIRST >= self.noticed);
        self.before * if few && all { UNHARMED } else { CAREFUL }
    }
}
