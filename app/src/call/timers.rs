//! How long each wait may last. Every wait in the machine is bounded by one of these.

use std::time::Duration;

/// For our own media engine to describe itself in an offer.
pub(super) const OFFER: Duration = Duration::from_secs(5);

/// For an invitation to be answered with "it rings".
pub(super) const INVITE_DELIVERY: Duration = Duration::from_secs(5);

/// For the callee to decide, counted from the invitation.
pub(super) const RING: Duration = Duration::from_secs(30);

/// For the person here to decide. Longer than [`RING`], so that the caller is the one who gives up first and both sides
/// tell the same story.
pub(super) const RING_HERE: Duration = Duration::from_secs(35);

/// From acceptance to flowing media.
pub(super) const CONNECT: Duration = Duration::from_secs(15);

/// From acceptance to flowing media, before the caller restarts ICE; and from one restart to the next.
pub(super) const FIRST_PATH: Duration = Duration::from_secs(5);

/// For a broken path to come back while the other side can be reached.
pub(super) const RECONNECT: Duration = Duration::from_secs(20);

/// For a broken path to come back when the other side can't be reached either: its process, machine or cable is dead.
/// Long enough for a change of network.
pub(super) const PEER_GONE: Duration = Duration::from_secs(3);

/// Between two attempts to restart ICE (caller), or to ask for one (callee).
pub(super) const RESTART_RETRY: Duration = Duration::from_secs(3);

/// How long after acceptance an invitation of the other side's that lost to ours may still be on its way.
pub(super) const GLARE: Duration = Duration::from_secs(5);
