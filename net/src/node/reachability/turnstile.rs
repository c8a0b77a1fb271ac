//! Who is answered that asks whether we reach them: everybody, but not all the time. Pure.

use std::{collections::HashMap, net::IpAddr, time::Instant};

use crate::{address, token_bucket::TokenBucket};

/// How often nodes may ask us, all together and from one address: at once, and per second in the long run.
const ALL_BURST: u32 = 32;
const ALL_PER_SECOND: f64 = 2.0;
const ONE_BURST: u32 = 8;
const ONE_PER_SECOND: f64 = 0.1;

/// How many addresses are remembered for that.
const MAX_REMEMBERED: usize = 1000;

/// See the module.
pub(super) struct Turnstile {
    all: TokenBucket,
    each: HashMap<IpAddr, TokenBucket>,
}

impl Turnstile {
    pub(super) fn new(now: Instant) -> Self {
        Self { all: TokenBucket::new(ALL_BURST, ALL_PER_SECOND, now), each: HashMap::new() }
    }

    /// Whether somebody at this address is answered now; over a relay nobody is.
    pub(super) fn admits(&mut self, now: Instant, ip: Option<IpAddr>) -> bool {
        let Some(ip) = ip.map(address::subscriber) else { return false };
        if self.each.len() >= MAX_REMEMBERED {
            self.each.retain(|_, bucket| !bucket.is_full(now));
        }
        if self.each.len() >= MAX_REMEMBERED && !self.each.contains_key(&ip) {
            return false;
        }
        let one = self.each.entry(ip).or_insert_with(|| TokenBucket::new(ONE_BURST, ONE_PER_SECOND, now));
        one.take(now) && self.all.take(now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ip(third: u8, last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([198, 51, third, last]))
    }

    #[test]
    fn whoever_asks_too_often_is_not_answered_and_others_are() {
        let start = Instant::now();
        let mut turnstile = Turnstile::new(start);
        let admitted = (0..100).filter(|_| turnstile.admits(start, ip(0, 1))).count();
        assert_eq!(admitted, ONE_BURST as usize);
        assert!(turnstile.admits(start, ip(0, 2)));
        assert!(!turnstile.admits(start, None), "over a relay nobody is asked");
        assert!(turnstile.admits(start + Duration::from_secs(60), ip(0, 1)));
    }

    #[test]
    fn many_addresses_together_are_not_answered_all_the_time_nor_remembered_for_ever() {
        let start = Instant::now();
        let mut turnstile = Turnstile::new(start);
        let everybody = || (0..10).flat_map(|third| (0..=255).map(move |last| ip(third, last)));
        let admitted = everybody().filter(|ip| turnstile.admits(start, *ip)).count();
        assert_eq!(admitted, ALL_BURST as usize);
        assert!(turnstile.each.len() <= MAX_REMEMBERED);
        assert!(turnstile.admits(start + Duration::from_secs(3600), ip(255, 255)));
    }
}
