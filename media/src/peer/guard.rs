//! Whom the sockets talk to. The stack follows the policy by itself as far as it knows of it; this is the wall behind
//! that: what may not be sent does not leave the machine, whatever the stack or the far end does.

use std::{collections::HashSet, net::SocketAddr};

use crate::IcePolicy;

/// Addresses that are remembered; a call has a few.
const MAX_ADDRESSES: usize = 256;

/// Which addresses datagrams may go to and come from.
#[derive(Debug)]
pub(super) enum Guard {
    /// All.
    Open,
    /// Our relays.
    Only(HashSet<SocketAddr>),
    /// All but the far end's relays.
    AllBut(HashSet<SocketAddr>),
}

impl Guard {
    pub(super) fn new(policy: IcePolicy) -> Self {
        match policy {
            IcePolicy::All => Self::Open,
            IcePolicy::RelayOnly => Self::Only(HashSet::new()),
            IcePolicy::DirectOnly => Self::AllBut(HashSet::new()),
        }
    }

    pub(super) fn lets_pass(&self, far: SocketAddr) -> bool {
        match self {
            Self::Open => true,
            Self::Only(relays) => relays.contains(&far),
            Self::AllBut(relays) => !relays.contains(&far),
        }
    }

    /// Relays of our own, besides those known so far: what was allocated there is still to be given back.
    pub(super) fn use_relays(&mut self, relays: &[SocketAddr]) {
        match self {
            Self::Only(known) => remember(known, relays),
            Self::Open | Self::AllBut(_) => {}
        }
    }

    /// A relay of the far end. Whether its candidate may be used.
    pub(super) fn meet_relay(&mut self, relay: SocketAddr) -> bool {
        match self {
            Self::Open | Self::Only(_) => true,
            Self::AllBut(known) => {
                remember(known, &[relay]);
                false
            }
        }
    }
}

fn remember(known: &mut HashSet<SocketAddr>, more: &[SocketAddr]) {
    let room = MAX_ADDRESSES.saturating_sub(known.len());
    known.extend(more.iter().take(room));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    #[test]
    fn relay_only_talks_to_our_relays_alone() {
        let mut guard = Guard::new(IcePolicy::RelayOnly);
        assert!(!guard.lets_pass(at(1)));
        guard.use_relays(&[at(1)]);
        guard.use_relays(&[at(2)]);
        assert!(guard.meet_relay(at(3)), "the far end may be behind a relay too");
        assert_eq!([1, 2, 3].map(|port| guard.lets_pass(at(port))), [true, true, false]);
    }

    #[test]
    fn direct_only_refuses_the_far_ends_relays() {
        let mut guard = Guard::new(IcePolicy::DirectOnly);
        assert!(!guard.meet_relay(at(1)));
        assert_eq!([1, 2].map(|port| guard.lets_pass(at(port))), [false, true]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut guard = Guard::new(IcePolicy::DirectOnly);
        (0..1000).for_each(|port| assert!(!guard.meet_relay(at(port))));
        assert!(matches!(guard, Guard::AllBut(known) if known.len() == MAX_ADDRESSES));
    }
}
