//! How the connection with a node is doing. Plain data.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol, swarm::ConnectionId};

use super::super::{asked::Asked, ice::Access};
use crate::{directory::Scope, token_bucket::TokenBucket};

/// After a node is lost, it is tried again within this time, and if that fails, after pauses that double, of which the
/// second half is random: a thousand clients must not come back in one moment.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// How many frames a node may push at once, and per second in the long run. More: it is shunned.
const FRAME_BURST: u32 = 2000;
const FRAMES_PER_SECOND: f64 = 100.0;

/// How the connection with a node is doing.
#[derive(Debug)]
pub(super) enum Link {
    /// Not needed.
    Idle,
    Waiting {
        until: Instant,
        /// It has misbehaved: nothing shortens the wait.
        shunned: bool,
    },
    Dialling {
        until: Instant,
        /// To be tried next.
        rest: Vec<Multiaddr>,
    },
    Greeting {
        stream: Stream,
        until: Instant,
    },
    Online {
        stream: Stream,
        online: Box<Online>,
    },
}

/// A stream to the node.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) connection: ConnectionId,
    /// Where the node was reached.
    pub(super) address: Multiaddr,
    pub(super) since: Instant,
    pub(super) asked: Asked,
    /// Lists that are not complete yet.
    pub(super) lists: BTreeMap<Scope, List>,
    pub(super) frames: TokenBucket,
}

/// A list that is being told.
#[derive(Debug)]
pub(super) struct List {
    pub(super) pages: u32,
    pub(super) until: Instant,
}

/// What is known of a node that has welcomed us.
#[derive(Debug)]
pub(super) struct Online {
    pub(super) since: Instant,
    pub(super) rtt: Duration,
    pub(super) turn: bool,
    pub(super) stun: Vec<u16>,
    pub(super) beat_every: Duration,
    pub(super) beat_at: Instant,
    pub(super) beat_sent: Option<Instant>,
    /// When it is lost unless it says something.
    pub(super) answer_by: Option<Instant>,
    /// Whether that is because the network has changed.
    pub(super) probed: bool,
    pub(super) access: Option<Access>,
    /// When to ask which other nodes it knows.
    pub(super) ask_nodes_at: Option<Instant>,
    pub(super) ask_turn_at: Option<Instant>,
    pub(super) reserve_at: Option<Instant>,
    pub(super) ask_again_at: Option<Instant>,
}

/// Why a stream to a node ends.
pub(super) enum End {
    /// It broke, or the node did not answer.
    Lost(String),
    /// The network has changed, and the connection does not lead anywhere any more.
    DeadPath,
    /// The node said that it goes.
    Restart,
    /// The node does not want us, or does what no node should.
    Shunned(String),
}

impl Stream {
    /// Nothing was asked on it yet.
    pub(super) fn new(now: Instant, connection: ConnectionId, address: Multiaddr) -> Self {
        Self {
            connection,
            address,
            since: now,
            asked: Asked::default(),
            lists: BTreeMap::new(),
            frames: TokenBucket::new(FRAME_BURST, FRAMES_PER_SECOND, now),
        }
    }

    /// When the list that is waited for longest must have come.
    pub(super) fn list_due(&self) -> Option<Instant> {
        self.lists.values().map(|list| list.until).min()
    }
}

/// At once and spread out after the first failure, later between half of the pause and the whole.
pub(super) fn pause(failures: u32, jitter: f64) -> Duration {
    match failures {
        0 | 1 => FIRST_PAUSE.mul_f64(jitter),
        failures => {
            let whole = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures - 1)).min(LONGEST_PAUSE);
            whole.mul_f64(0.5 + 0.5 * jitter)
        }
    }
}

pub(super) fn circuit(address: &Multiaddr, node: PeerId) -> Multiaddr {
    // The address of a connection may end with the node's id already.
    let mut address = address.clone();
    if !matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.push(Protocol::P2p(node));
    }
    address.with(Protocol::P2pCircuit)
}
