use std::time::{Duration, Instant};

/// How often liveness is judged.
pub(super) const TICK: Duration = Duration::from_millis(200);

/// How much silence is how bad.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Silence for this long means that the other end is dead.
    pub(super) lost_after: Duration,
    /// How long the first frame of a connection may take.
    pub(super) first_frame_within: Duration,
}

impl Patience {
    pub(super) fn times(self, times: u32) -> Self {
        Self { lost_after: self.lost_after * times, first_frame_within: self.first_frame_within * times }
    }
}

/// For how long the other end has been silent *while we were able to listen*: when our own machine stalls, what the
/// other end sent meanwhile lies unread, and that is not its fault. Hence a tick that comes late counts as two at most.
#[derive(Debug)]
pub(super) struct Liveness {
    silent_for: Duration,
    heard_before: bool,
    ticked_at: Instant,
    patience: Patience,
}

impl Liveness {
    pub(super) fn new(now: Instant, patience: Patience) -> Self {
        Self { silent_for: Duration::ZERO, heard_before: false, ticked_at: now, patience }
    }

    /// Judges by this from now on.
    pub(super) fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
    }

    /// A frame came in.
    pub(super) fn heard(&mut self) {
        self.silent_for = Duration::ZERO;
        self.heard_before = true;
    }

    /// Whether the other end must be taken for dead. To be called every [`TICK`], after reading what has come in.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        self.silent_for += now.saturating_duration_since(self.ticked_at).min(2 * TICK);
        self.ticked_at = now;
        self.silent_for >= if self.heard_before { self.patience.lost_after } else { self.patience.first_frame_within }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::handler::Pace, *};

    fn near() -> Patience {
        Pace::Near.patience()
    }

    /// Ticks every 200 ms from `start` on, until dead; how long that took.
    fn time_to_die(liveness: &mut Liveness, start: Instant) -> Duration {
        (1..100).map(|i| TICK * i).find(|t| liveness.tick(start + *t)).unwrap()
    }

    #[test]
    fn silence_after_life_is_noticed_within_two_seconds() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start, near());
        liveness.heard();
        let died_after = time_to_die(&mut liveness, start);
        assert!(died_after > Duration::from_millis(1200), "three beats must be missed: {died_after:?}");
        assert!(died_after < Duration::from_secs(2), "{died_after:?}");
    }

    #[test]
    fn a_machine_that_stalls_does_not_declare_the_others_dead() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start, near());
        liveness.heard();
        assert!(!liveness.tick(start + Duration::from_secs(30)));
        assert!(!liveness.tick(start + Duration::from_secs(30) + TICK));
    }

    #[test]
    fn a_connection_on_which_nobody_ever_speaks_is_closed_after_two_seconds() {
        let start = Instant::now();
        assert_eq!(time_to_die(&mut Liveness::new(start, near()), start), Duration::from_secs(2));
    }

    #[test]
    fn through_a_relay_silence_is_noticed_within_seven_seconds() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start, Pace::Relayed.patience());
        liveness.heard();
        assert_eq!(time_to_die(&mut liveness, start), Duration::from_secs(7));
    }
}
