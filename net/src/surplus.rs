//! Which connections to a person on the LAN are one too many. Pure: time goes in.
//!
//! Both sides dial when they discover each other, so two connections come into being, and each carries heartbeats, gossip
//! and its transport's own upkeep: on a thin link the second one takes from the voice. One of the two sides decides, so
//! that they need not agree: the one with the smaller peer id.
//!
//! Two connections are one too many when both lead over the same link, and both are known to work: the person has just
//! said the same on both. Over different links they are a reserve for each other.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol, swarm::ConnectionId};

/// What was heard on two connections within this time shows that both work.
const TOGETHER: Duration = Duration::from_secs(2);
/// And then so much passes, in case that something is under way.
const SETTLED: Duration = Duration::from_secs(3);
/// When it is looked again at connections that carry calls.
const AGAIN: Duration = Duration::from_secs(10);

/// A connection to a person.
#[derive(Clone, Copy, Debug)]
struct Connection {
    id: ConnectionId,
    remote: Option<IpAddr>,
    /// Over TCP, whose end is noticed at once when the other's process dies.
    is_tcp: bool,
    /// When they last said who they are.
    heard: Option<Instant>,
}

/// The connections to everybody on the LAN.
#[derive(Debug)]
pub(crate) struct Surplus {
    local: PeerId,
    people: HashMap<PeerId, Vec<Connection>>,
    look_at: Option<Instant>,
}

impl Surplus {
    pub(crate) fn new(local: PeerId) -> Self {
        Self { local, people: HashMap::new(), look_at: None }
    }

    /// A connection to `peer` is established.
    pub(crate) fn opened(&mut self, peer: PeerId, id: ConnectionId, remote: &Multiaddr) {
        let ip = remote.iter().find_map(|part| match part {
            Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
            Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
            _ => None,
        });
        let is_tcp = remote.iter().any(|part| matches!(part, Protocol::Tcp(_)));
        self.people.entry(peer).or_default().push(Connection { id, remote: ip, is_tcp, heard: None });
    }

    /// It is closed, or found dead. Both may be reported.
    pub(crate) fn closed(&mut self, peer: PeerId, id: ConnectionId) {
        if let Some(connections) = self.people.get_mut(&peer) {
            connections.retain(|connection| connection.id != id);
            if connections.is_empty() {
                self.people.remove(&peer);
            }
        }
    }

    /// `peer` said on it who they are.
    pub(crate) fn heard(&mut self, now: Instant, peer: PeerId, id: ConnectionId) {
        let Some(connections) = self.people.get_mut(&peer) else { return };
        if let Some(connection) = connections.iter_mut().find(|connection| connection.id == id) {
            connection.heard = Some(now);
        }
        if self.local < peer && connections.len() > 1 {
            self.look_at.get_or_insert(now + SETTLED);
        }
    }

    /// When [`Surplus::poll`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.look_at
    }

    /// A connection to close. `one_link`: this machine has no more than one link, so that all connections lead over it.
    /// Those that carry a call are kept.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        one_link: bool,
        carries_call: impl Fn(ConnectionId) -> bool,
    ) -> Option<ConnectionId> {
        if self.look_at.is_none_or(|at| now < at) {
            return None;
        }
        let local = self.local;
        let several = |(peer, connections): &(&PeerId, &Vec<Connection>)| local < **peer && connections.len() > 1;
        for (peer, connections) in self.people.iter().filter(several) {
            let surplus = connections.iter().find(|one| {
                !carries_call(one.id)
                    && connections.iter().any(|other| {
                        other.id != one.id
                            && (one_link || one.remote == other.remote)
                            && both_work(one, other)
                            && rank(other, &carries_call) > rank(one, &carries_call)
                    })
            });
            if let Some(&Connection { id, .. }) = surplus {
                let peer = *peer;
                self.closed(peer, id);
                return Some(id);
            }
        }
        let may_change = self.people.iter().any(|person| several(&person));
        self.look_at = may_change.then_some(now + AGAIN);
        None
    }
}

fn both_work(one: &Connection, other: &Connection) -> bool {
    one.heard.zip(other.heard).is_some_and(|(one, other)| one.max(other) - one.min(other) <= TOGETHER)
}

