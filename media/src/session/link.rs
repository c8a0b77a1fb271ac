//! How the connection to the far end is.

use std::{future::pending, time::Duration};

use tokio::time::{Instant, sleep_until};

/// How often it is looked whether anything arrives on a path whose checks fail, and how often at most.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
const MAX_LOOKS: u32 = 8;

/// How the connection to the far end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// Not yet described by both ends, or one end has not agreed.
    Idle,
    /// On its way up, until the deadline.
    Connecting(Instant),
    Up,
    /// Checks of the path fail. Of a full path they are lost like everything else, and a restart would fill it more.
    Doubtful(Doubt),
    Broken,
    Failed,
}

/// Whether anything arrives nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    look_at: Instant,
    looks: u32,
    /// Bytes that had arrived when it was last looked.
    received: u64,
}

impl Link {
    /// Checks of the path fail, and so many bytes of media arrived so far.
    pub(super) fn doubt(received: u64) -> Self {
        Self::Doubtful(Doubt { look_at: Instant::now() + LOOK_INTERVAL, looks: 0, received })
    }

    /// Whether media is taken to get through.
    pub(super) fn is_up(self) -> bool {
        matches!(self, Self::Up | Self::Doubtful(_))
    }

    /// Returns when the link is to be judged anew.
    pub(super) async fn due(self) {
        match self {
            Self::Connecting(at) | Self::Doubtful(Doubt { look_at: at, .. }) => sleep_until(at).await,
            Self::Idle | Self::Up | Self::Broken | Self::Failed => pending().await,
        }
    }
}

impl Doubt {
    /// What the link is now that so many bytes arrived.
    pub(super) fn look(self, received: u64) -> Link {
        if received == self.received || self.looks + 1 >= MAX_LOOKS {
            return Link::Broken;
        }
        Link::Doubtful(Self { look_at: self.look_at + LOOK_INTERVAL, looks: self.looks + 1, received })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_path_whose_checks_fail_is_broken_when_nothing_arrives_or_they_fail_for_long() {
        let mut link = Link::doubt(1_000);
        for received in [2_000, 2_001, 2_500] {
            link.due().await;
            let Link::Doubtful(doubt) = link else { panic!("{link:?}") };
            link = doubt.look(received);
            assert!(link.is_up());
        }
        let Link::Doubtful(doubt) = link else { panic!("{link:?}") };
        assert_eq!(doubt.look(2_500), Link::Broken);

        let mut looks = 0;
        let mut received = 2_500;
        while let Link::Doubtful(doubt) = link {
            (looks, received) = (looks + 1, received + 1);
            link = doubt.look(received);
        }
        assert_eq!((link, looks), (Link::Broken, MAX_LOOKS - 3));
    }
}
