//! How the connection to the far end is.

use std::{future::pending, time::Duration};

use tokio::time::{Instant, sleep_until};

/// How often it is looked whether anything arrives.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);
/// So many packets since the last look, or any at so many looks in a row: a flow. And none at so many after that: the path is
/// broken. Reports come once a second even when both are muted, and that is no flow that could cease.
const MANY: u64 = 5;
const FLOWS: u32 = 3;
const CEASED: u32 = 4;
/// How often it is looked on a path whose checks fail, and how often at most: a few checks may be lost in a row.
const DOUBT_INTERVAL: Duration = Duration::from_millis(500);
const MAX_LOOKS: u32 = 16;

/// How the connection to the far end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// Not yet described by both ends, or one end has not agreed.
    Idle,
    /// On its way up, until the deadline.
    Connecting(Instant),
    /// Checks of the path succeed, but are rare: that packets cease to arrive shows sooner.
    Up(Pulse),
    /// Checks of the path fail. Of a full path they are lost like everything else, and a restart would fill it more.
    Doubtful(Doubt),
    /// Nothing arrives, or checks failed for long.
    Broken(Pulse),
    Failed,
}

/// Whether packets arrive, whatever they carry. Looks are counted and not time: when this machine stalls, what arrived
/// meanwhile lies unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pulse {
    look_at: Instant,
    /// Packets that had arrived when it was last looked.
    arrived: u64,
    /// Looks in a row at which something had arrived, and at which nothing had.
    with: u32,
    without: u32,
}

/// Whether anything arrives although checks fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    look_at: Instant,
    looks: u32,
    /// Packets that had arrived when it was last looked.
    arrived: u64,
}

impl Link {
    /// The path works, and so many packets arrived so far.
    pub(super) fn up(arrived: u64) -> Self {
        Self::Up(Pulse::new(arrived))
    }

    /// Checks of the path fail, and so many packets arrived so far.
    pub(super) fn doubt(arrived: u64) -> Self {
        Self::Doubtful(Doubt { look_at: Instant::now() + DOUBT_INTERVAL, looks: 0, arrived })
    }

    /// Whether media is taken to get through.
    pub(super) fn is_up(self) -> bool {
        matches!(self, Self::Up(_) | Self::Doubtful(_))
    }

    pub(super) fn is_broken(self) -> bool {
        matches!(self, Self::Broken(_))
    }

    /// Returns when the link is to be judged anew.
    pub(super) async fn due(self) {
        match self {
            Self::Up(Pulse { look_at: at, .. })
            | Self::Broken(Pulse { look_at: at, .. })
            | Self::Connecting(at)
            | Self::Doubtful(Doubt { look_at: at, .. }) => sleep_until(at).await,
            Self::Idle | Self::Failed => pending().await,
        }
    }

    /// What the link is now that so many packets arrived. `restarting`: another path is being looked for, and whether it
    /// works is known when it is found.
    pub(super) fn look(self, arrived: u64, restarting: bool) -> Self {
        match self {
            // Nothing flows until it is found.
            Self::Up(_) if restarting => Self::up(arrived),
            Self::Up(pulse) => {
                let pulse = pulse.look(arrived);
                if pulse.has_ceased() { Self::Broken(Pulse::new(arrived)) } else { Self::Up(pulse) }
            }
            // It was a pause, which the checks did not notice.
            Self::Broken(pulse) if arrived != pulse.arrived && !restarting => Self::up(arrived),
            Self::Broken(pulse) => Self::Broken(pulse.look(arrived)),
            Self::Doubtful(doubt) => doubt.look(arrived),
            Self::Idle | Self::Connecting(_) | Self::Failed => self,
        }
    }
}

impl Pulse {
    fn new(arrived: u64) -> Self {
        Self { look_at: Instant::now() + LOOK_INTERVAL, arrived, with: 0, without: 0 }
    }

