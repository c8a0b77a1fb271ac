use libp2p::PeerId;
use serde::{Deserialize, Serialize};

use super::{Rejected, name::sanitise};
use crate::{Profile, Status};

/// The longest announcement on the wire.
pub(crate) const MAX_ANNOUNCEMENT_BYTES: usize = 1024;

/// The version of [`Announcement`] that is spoken here.
const VERSION: u32 = 1;

/// What a process says of its user: as the hello on each connection, and signed and published on every change and
/// every 30 seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Announcement {
    v: u32,
    name: String,
    status: Status,
    /// Names the process: when it started, in Unix milliseconds. A later process of the same user has a greater one.
    pub(crate) session: u64,
    /// Grows with every announcement of the process.
    pub(crate) seq: u64,
    /// When this was said, in Unix milliseconds.
    pub(crate) time: u64,
}

impl Announcement {
    pub(crate) fn new(profile: &Profile, session: u64, seq: u64, time: u64) -> Self {
        Self { v: VERSION, name: profile.name.clone(), status: profile.status, session, seq, time }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an announcement has string keys and plain values")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    pub(super) fn check_version(&self) -> Result<(), Rejected> {
        if self.v == VERSION { Ok(()) } else { Err(Rejected::UnknownVersion) }
    }

    /// What it says, fit to be shown.
    pub(super) fn profile(&self, author: PeerId) -> Profile {
        Profile { name: sanitise(&self.name, author), status: self.status }
    }
}
