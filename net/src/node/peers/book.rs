//! The other nodes: who is known, where, when each is looked after, and whom people are told of. Pure: time and what
//! connections show go in.
//!
//! Nobody gets in by being talked about. A node is taken up after we have dialled it ourselves, at an address that
//! anybody may be made to dial, and it has proved its key there and speaks the nodes' protocol; one that can't be
//! reached any more falls out. However many somebody makes up, or runs at one place, few of them are taken. Those whom
//! the operator named are always there.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId};

use crate::{
    address,
    directory::nodes::{MAX_ADDRESSES_TOLD, MAX_NODES_TOLD, Reach, reach, split},
};

/// How many nodes are known besides those that the operator named.
const MAX_LEARNED: usize = 128;

/// How many of these are at one IPv4 address or IPv6 /64, and in one IPv4 /16 or IPv6 /32.
const MAX_AT_ONE_ADDRESS: usize = 2;
const MAX_IN_ONE_NETWORK: usize = 8;

/// How many claim to be nodes, and have not been dialled yet.
const MAX_CLAIMS: usize = 32;

/// How often a node is dialled to see that it is still there.
const LOOK_EVERY: Duration = Duration::from_secs(15 * 60);

/// The pauses after failures: they double from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// After how many failures in a row a node that nobody named is forgotten.
const FORGET_AFTER: u32 = 5;

#[derive(Debug)]
struct Entry {
    /// Without `/p2p`.
    addresses: Vec<Multiaddr>,
    standing: Standing,
    /// Failures in a row.
    failures: u32,
    /// When to dial; `None` while dialling.
    next: Option<Instant>,
    dialled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// By the operator.
    Named,
    /// It has shown that it is a node.
    Proven,
    /// It says so.
    Claims,
}

