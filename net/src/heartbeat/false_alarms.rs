//! Who was taken for dead and was not: on a path that stalls, or is full, beats come late. Closing a connection and making
//! another costs such a path more than all beats, so the same silence is not taken for death again. Pure.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::PeerId;

/// Whoever is back later was away.
const BACK_WITHIN: Duration = Duration::from_secs(10);
/// How many times longer silence may get at most.
const MOST: u32 = 4;
/// Paths get better.
const REMEMBERED: Duration = Duration::from_secs(180);
/// Who is remembered at most.
const MAX_PEERS: usize = 256;

/// Who was taken for dead.
#[derive(Debug, Default)]
pub(super) struct FalseAlarms {
    alarms: HashMap<PeerId, Alarm>,
}

#[derive(Debug)]
struct Alarm {
    /// The run of their program.
    session: u64,
    /// When they fell silent, unless it is known since that they were not dead.
    silent_at: Option<Instant>,
    latest: Instant,
    /// How much longer than usual they may be silent.
    patience: u32,
}

impl FalseAlarms {
    /// `peer` fell silent in this run of their program.
    pub(super) fn silent(&mut self, now: Instant, peer: PeerId, session: u64) {
        self.alarms.retain(|_, alarm| now.saturating_duration_since(alarm.latest) < REMEMBERED);
        if self.alarms.len() >= MAX_PEERS && !self.alarms.contains_key(&peer) {
            return;
        }
        let alarm =
            self.alarms.entry(peer).or_insert(Alarm { session, silent_at: Some(now), latest: now, patience: 1 });
        if alarm.session != session {
            *alarm = Alarm { session, silent_at: Some(now), latest: now, patience: 1 };
        }
        alarm.silent_at = Some(now);
        alarm.latest = now;
    }

    /// `peer` is there, in this run of their program.
    pub(super) fn heard(&mut self, now: Instant, peer: PeerId, session: u64) {
        let Some(alarm) = self.alarms.get_mut(&peer) else { return };
        if alarm.session != session {
            self.alarms.remove(&peer);
        } else if alarm.silent_at.take().is_some_and(|at| now.saturating_duration_since(at) < BACK_WITHIN) {
            alarm.patience = (alarm.patience * 2).min(MOST);
            alarm.latest = now;
        }
    }

    /// How many times longer than usual `peer` may be silent.
    pub(super) fn patience(&self, now: Instant, peer: PeerId) -> u32 {
        let remembered =
            self.alarms.get(&peer).filter(|alarm| now.saturating_duration_since(alarm.latest) < REMEMBERED);
        remembered.map_or(1, |alarm| alarm.patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_not_dead_may_be_silent_for_longer_and_longer_for_a_while() {
        let (mut alarms, peer, mut now) = (FalseAlarms::default(), PeerId::random(), Instant::now());
        let mut learned = vec![alarms.patience(now, peer)];
        for _ in 0..4 {
            alarms.silent(now, peer, 7);
            now += Duration::from_secs(3);
            alarms.heard(now, peer, 7);
            learned.push(alarms.patience(now, peer));
        }
        assert_eq!(learned, [1, 2, 4, 4, 4]);
        assert_eq!(alarms.patience(now + REMEMBERED, peer), 1);
    }

    #[test]
    fn who_was_dead_or_away_has_no_more_patience_than_others() {
        let (mut alarms, peer, now) = (FalseAlarms::default(), PeerId::random(), Instant::now());
        alarms.silent(now, peer, 7);
        alarms.heard(now + Duration::from_secs(1), peer, 8);
        assert_eq!(alarms.patience(now, peer), 1, "their program was started again");
        alarms.silent(now, peer, 8);
        alarms.heard(now + BACK_WITHIN, peer, 8);
        assert_eq!(alarms.patience(now, peer), 1, "their cable was out");
    }

    #[test]
    fn no_crowd_fills_the_memory() {
        let (mut alarms, now) = (FalseAlarms::default(), Instant::now());
        (0..1_000).for_each(|session| alarms.silent(now, PeerId::random(), session));
        assert_eq!(alarms.alarms.len(), MAX_PEERS);
    }
}
