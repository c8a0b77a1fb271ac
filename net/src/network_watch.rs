//! Notices that this machine's place in the network has changed: other addresses, or a sleep in between. Pure: time,
//! both of the day and the one that only grows, goes in.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, multiaddr::Protocol};

/// Changes come in bursts: a burst is over after this long a pause.
const SETTLE: Duration = Duration::from_millis(300);

/// How often it is looked whether the machine has slept.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The time of day was ahead by this much: the other clock stood still in a sleep. Less may be a clock being set.
const SLEPT: Duration = Duration::from_secs(2);

/// Nothing ran for this long: the process, or the machine around it, was stopped.
const STOPPED: Duration = Duration::from_secs(5);

/// Notices changes.
#[derive(Debug)]
pub(crate) struct NetworkWatch {
    listening: HashSet<Multiaddr>,
    /// The addresses when it was last quiet; `None` before that.
    known: Option<BTreeSet<IpAddr>>,
    settle_at: Option<Instant>,
    looked: (Instant, u64),
}

impl NetworkWatch {
    pub(crate) fn new(now: Instant, wall_clock_ms: u64) -> Self {
        Self { listening: HashSet::new(), known: None, settle_at: None, looked: (now, wall_clock_ms) }
    }

    /// An address is listened on.
    pub(crate) fn appeared(&mut self, now: Instant, address: Multiaddr) {
        self.listening.insert(address);
        self.settle_at = Some(now + SETTLE);
    }

    /// An address is listened on no more.
    pub(crate) fn vanished(&mut self, now: Instant, address: &Multiaddr) {
        self.listening.remove(address);
        self.settle_at = Some(now + SETTLE);
    }

    /// Whether this machine has no more than one link, as far as can be told: one address of IPv4.
    pub(crate) fn has_one_link(&self) -> bool {
        let v4: BTreeSet<IpAddr> = self.listening.iter().filter_map(routed_ip).filter(IpAddr::is_ipv4).collect();
        v4.len() == 1
    }

    /// When [`NetworkWatch::has_changed`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Instant {
        let look = self.looked.0 + LOOK_EVERY;
        self.settle_at.map_or(look, |settle| settle.min(look))
    }

    /// Whether connections should not be trusted any more.
    pub(crate) fn has_changed(&mut self, now: Instant, wall_clock_ms: u64) -> bool {
        self.addresses_have_changed(now) | self.has_slept(now, wall_clock_ms)
    }

    fn addresses_have_changed(&mut self, now: Instant) -> bool {
        if self.settle_at.is_none_or(|at| now < at) {
            return false;
        }
        self.settle_at = None;
        let addresses: BTreeSet<IpAddr> = self.listening.iter().filter_map(routed_ip).collect();
        let before = self.known.replace(addresses);
        before.is_some() && before != self.known
    }

    fn has_slept(&mut self, now: Instant, wall_clock_ms: u64) -> bool {
        let (then, wall_clock_then) = self.looked;
        let passed = now.saturating_duration_since(then);
        let wall_clock_passed = Duration::from_millis(wall_clock_ms.saturating_sub(wall_clock_then));
        if passed < LOOK_EVERY && wall_clock_passed < SLEPT {
            return false;
        }
        self.looked = (now, wall_clock_ms);
        passed >= STOPPED || wall_clock_passed.saturating_sub(passed) >= SLEPT
    }
}

/// The address if packets to elsewhere may leave with it.
fn routed_ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) if !ip.is_loopback() && !ip.is_link_local() => Some(ip.into()),
        Protocol::Ip6(ip) if !ip.is_loopback() && !ip.is_unicast_link_local() => Some(ip.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(ip: &str) -> Multiaddr {
        let family = if ip.contains(':') { "ip6" } else { "ip4" };
        format!("/{family}/{ip}/tcp/4001").parse().unwrap()
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// A watch at 192.0.2.1 that has settled.
    fn settled(start: Instant) -> NetworkWatch {
        let mut watch = NetworkWatch::new(start, 0);
        watch.appeared(start, tcp("127.0.0.1"));
        watch.appeared(start, tcp("192.0.2.1"));
        assert!(!watch.has_changed(start + ms(300), 300), "the start is no change");
        watch
    }

    #[test]
    fn another_address_is_a_change_told_once_when_it_has_settled() {
        let start = Instant::now();
        let mut watch = settled(start);
        let at = |n| (start + ms(n), n);
        watch.vanished(at(500).0, &tcp("192.0.2.1"));
        watch.appeared(at(700).0, tcp("198.51.100.7"));
        assert_eq!(watch.poll_timeout(), at(1000).0);
        assert!(!watch.has_changed(at(900).0, 900));
        assert!(watch.has_changed(at(1000).0, 1000));
        assert!(!watch.has_changed(at(2000).0, 2000));
    }

    #[test]
    fn an_address_that_comes_back_at_once_and_those_that_lead_nowhere_are_no_change() {
        let start = Instant::now();
        let mut watch = settled(start);
        watch.vanished(start + ms(400), &tcp("192.0.2.1"));
        watch.appeared(start + ms(450), tcp("192.0.2.1"));
        watch.appeared(start + ms(450), tcp("fe80::1"));
        watch.appeared(start + ms(450), tcp("::1"));
        assert!(!watch.has_changed(start + ms(800), 800));
    }

    #[test]
    fn a_sleep_is_noticed_by_the_time_of_day_and_a_stop_by_the_other_clock() {
        let start = Instant::now();
        let mut watch = settled(start);
        assert!(!watch.has_changed(start + ms(1300), 1300));
        assert!(watch.has_changed(start + ms(1400), 60_000), "an hour of sleep takes no time");
        assert!(!watch.has_changed(start + ms(2400), 61_000));
        assert!(watch.has_changed(start + ms(9000), 67_600));
        assert!(!watch.has_changed(start + ms(10_000), 1000), "a clock that is set back");
        assert!(!watch.has_changed(start + ms(11_000), 2000));
    }
}
