use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use parlor_net::{CallId, PeerId};

/// What the machine remembers of calls that are over, so that nothing old or excessive bothers the person. All of it is
/// bounded; when full, the oldest is forgotten.
#[derive(Debug, Default)]
pub(super) struct Past {
    ids: VecDeque<CallId>,
    missed: VecDeque<(PeerId, Instant)>,
    rings: VecDeque<Instant>,
}

impl Past {
    /// Ids that can't be used again.
    const IDS: usize = 128;
    /// Callers of whom the person was told that they called while we were busy.
    const MISSED: usize = 32;
    /// How long nobody is told of the same caller again.
    const MISSED_QUIET: Duration = Duration::from_secs(5);
    /// Rings without an acceptance, within [`Self::RINGS_WITHIN`], before further callers get busy at once.
    const RINGS: usize = 10;
    const RINGS_WITHIN: Duration = Duration::from_secs(10);

    /// This id was used.
    pub(super) fn remember(&mut self, call: CallId) {
        if !self.knows(call) {
            push_bounded(&mut self.ids, call, Self::IDS);
        }
    }

    pub(super) fn knows(&self, call: CallId) -> bool {
        self.ids.contains(&call)
    }

    /// Somebody called while we were busy. `true`: the person should be told.
    pub(super) fn missed(&mut self, now: Instant, peer: PeerId) -> bool {
        self.missed.retain(|&(_, at)| now.saturating_duration_since(at) < Self::MISSED_QUIET);
        let news = self.missed.iter().all(|&(known, _)| known != peer);
        if news {
            push_bounded(&mut self.missed, (peer, now), Self::MISSED);
        }
        news
    }

    /// It begins to ring.
    pub(super) fn rang(&mut self, now: Instant) {
        push_bounded(&mut self.rings, now, Self::RINGS);
    }

    /// The person accepted a call: whoever calls is welcome again.
    pub(super) fn accepted(&mut self) {
        self.rings.clear();
    }

    /// It rang so often in vain lately that the person is left in peace for some seconds. Keys are free, so this counts
    /// over all callers.
    pub(super) fn rings_too_often(&self, now: Instant) -> bool {
        self.rings.len() == Self::RINGS
            && self.rings.front().is_some_and(|&at| now.saturating_duration_since(at) < Self::RINGS_WITHIN)
    }
}

fn push_bounded<T>(queue: &mut VecDeque<T>, item: T, capacity: usize) {
    if queue.len() == capacity {
        queue.pop_front();
    }
    queue.push_back(item);
}
