//! Whom to dial, where and when. Pure: time and randomness go in.
//!
//! mDNS reports an address once, libp2p tries it once, and when two dial each other at the same moment both attempts
//! may fail. So whoever is known and not connected is dialled again and again, with growing, jittered pauses, until
//! they say goodbye or were not heard of for long.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId};

/// How many peers, and addresses of each, are remembered. Full: newcomers wait until somebody is forgotten.
const MAX_PEERS: usize = 1000;
const MAX_ADDRESSES: usize = 16;

/// The pause after the first failed attempt. It doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long an attempt may take before it is taken for failed.
const ATTEMPT: Duration = Duration::from_secs(15);

/// For how long somebody is dialled whose addresses have expired: their cable may come back.
const REMEMBER: Duration = Duration::from_secs(600);

/// For how long a program that does not speak our protocols is left alone.
const LEAVE_ALONE: Duration = Duration::from_secs(600);

#[derive(Debug)]
struct Target {
    addresses: Vec<Multiaddr>,
    state: State,
    attempts: u32,
    /// When all addresses had expired.
    stale_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be dialled at this time.
    Waiting(Instant),
    /// Being dialled since.
    Dialling(Instant),
    Connected,
    /// Left alone until.
    Foreign(Instant),
}

/// Whom to dial, where and when.
#[derive(Debug, Default)]
pub(crate) struct Dialler {
    targets: HashMap<PeerId, Target>,
}

impl Dialler {
    /// `peer` can be reached at `address`.
    pub(crate) fn discovered(&mut self, now: Instant, peer: PeerId, address: Multiaddr) {
        if self.targets.len() >= MAX_PEERS && !self.targets.contains_key(&peer) {
            self.targets.retain(|_, target| !target.is_forgettable(now));
            if self.targets.len() >= MAX_PEERS {
                return;
            }
        }
        let target = self.targets.entry(peer).or_insert_with(|| Target::new(now));
        target.stale_since = None;
        if !target.addresses.contains(&address) {
            if target.addresses.len() >= MAX_ADDRESSES {
                target.addresses.remove(0);
            }
            target.addresses.push(address);
            // A new address is a new chance, at once.
            if let State::Waiting(at) = &mut target.state {
                target.attempts = 0;
                *at = now;
            }
        }
    }

    /// Somebody gave us `address` for `peer`. Nobody will confirm it.
    pub(crate) fn given(&mut self, now: Instant, peer: PeerId, address: Multiaddr) {
        self.discovered(now, peer, address);
        if let Some(target) = self.targets.get_mut(&peer) {
            target.stale_since = Some(now);
        }
    }

    /// Somebody else answered at `address`.
    pub(crate) fn wrong(&mut self, peer: PeerId, address: &Multiaddr) {
        if let Some(target) = self.targets.get_mut(&peer) {
            target.addresses.retain(|a| a != address);
            if target.addresses.is_empty() {
                self.targets.remove(&peer);
            }
        }
    }

    /// `address` was not confirmed for long.
    pub(crate) fn expired(&mut self, now: Instant, peer: PeerId, address: &Multiaddr) {
        let Some(target) = self.targets.get_mut(&peer) else { return };
        if target.addresses.len() > 1 {
            target.addresses.retain(|a| a != address);
        } else if target.addresses.first() == Some(address) {
            target.stale_since.get_or_insert(now);
        }
    }

    /// There is a connection to `peer`, whoever dialled. `dialled` is where we did.
    pub(crate) fn connected(&mut self, now: Instant, peer: PeerId, dialled: Option<&Multiaddr>) {
        if let Some(address) = dialled {
            self.discovered(now, peer, address.clone());
        }
        if let Some(target) = self.targets.get_mut(&peer) {
            target.state = State::Connected;
            target.attempts = 0;
        }
    }

    /// The last connection to `peer` is lost.
    pub(crate) fn disconnected(&mut self, now: Instant, peer: PeerId, jitter: f64) {
        if let Some(target) = self.targets.get_mut(&peer)
            && target.state == State::Connected
        {
            target.state = State::Waiting(now + pause(0, jitter));
            target.stale_since = target.stale_since.map(|_| now);
        }
    }

    /// An attempt failed.
    pub(crate) fn failed(&mut self, now: Instant, peer: PeerId, jitter: f64) {
        if let Some(target) = self.targets.get_mut(&peer)
            && matches!(target.state, State::Dialling(_))
        {
            target.state = State::Waiting(now + pause(target.attempts, jitter));
            target.attempts += 1;
        }
    }

    /// `peer` said goodbye: their addresses are void.
    pub(crate) fn left(&mut self, peer: PeerId) {
        self.targets.remove(&peer);
    }

    /// `peer` is some other program. Found by mDNS all the same, since it uses libp2p too.
    pub(crate) fn foreign(&mut self, now: Instant, peer: PeerId) {
        if let Some(target) = self.targets.get_mut(&peer) {
            target.state = State::Foreign(now + LEAVE_ALONE);
        }
    }

    /// Something waits for `peer`: dial at once. Whether that has any prospect.
    pub(crate) fn wanted(&mut self, now: Instant, peer: PeerId) -> bool {
        let Some(target) = self.targets.get_mut(&peer) else { return false };
        match &mut target.state {
            State::Waiting(at) => *at = now,
            State::Dialling(_) | State::Connected => {}
            State::Foreign(_) => return false,
        }
        true
    }

    /// The addresses of this machine have changed: whoever waits to be dialled is dialled at once, wherever it failed.
    pub(crate) fn network_changed(&mut self, now: Instant) {
        for target in self.targets.values_mut() {
            if let State::Waiting(at) = &mut target.state {
                target.attempts = 0;
                *at = now;
            }
        }
    }

