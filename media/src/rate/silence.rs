//! What to do while nothing is heard of what was sent: no report says that it was too much, but going on would be
//! flooding.

use std::time::{Duration, Instant};

use super::Outcome;

/// Pictures wait when more is on the way than is sent in two round trips and this time.
const UNHEARD: Duration = Duration::from_millis(300);
const MIN_WINDOW: usize = 6_000;
/// Before anything was heard at all no more is sent than a large picture with its voice, bytes.
const FIRST_WINDOW: usize = 48_000;
/// When a report is late (more than this, and so many times as late as usual: some are lost, and more on a path that loses
/// this part at all times), pictures are held until one comes, but for what is less than this on the way. No more is concluded
/// from it: where reports get lost, it happens all the time.
const LATE: Duration = Duration::from_millis(120);
const LATE_REPORTS: u32 = 3;
const LOSSY: f32 = 0.15;
const LATE_REPORTS_IF_LOSSY: u32 = 5;
pub(super) const SILENT_WINDOW: usize = MIN_WINDOW;
/// Still for so long, when those that come are late; and for so long every packet counts.
pub(super) const HELD_ON: Duration = Duration::from_millis(120);
pub(super) const SUSPICION: Duration = Duration::from_millis(600);
/// Without a report for so long (or four round trips, or as many times as long as reports are apart: some are lost) only
/// the voice is sent.
const SILENCE: Duration = Duration::from_millis(400);
const REPORTS: u32 = 6;
/// When reports come again, on all that left meanwhile, and no more than this part was lost beyond the usual, it was no
/// congestion (a machine stood still, or the way back did not work): the rate is at once this part of what it was.
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

/// Without a report for longer than this, pictures are held. `apart`: how far reports come from each other; `loss`: the part
/// of packets that the path usually loses.
pub(super) fn patience(apart: Duration, loss: f32) -> Duration {
    LATE.max(apart * if loss > LOSSY { LATE_REPORTS_IF_LOSSY } else { LATE_REPORTS })
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
    /// Whether there is one. `since`: when the first packet left of which nothing is heard; `apart`: how far reports
    /// come from each other.
    pub(super) fn begins(now: Instant, since: Instant, bps: f32, loop_time: Duration, apart: Duration) -> Option<Self> {
        let patience = SILENCE.max(loop_time * 4).max(apart * REPORTS);
        (now.saturating_duration_since(since) > patience).then_some(Self { since, noticed: now, before: bps })
    }

    /// What the rate may be at once now that a report came, bits per second. `usual`: the part that this path loses.
    pub(super) fn ended(self, outcomes: &[Outcome], usual: f32) -> f32 {
        let lost = outcomes.iter().filter(|outcome| outcome.arrived_us.is_none()).count();
        let few = lost as f32 <= outcomes.len() as f32 * (FEW_LOST + usual * 1.5);
        let mut arrived = outcomes.iter().filter(|outcome| outcome.arrived_us.is_some());
        let all = arrived.next().is_some_and(|first| first.sent <= self.since + FIRST)
            && arrived.next_back().is_some_and(|last| last.sent + FIRST >= self.noticed);
        self.before * if few && all { UNHARMED } else { CAREFUL }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do")]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn reports_that_are_rare_and_get_lost_are_waited_for() {
        let start = Instant::now();
        let begins = |ms: u32, apart: u32| Silence::begins(start + ms * MS, start, 1e6, 50 * MS, apart * MS).is_some();
        assert_eq!(
            [(390, 50), (410, 50), (800, 150), (910, 150)].map(|(ms, apart)| begins(ms, apart)),
            [false, true, false, true]
        );
    }

    #[test]
    fn what_a_path_loses_at_all_times_was_not_lost_to_the_silence() {
        let start = Instant::now();
        let silence = Silence::begins(start + 500 * MS, start, 1e6, 50 * MS, 50 * MS).expect("nothing was heard");
        let outcomes: Vec<_> = (0..100)
            .map(|at| Outcome {
                sent: start + at * 6 * MS,
                arrived_us: (at % 10 > 2).then_some(i64::from(at)),
                bytes: 200,
            })
            .filter(|outcome| outcome.arrived_us.is_some() || outcome.sent > start + 10 * MS)
            .collect();
        let rate = |usual| silence.ended(&outcomes, usual);
        assert_eq!([0.0, 0.3].map(|usual| (rate(usual) / 1e4) as u32), [15, 70]);
    }
}
