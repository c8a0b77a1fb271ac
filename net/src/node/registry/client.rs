//! One stream to the node.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId};

use super::{HELLO_WITHIN, outbox::Outbox, person::Ix};
use crate::{address, token_bucket::TokenBucket};

/// How many requests a client may make at once, and per second in the long run.
const REQUEST_BURST: u32 = 100;
const REQUESTS_PER_SECOND: f64 = 10.0;

/// How many requests beyond that are refused before the client is let go.
pub(super) const MAX_OFFENCES: u32 = 200;

/// How far a client has come.
pub(super) enum Stage {
    /// It has not said hello. From whom it hides may come before.
    Greeting {
        hide: Vec<PeerId>,
    },
    Online(Ix),
}

pub(super) struct Client {
    /// Where the connection comes from.
    pub(super) observed: Multiaddr,
    /// When it said something.
    pub(super) heard: Instant,
    pub(super) requests: TokenBucket,
    pub(super) offences: u32,
    pub(super) stage: Stage,
    pub(super) outbox: Outbox,
}

impl Client {
    pub(super) fn new(now: Instant, observed: Multiaddr) -> Self {
        Self {
            observed,
            heard: now,
            requests: TokenBucket::new(REQUEST_BURST, REQUESTS_PER_SECOND, now),
            offences: 0,
            stage: Stage::Greeting { hide: Vec::new() },
            outbox: Outbox::default(),
        }
    }

    /// What it is counted under.
    pub(super) fn address(&self) -> Option<IpAddr> {
        address::of(&self.observed).map(address::subscriber)
    }

    pub(super) fn is_silent(&self, now: Instant, most: Duration) -> bool {
        let since = now.saturating_duration_since(self.heard);
        match self.stage {
            Stage::Greeting { .. } => since >= HELLO_WITHIN,
            Stage::Online(_) => since >= most,
        }
    }
}