    /// Whom to dial now.
    pub(crate) fn poll_dial(&mut self, now: Instant) -> Option<(PeerId, Vec<Multiaddr>)> {
        self.targets.retain(|_, target| !target.is_forgettable(now));
        let (peer, target) = self.targets.iter_mut().find(|(_, target)| target.due().is_some_and(|due| due <= now))?;
        target.state = State::Dialling(now);
        Some((*peer, target.addresses.clone()))
    }

    /// When [`Dialler::poll_dial`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.targets.values().filter_map(Target::due).min()
    }
}

impl Target {
    fn new(now: Instant) -> Self {
        Self { addresses: Vec::new(), state: State::Waiting(now), attempts: 0, stale_since: None }
    }

    fn due(&self) -> Option<Instant> {
        match self.state {
            State::Waiting(at) => Some(at),
            State::Dialling(since) => Some(since + ATTEMPT),
            State::Foreign(until) => Some(until),
            State::Connected => None,
        }
    }

    fn is_forgettable(&self, now: Instant) -> bool {
        self.state != State::Connected && self.stale_since.is_some_and(|since| now >= since + REMEMBER)
    }
}

/// Between half of the pause and the whole, as `jitter` in 0..1 says.
fn pause(attempts: u32, jitter: f64) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(attempts)).min(LONGEST_PAUSE);
    whole.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn who_is_discovered_is_dialled_at_once_and_after_a_failure_again_with_growing_pauses() {
        let (mut now, peer) = (Instant::now(), PeerId::random());
        let mut dialler = Dialler::default();
        dialler.discovered(now, peer, address(1));
        let mut pauses = Vec::new();
        for _ in 0..7 {
            assert_eq!(dialler.poll_dial(now), Some((peer, vec![address(1)])));
            assert_eq!(dialler.poll_dial(now), None, "not twice at a time");
            dialler.failed(now, peer, 1.0);
            let due = dialler.poll_timeout().unwrap();
            pauses.push(due - now);
            now = due;
        }
        assert_eq!(pauses, [ms(300), ms(600), ms(1200), ms(2400), ms(4800), ms(5000), ms(5000)]);
    }

    #[test]
    fn two_who_failed_at_the_same_moment_try_again_at_different_ones() {
        assert_eq!((pause(0, 0.0), pause(0, 1.0)), (ms(150), ms(300)));
    }

    #[test]
    fn who_is_lost_is_dialled_again_and_who_left_is_not() {
        let (now, lost, left) = (Instant::now(), PeerId::random(), PeerId::random());
        let mut dialler = Dialler::default();
        for peer in [lost, left] {
            dialler.connected(now, peer, Some(&address(1)));
        }
        assert_eq!(dialler.poll_timeout(), None);
        dialler.left(left);
        dialler.disconnected(now, left, 0.5);
        dialler.disconnected(now, lost, 0.5);
        assert_eq!(dialler.poll_dial(now + ms(300)).map(|(peer, _)| peer), Some(lost));
        assert!(!dialler.wanted(now, left), "nobody knows where they are");
    }

    #[test]
    fn when_the_network_has_changed_who_failed_before_is_dialled_at_once() {
        let (now, peer) = (Instant::now(), PeerId::random());
        let mut dialler = Dialler::default();
        dialler.discovered(now, peer, address(1));
        dialler.poll_dial(now);
        dialler.failed(now, peer, 1.0);
        assert_eq!(dialler.poll_dial(now), None);
        dialler.network_changed(now);
        assert!(dialler.poll_dial(now).is_some());
    }

    #[test]
    fn a_pulled_cable_is_waited_for_and_at_last_forgotten() {
        let (now, peer) = (Instant::now(), PeerId::random());
        let mut dialler = Dialler::default();
        dialler.connected(now, peer, Some(&address(1)));
        dialler.disconnected(now, peer, 0.5);
        dialler.expired(now, peer, &address(1));
        assert!(dialler.poll_dial(now + Duration::from_secs(500)).is_some());
        assert!(dialler.poll_dial(now + Duration::from_secs(601)).is_none());
        assert!(dialler.targets.is_empty());
    }

    #[test]
    fn an_address_at_which_somebody_else_answers_is_forgotten() {
        let (now, peer) = (Instant::now(), PeerId::random());
        let mut dialler = Dialler::default();
        dialler.given(now, peer, address(1));
        dialler.given(now, peer, address(2));
        dialler.wrong(peer, &address(1));
        assert_eq!(dialler.poll_dial(now), Some((peer, vec![address(2)])));
        dialler.wrong(peer, &address(2));
        assert!(!dialler.wanted(now, peer));
    }

    #[test]
    fn a_foreign_program_is_left_alone() {
        let (now, peer) = (Instant::now(), PeerId::random());
        let mut dialler = Dialler::default();
        dialler.connected(now, peer, Some(&address(1)));
        dialler.foreign(now, peer);
        dialler.disconnected(now, peer, 0.5);
        dialler.discovered(now, peer, address(2));
        assert_eq!(dialler.poll_dial(now + Duration::from_secs(599)), None);
        assert!(dialler.poll_dial(now + Duration::from_secs(600)).is_some());
    }

    #[test]
    fn a_flood_of_discoveries_stays_bounded() {
        let now = Instant::now();
        let mut dialler = Dialler::default();
        let known = PeerId::random();
        for port in 0..1000 {
            dialler.discovered(now, known, address(port));
            dialler.discovered(now, PeerId::random(), address(port));
            dialler.discovered(now, PeerId::random(), address(port));
        }
        assert_eq!(dialler.targets.len(), MAX_PEERS);
        assert_eq!(dialler.targets[&known].addresses.len(), MAX_ADDRESSES);
    }
}