impl Entry {
    fn new(addresses: Vec<Multiaddr>, standing: Standing, next: Option<Instant>) -> Self {
        Self { addresses, standing, failures: 0, next, dialled: false }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Book {
    local: PeerId,
    /// How near an address may be.
    nearest: Reach,
    nodes: BTreeMap<PeerId, Entry>,
    changed: bool,
}

impl Book {
    /// With the nodes that the operator named, each with `/p2p` at its end.
    pub(super) fn new(local: PeerId, named: &[Multiaddr], nearest: Reach) -> Self {
        let mut nodes: BTreeMap<PeerId, Entry> = BTreeMap::new();
        for (node, address) in named.iter().filter_map(split).filter(|(node, _)| *node != local) {
            let entry = nodes.entry(node).or_insert_with(|| Entry::new(Vec::new(), Standing::Named, None));
            if !entry.addresses.contains(&address) {
                entry.addresses.push(address);
            }
        }
        Self { local, nearest, nodes, changed: true }
    }

    /// We listen, and can say where: those that the operator named are dialled from now on.
    pub(super) fn begin(&mut self, now: Instant) {
        self.nodes.values_mut().for_each(|entry| entry.next = Some(now));
    }

    /// Whether a node may be dialled at an address that others tell.
    pub(super) fn allows(&self, address: &Multiaddr) -> bool {
        reach(address).is_some_and(|reach| reach >= self.nearest)
    }

    /// Where a node is to be dialled, whatever others tell.
    pub(super) fn addresses(&self, node: &PeerId) -> &[Multiaddr] {
        self.nodes.get(node).map_or(&[], |entry| &entry.addresses)
    }

    /// Whoever is connected to us from `ip` says that they are a node, to be found at these addresses. Only there, so
    /// that nobody can make us dial others.
    pub(super) fn claimed(&mut self, now: Instant, node: PeerId, ip: IpAddr, addresses: &[Multiaddr]) {
        let claims = self.nodes.values().filter(|entry| entry.standing == Standing::Claims).count();
        if node == self.local || self.nodes.contains_key(&node) || claims >= MAX_CLAIMS {
            return;
        }
        let subscriber = address::subscriber(ip);
        let addresses: Vec<Multiaddr> = addresses
            .iter()
            .filter_map(|address| address.clone().with_p2p(node).ok().as_ref().and_then(split))
            .map(|(_, address)| address)
            .filter(|address| self.allows(address))
            .filter(|address| address::of(address).map(address::subscriber) == Some(subscriber))
            .take(MAX_ADDRESSES_TOLD)
            .collect();
        if !addresses.is_empty() && addresses.iter().all(|address| self.has_room_at(address)) {
            self.nodes.insert(node, Entry::new(addresses, Standing::Claims, Some(now)));
        }
    }

    /// We have dialled a node there, it has proved its key, and it speaks the nodes' protocol. Whether it is taken up.
    pub(super) fn proven(&mut self, now: Instant, node: PeerId, address: &Multiaddr) -> bool {
        let address = split(address).map_or_else(|| address.clone(), |(_, address)| address);
        let allowed = self.allows(&address) && self.has_room_at(&address);
        let learned = self.nodes.values().filter(|entry| entry.standing == Standing::Proven).count();
        match self.nodes.get_mut(&node) {
            Some(entry) => match entry.standing {
                Standing::Named | Standing::Proven => {}
                Standing::Claims if allowed && learned < MAX_LEARNED => {
                    entry.standing = Standing::Proven;
                    entry.addresses = vec![address];
                    self.changed = true;
                }
                Standing::Claims => {
                    self.nodes.remove(&node);
                    return false;
                }
            },
            None if allowed && learned < MAX_LEARNED && node != self.local => {
                self.nodes.insert(node, Entry::new(vec![address], Standing::Proven, Some(now)));
                self.changed = true;
            }
            None => return false,
        }
        self.connected(now, &node);
        true
    }

    /// We have reached a node.
    pub(super) fn connected(&mut self, now: Instant, node: &PeerId) {
        if let Some(entry) = self.nodes.get_mut(node) {
            self.changed |= entry.failures > 0;
            entry.failures = 0;
            // One who only claims has this long to show it.
            entry.next = Some(now + LOOK_EVERY);
        }
    }

    /// A node can't be reached. Whether it is forgotten.
    pub(super) fn failed(&mut self, now: Instant, node: &PeerId) -> bool {
        let Some(entry) = self.nodes.get_mut(node) else { return false };
        let patience = match entry.standing {
            Standing::Named => u32::MAX,
            Standing::Proven => FORGET_AFTER,
            Standing::Claims => 1,
        };
        self.changed = true;
        entry.failures = entry.failures.saturating_add(1);
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(entry.failures - 1)).min(LONGEST_PAUSE);
        entry.next = Some(now + pause);
        if entry.failures < patience {
            return false;
        }
        self.nodes.remove(node);
        true
    }

    /// Whom to dial now, and where. [`Book::connected`] or [`Book::failed`] says what came of it.
    pub(super) fn poll_dial(&mut self, now: Instant) -> Option<(PeerId, Vec<Multiaddr>)> {
        let due = |entry: &Entry| entry.next.is_some_and(|at| at <= now);
        // Who claimed to be a node and was reached, but has not shown it since, is none.
        self.nodes.retain(|_, entry| !(entry.standing == Standing::Claims && entry.dialled && due(entry)));
        let (node, entry) = self.nodes.iter_mut().find(|(_, entry)| due(entry))?;
        entry.next = None;
        entry.dialled = true;
        Some((*node, entry.addresses.clone()))
    }

    /// When [`Book::poll_dial`] wants to be called.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.nodes.values().filter_map(|entry| entry.next).min()
    }

    /// How many nodes are known and there, as far as is known.
    pub(super) fn count(&self) -> usize {
        self.nodes.values().filter(|entry| entry.standing != Standing::Claims && entry.failures == 0).count()
    }

    /// Whom people are told of, each with `/p2p`, if that has changed since it was asked last. Those that the operator
    /// named come first.
    pub(super) fn take_told(&mut self) -> Option<Vec<Multiaddr>> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let with = |standing| self.nodes.iter().filter(move |(_, entry)| entry.standing == standing);
        let healthy = with(Standing::Proven).filter(|(_, entry)| entry.failures == 0);
        let told = with(Standing::Named).chain(healthy).take(MAX_NODES_TOLD).flat_map(|(node, entry)| {
            entry.addresses.iter().take(MAX_ADDRESSES_TOLD).filter_map(|address| address.clone().with_p2p(*node).ok())
        });
        Some(told.collect())
    }

    fn has_room_at(&self, address: &Multiaddr) -> bool {
        let Some(ip) = address::of(address) else { return false };
        if reach(address) != Some(Reach::Public) {
            return true;
        }
        let there = |group: fn(IpAddr) -> IpAddr| {
            let in_it =
                |other: &Entry| other.addresses.iter().filter_map(address::of).any(|other| group(other) == group(ip));
            self.nodes.values().filter(|entry| entry.standing == Standing::Proven && in_it(entry)).count()
        };
        there(address::subscriber) < MAX_AT_ONE_ADDRESS && there(network) < MAX_IN_ONE_NETWORK
    }
}

/// What one operator may well have all of: the first 16 bits of IPv4, the first 32 of IPv6.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & (u32::MAX << 16)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 96)).into(),
    }
}

#[cfg(test)]
mod tests;