    fn look(self, arrived: u64) -> Self {
        let look_at = Instant::now() + LOOK_INTERVAL;
        let flowed = self.with >= FLOWS;
        let (with, without) = match (arrived == self.arrived, flowed) {
            (true, true) => (self.with, self.without + 1),
            (true, false) => (0, 0),
            (false, _) if arrived.saturating_sub(self.arrived) >= MANY => (FLOWS, 0),
            (false, _) if self.without > 1 => (1, 0),
            (false, _) => ((self.with + 1).min(FLOWS), 0),
        };
        Self { look_at, arrived, with, without }
    }

    /// Whether there was a flow that came to an end.
    fn has_ceased(self) -> bool {
        self.without >= CEASED
    }
}

impl Doubt {
    fn look(self, arrived: u64) -> Link {
        if arrived == self.arrived || self.looks + 1 >= MAX_LOOKS {
            return Link::Broken(Pulse::new(arrived));
        }
        Link::Doubtful(Self { look_at: self.look_at + DOUBT_INTERVAL, looks: self.looks + 1, arrived })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a link on which so many packets arrive before each look.
    async fn after(mut link: Link, arrivals: impl IntoIterator<Item = u64>) -> Link {
        let mut arrived = 0;
        for more in arrivals {
            link.due().await;
            arrived += more;
            link = link.look(arrived, false);
        }
        link
    }

    #[tokio::test(start_paused = true)]
    async fn a_path_whose_checks_fail_is_broken_when_nothing_arrives_or_they_fail_for_long() {
        let doubtful = after(Link::doubt(0), [1000, 1, 499]).await;
        assert!(doubtful.is_up());
        assert!(after(Link::doubt(0), [1000, 1, 0]).await.is_broken());
        assert!(after(Link::doubt(0), [1; MAX_LOOKS as usize - 1]).await.is_up());
        assert!(after(Link::doubt(0), [1; MAX_LOOKS as usize]).await.is_broken());
    }

    #[tokio::test(start_paused = true)]
    async fn a_flow_that_ceases_shows_within_one_and_a_half_seconds() {
        let start = Instant::now();
        let flowing = after(Link::up(0), [7; 10]).await;
        let flowed_for = start.elapsed();
        assert!(after(Link::up(0), [7; 10].into_iter().chain([0; 3])).await.is_up());
        assert!(after(Link::up(0), [1, 1, 1, 0, 0, 0, 0]).await.is_broken());
        assert!(after(Link::up(0), [9, 0, 0, 0, 0]).await.is_broken(), "it ended as soon as it had begun");
        assert!(after(Link::up(0), [4, 0, 0, 0, 0]).await.is_up(), "these were reports");
        let start = Instant::now();
        let mut link = flowing;
        while link.is_up() {
            link.due().await;
            link = link.look(70, false);
        }
        assert!(link.is_broken());
        assert!(start.elapsed() <= Duration::from_millis(1500), "{:?}", start.elapsed() - flowed_for);
    }

    #[tokio::test(start_paused = true)]
    async fn two_who_are_muted_are_not_lost() {
        // A flow, and then reports, one a second.
        let muted = [7; 10].into_iter().chain([0, 0, 0, 1].repeat(20)).chain([0; 40]);
        assert!(after(Link::up(0), muted).await.is_up());
    }

    #[tokio::test(start_paused = true)]
    async fn a_path_that_only_paused_works_again_unless_another_is_looked_for() {
        let broken = after(Link::up(0), [7; 10].into_iter().chain([0; 4])).await;
        assert!(broken.is_broken());
        broken.due().await;
        assert!(broken.look(70, false).is_broken(), "nothing came");
        assert!(broken.look(71, true).is_broken());
        assert!(broken.look(71, false).is_up());
        let about_to_break = after(Link::up(0), [7; 10].into_iter().chain([0; 3])).await;
        assert!(about_to_break.look(70, true).is_up() && about_to_break.look(70, false).is_broken());
    }
}
