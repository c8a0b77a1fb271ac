//! Whom to dial through nodes' relays, and when again. Pure: time goes in.
//!
//! Only somebody whom a call waits for is dialled so, and only for as long as the call waits.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::PeerId;

/// For how long: after that, signalling has given up.
const TRY_FOR: Duration = Duration::from_secs(4);

/// The pause after a failed attempt: a node may be restarting, the other side may be about to listen on it.
const PAUSE: Duration = Duration::from_millis(300);

/// How many people at a time. More: calls to them fail.
const MAX_PEERS: usize = 64;

#[derive(Debug)]
struct Attempt {
    until: Instant,
    /// When to dial; `None` while dialling.
    at: Option<Instant>,
}

/// Whom to dial through nodes.
#[derive(Debug, Default)]
pub(crate) struct Relayed {
    wanted: HashMap<PeerId, Attempt>,
}

impl Relayed {
    /// A call waits for `peer`. Whether they are tried.
    pub(crate) fn wanted(&mut self, now: Instant, peer: PeerId) -> bool {
        if self.wanted.len() >= MAX_PEERS && !self.wanted.contains_key(&peer) {
            return false;
        }
        let attempt = self.wanted.entry(peer).or_insert(Attempt { until: now, at: Some(now) });
        attempt.until = now + TRY_FOR;
        true
    }

    /// They are connected, or not wanted any more.
    pub(crate) fn forget(&mut self, peer: &PeerId) {
        self.wanted.remove(peer);
    }

    /// An attempt failed. Whether there will be another one.
    pub(crate) fn failed(&mut self, now: Instant, peer: PeerId) -> bool {
        let Some(attempt) = self.wanted.get_mut(&peer) else { return false };
        let again = now + PAUSE;
        if again >= attempt.until {
            self.wanted.remove(&peer);
            return false;
        }
        attempt.at = Some(again);
        true
    }

    /// A way has opened: whoever waits for the next attempt is tried now.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.wanted.values_mut().filter_map(|attempt| attempt.at.as_mut()).for_each(|at| *at = now);
    }

    /// Whom to dial now.
    pub(crate) fn poll_dial(&mut self, now: Instant) -> Option<PeerId> {
        let (peer, attempt) = self.wanted.iter_mut().find(|(_, attempt)| attempt.at.is_some_and(|at| at <= now))?;
        attempt.at = None;
        Some(*peer)
    }

    /// When [`Relayed::poll_dial`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.wanted.values().filter_map(|attempt| attempt.at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_wanted_is_tried_again_for_as_long_as_a_call_waits() {
        let (mut now, peer) = (Instant::now(), PeerId::random());
        let start = now;
        let mut relayed = Relayed::default();
        assert!(relayed.wanted(now, peer));
        let mut tries = 0;
        loop {
            assert_eq!(relayed.poll_dial(now), Some(peer));
            assert_eq!(relayed.poll_dial(now), None, "not twice at a time");
            tries += 1;
            if !relayed.failed(now, peer) {
                break;
            }
            now = relayed.poll_timeout().unwrap();
        }
        assert!(now - start < TRY_FOR && tries > 10, "{tries} tries in {:?}", now - start);
        assert_eq!(relayed.poll_timeout(), None);
    }

    #[test]
    fn a_way_that_opens_is_tried_at_once() {
        let (now, peer) = (Instant::now(), PeerId::random());
        let mut relayed = Relayed::default();
        relayed.wanted(now, peer);
        relayed.hurry(now);
        assert_eq!(relayed.poll_dial(now), Some(peer));
        relayed.hurry(now);
        assert_eq!(relayed.poll_dial(now), None, "they are being dialled");
        assert!(relayed.failed(now, peer));
        assert_eq!(relayed.poll_dial(now), None);
        relayed.hurry(now);
        assert_eq!(relayed.poll_dial(now), Some(peer));
    }

    #[test]
    fn who_is_connected_is_dialled_no_more_and_a_crowd_is_bounded() {
        let now = Instant::now();
        let mut relayed = Relayed::default();
        let peer = PeerId::random();
        relayed.wanted(now, peer);
        relayed.forget(&peer);
        assert_eq!(relayed.poll_dial(now), None);
        let tried = (0..200).filter(|_| relayed.wanted(now, PeerId::random())).count();
        assert_eq!(tried, MAX_PEERS);
    }
}