/// The greater is kept: of equals the newer, as for calls.
fn rank(connection: &Connection, carries_call: impl Fn(ConnectionId) -> bool) -> (bool, bool, ConnectionId) {
    (carries_call(connection.id), connection.is_tcp, connection.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn id(n: usize) -> ConnectionId {
        ConnectionId::new_unchecked(n)
    }

    fn at(address: &str) -> Multiaddr {
        address.parse().unwrap()
    }

    /// Of two people, the one who decides first.
    fn two() -> (PeerId, PeerId) {
        let (one, other) = (PeerId::random(), PeerId::random());
        (one.min(other), one.max(other))
    }

    /// With connections 1, 2, ... to these addresses of one person, on which that person spoke at the beginning.
    fn heard_on(now: Instant, local: PeerId, peer: PeerId, addresses: &[&str]) -> Surplus {
        let mut surplus = Surplus::new(local);
        for (n, address) in addresses.iter().enumerate() {
            surplus.opened(peer, id(n + 1), &at(address));
            surplus.heard(now, peer, id(n + 1));
        }
        surplus
    }

    /// All that is to be closed once things have settled.
    fn closes(surplus: &mut Surplus, now: Instant, one_link: bool, calls: &[usize]) -> Vec<ConnectionId> {
        std::iter::from_fn(|| surplus.poll(now + SETTLED, one_link, |one| calls.iter().any(|n| id(*n) == one)))
            .collect()
    }

    const OVER_TCP: &str = "/ip4/10.0.0.2/tcp/1";
    const OVER_TCP_TOO: &str = "/ip4/10.0.0.2/tcp/2";
    const OVER_QUIC: &str = "/ip4/10.0.0.2/udp/1/quic-v1";
    const OVER_IPV6: &str = "/ip6/fe80::2/tcp/1";
    const ELSEWHERE: &str = "/ip4/10.0.1.2/tcp/1";

    #[test]
    fn of_two_who_dialled_each_other_one_closes_one_connection_when_things_have_settled() {
        let ((first, second), now) = (two(), Instant::now());
        let mut decides = heard_on(now, first, second, &[OVER_TCP, OVER_TCP_TOO]);
        assert_eq!(decides.poll(now + SETTLED - Duration::from_millis(1), false, |_| false), None);
        assert_eq!(decides.poll_timeout(), Some(now + SETTLED));
        assert_eq!(closes(&mut decides, now, false, &[]), [id(1)]);
        assert_eq!(decides.poll_timeout(), None);
        let mut waits = heard_on(now, second, first, &[OVER_TCP, OVER_TCP_TOO]);
        assert_eq!(waits.poll_timeout(), None);
        assert_eq!(closes(&mut waits, now, false, &[]), []);
    }

    #[test]
    fn the_connection_of_a_call_is_kept_and_otherwise_the_one_whose_end_shows_at_once() {
        let ((first, second), now) = (two(), Instant::now());
        let both = || heard_on(now, first, second, &[OVER_TCP, OVER_QUIC]);
        assert_eq!(closes(&mut both(), now, false, &[]), [id(2)]);
        assert_eq!(closes(&mut both(), now, false, &[2]), [id(1)]);
        let mut busy = both();
        assert_eq!(closes(&mut busy, now, false, &[1, 2]), []);
        // The calls end.
        assert_eq!(closes(&mut busy, now + AGAIN, false, &[]), [id(2)]);
    }

    #[test]
    fn what_leads_over_another_link_is_a_reserve() {
        let ((first, second), now) = (two(), Instant::now());
        for other in [ELSEWHERE, OVER_IPV6] {
            let both = || heard_on(now, first, second, &[OVER_TCP, other]);
            assert_eq!(closes(&mut both(), now, false, &[]), [], "{other}");
            assert_eq!(closes(&mut both(), now, true, &[]), [id(1)], "there is no other link: {other}");
        }
    }

    #[test]
    fn a_connection_that_may_be_dead_replaces_none() {
        let ((first, second), now) = (two(), Instant::now());
        let mut surplus = heard_on(now, first, second, &[OVER_TCP]);
        let later = now + 20 * SECOND;
        surplus.opened(second, id(2), &at(OVER_TCP_TOO));
        surplus.heard(later, second, id(2));
        assert_eq!(closes(&mut surplus, later, false, &[]), [], "who knows whether the first one still works");
        // They speak again, and are heard on both.
        let later = now + 30 * SECOND;
        surplus.heard(later, second, id(1));
        surplus.heard(later + SECOND, second, id(2));
        assert_eq!(closes(&mut surplus, later + AGAIN, false, &[]), [id(1)]);
    }

    #[test]
    fn who_has_gone_is_forgotten() {
        let ((first, second), now) = (two(), Instant::now());
        let mut surplus = heard_on(now, first, second, &[OVER_TCP, OVER_TCP_TOO]);
        surplus.closed(second, id(2));
        assert_eq!(closes(&mut surplus, now, false, &[]), []);
        surplus.closed(second, id(1));
        assert!(surplus.people.is_empty());
    }
}
