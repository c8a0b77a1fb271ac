//! Who is there, and signals between them.
//!
//! `parlor-net` finds people (mDNS and signed gossipsub presence on the LAN), watches that they are still there
//! (heartbeats), and carries signalling messages over one authenticated, ordered stream a call. It knows nothing of
//! media: session descriptions and candidates pass through as opaque strings.
//!
//! [`spawn`] starts the network on the current tokio runtime and gives back a [`Handle`] for commands and an
//! [`EventReceiver`] for what happens.

mod call_id;
pub mod signalling;

pub use call_id::CallId;
pub use libp2p::{Multiaddr, PeerId, identity::Keypair};

use serde::{Deserialize, Serialize};

/// What a person says of themselves to everyone on the network. Signed by their key when it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// A label, 1-40 characters, not unique: people are told apart by [`PeerId`].
    pub name: String,
    /// Whether they can be called now.
    pub status: Status,
}

/// Whether a person can be called now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nobody is calling, or being called by, this person.
    Free,
    /// In a call, or setting one up.
    InCall,
}

/// Somebody else who is online.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who they are: the hash of their public key.
    pub peer: PeerId,
    /// What they say of themselves.
    pub profile: Profile,
    /// How they are reached.
    pub via: Via,
}

/// How a person is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// Directly, on the same network.
    Lan,
    /// Through a rendezvous node.
    Node,
}

/// Why somebody is no longer online.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfflineReason {
    /// They said goodbye.
    Left,
    /// They fell silent: their process, machine or cable died.
    Lost,
}

/// What [`spawn`] needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The key that this person is known by.
    pub keypair: Keypair,
    /// The first profile to announce.
    pub profile: Profile,
    /// Look for people on the LAN, and be seen there.
    pub lan: bool,
    /// Addresses to listen on. Empty: every interface, IPv4 and IPv6, TCP and QUIC, free ports.
    pub listen: Vec<Multiaddr>,
}

/// What happens on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A further address is listened on. The first one means that the network is ready.
    Listening {
        /// The address, without `/p2p`.
        address: Multiaddr,
    },
    /// Somebody came online.
    PeerOnline(Person),
    /// Somebody who is online changed name, status, or the way they are reached.
    PeerChanged(Person),
    /// Somebody is no longer online.
    PeerOffline {
        /// Who.
        peer: PeerId,
        /// Why.
        reason: OfflineReason,
    },
    /// A signalling message came in. Per call: in order, each once.
    Signal {
        /// The sender, as authenticated by the stream's connection; never as said in the message.
        peer: PeerId,
        /// The call that it belongs to.
        call: CallId,
        /// What it says.
        body: signalling::Body,
    },
    /// Messages for this call can't be delivered any more: no connection to the peer could be (re)opened in time.
    SignalFailed {
        /// The peer.
        peer: PeerId,
        /// The call.
        call: CallId,
        /// Why, for the log.
        error: String,
    },
}

/// What can go wrong when the network starts.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

/// Commands to a running network. Cheap to clone; the network stops when [`Handle::shutdown`] is called or the last
/// clone is dropped.
#[derive(Clone, Debug)]
pub struct Handle {}

impl Handle {
    /// Announces a new profile to everyone.
    pub fn set_profile(&self, _profile: Profile) {}

    /// Sends one signalling message. The first one for a [`CallId`] opens its stream. Messages of a call arrive in
    /// order and once, also when a connection breaks in between; when they can't be delivered within the deadline,
    /// [`Event::SignalFailed`] says so. Never blocks.
    pub fn send(&self, _peer: PeerId, _call: CallId, _body: signalling::Body) {}

    /// Ends a call's stream after what was sent is delivered (bounded wait). Later messages with this id are ignored.
    pub fn close_call(&self, _peer: PeerId, _call: CallId) {}

    /// Says goodbye to everyone, delivers what is queued (at most 500 ms), and stops.
    pub async fn shutdown(self) {}
}

/// Receives [`Event`]s; `None` means that the network stopped.
pub type EventReceiver = tokio::sync::mpsc::Receiver<Event>;
