//! Who is there, and signals between them.
//!
//! `parlor-net` finds people (mDNS and signed gossipsub presence on the LAN), watches that they are still there
//! (heartbeats), and carries signalling messages over one authenticated, ordered stream a call. It knows nothing of
//! media: session descriptions and candidates pass through as opaque strings.
//!
//! [`spawn`] starts the network on the current tokio runtime and gives back a [`Handle`] for commands and an
//! [`EventReceiver`] for what happens.

#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "tests begin at any moment"))]

mod address;
mod address_limits;
mod behaviour;
mod call_id;
pub mod diagnose;
mod directory;
mod discovery;
mod event_loop;
mod gate;
mod heartbeat;
pub mod identity;
mod link_local;
#[cfg(test)]
#[path = "../../tests/fuzz/mutator.rs"]
mod mutator;
mod network_watch;
#[cfg(feature = "node")]
pub mod node;
mod outbox;
mod presence;
pub mod signalling;
#[cfg_attr(not(feature = "node"), allow(dead_code, reason = "a server needs more of it"))]
mod stun;
mod surplus;
mod token_bucket;
mod turn_shim;
mod wire;

use std::{io, path::PathBuf, sync::Arc};

pub use call_id::CallId;
pub use directory::{Room, RoomId};
pub use libp2p::{Multiaddr, PeerId, identity::Keypair};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use self::event_loop::{Command, EventLoop, Wishes};

/// Commands that may wait for the event loop. It never waits for anything else, so that only a flood from our own
/// side fills this. Full: the command is dropped with a warning.
const MAX_COMMANDS: usize = 1024;

/// Events that may wait in the channel itself. What comes while it is full is kept and summed up by the event loop,
/// within bounds: of people the last thing known, of calls all messages or a failure.
const MAX_EVENTS: usize = 64;

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
    /// Where else than on the LAN they were found. Empty for whom only the LAN shows.
    pub found: Vec<Found>,
}

/// Where, through nodes, somebody was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Found {
    /// In the lobby of a node.
    Lobby,
    /// In a room.
    Room(RoomId),
    /// Among the contacts, wherever they are.
    Contact,
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
    /// Look for people on the LAN, and be seen there. Otherwise nobody is looked for, and nobody is told the profile.
    pub lan: bool,
    /// Addresses to listen on. Empty: every interface, IPv4 and IPv6, TCP and QUIC, free ports. With loopback addresses
    /// only, there is no LAN to look at: people appear when they are [dialled](Handle::dial), or dial.
    pub listen: Vec<Multiaddr>,
    /// Who is found, and by whom, beyond the LAN, at first.
    pub circle: Circle,
}

/// Who is found, and by whom, beyond the LAN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circle {
    /// Rendezvous nodes, each address with `/p2p/<id>` at its end; several addresses may lead to one node. Two of the
    /// nodes, chosen by rendezvous hashing, are kept connected. At most [`Circle::MAX_NODES`].
    pub nodes: Vec<Multiaddr>,
    /// Be listed in the lobby of the nodes, and see who is.
    pub lobby: bool,
    /// Be listed in these rooms, and see who is. At most [`Circle::MAX_ROOMS`].
    pub rooms: Vec<Room>,
    /// See when these people are there, whatever place they are in. At most [`Circle::MAX_CONTACTS`].
    pub contacts: Vec<PeerId>,
    /// To these people we are not there, on the LAN as through nodes: no connection with them is kept. At most
    /// [`Circle::MAX_BLOCKED`].
    pub blocked: Vec<PeerId>,
    /// Use nodes that those of the circle know, too: be found there by contacts, and look for contacts there. They see
    /// our IP address, our name, when we are there, and for whom we look on them. Of no effect with
    /// [`Circle::relay_only`].
    pub learn_nodes: bool,
    /// Never let anybody beyond the LAN learn our IP address: signalling stays on the nodes' relays.
    pub relay_only: bool,
}

impl Circle {
    /// Most addresses of nodes.
    pub const MAX_NODES: usize = 32;
    /// Most rooms.
    pub const MAX_ROOMS: usize = 16;
    /// Most contacts.
    pub const MAX_CONTACTS: usize = 1000;
    /// Most people who are blocked.
    pub const MAX_BLOCKED: usize = 1000;
}

/// How a rendezvous node is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// Which.
    pub node: PeerId,
    /// What is known.
    pub link: NodeLink,
}

/// How the connection with a rendezvous node is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeLink {
    /// Being connected.
    Connecting,
    /// Connected, and we are listed as wished.
    Online {
        /// To the node and back.
        rtt: std::time::Duration,
        /// It relays media.
        turn: bool,
    },
    /// Could not be connected, or was lost; it is tried again.
    Failed {
        /// Why, in English, for the curious.
        reason: String,
    },
    /// Not needed now: two others are connected, or it was removed.
    Idle,
}

/// A STUN or TURN server that a node offers for the media of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceServer {
    /// As in RFC 7064 and RFC 7065, such as `turn:192.0.2.1:3478?transport=udp`.
    pub url: String,
    /// For TURN; empty for STUN.
    pub username: String,
    /// For TURN; empty for STUN.
    pub password: String,
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
    /// How a node is doing has changed.
    Node(NodeState),
    /// Those that our nodes know have changed, and are used, too, from now on ([`Circle::learn_nodes`]): their addresses,
    /// each with `/p2p/<id>`.
    LearnedNodes(Vec<Multiaddr>),
    /// These servers may be used for the media of calls from now on, in place of those before. Access runs out: whoever
    /// restarts a connection takes the newest.
    IceServers(Vec<IceServer>),
    /// The addresses of this machine changed: running calls should look for new paths.
    NetworkChanged,
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
pub enum Error {
    /// The identity file can't be kept.
    #[error("cannot {step} the identity file {}: {source}; {}", path.display(), advice(source))]
    Identity {
        /// What failed.
        step: IdentityStep,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An address can't be listened on.
    #[error("cannot listen on {address}: {reason}; use another address or port, or stop the program that has it")]
    Listen {
        /// The address.
        address: Multiaddr,
        /// Why.
        reason: String,
    },
    /// A part of the network can't be set up. A bug, or a very unusual machine.
    #[error("cannot set up {part}: {reason}")]
    SetUp {
        /// The part.
        part: &'static str,
        /// Why.
        reason: String,
    },
}

/// What failed with the identity file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityStep {
    /// Writing a new one.
    Write,
    /// Taking the rights of others away from it.
    Protect,
    /// Renaming a damaged one.
    SetAside,
}

impl std::fmt::Display for IdentityStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Write => "write",
            Self::Protect => "protect",
            Self::SetAside => "set aside",
        })
    }
}

/// What a person can do about a file that can't be written.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the disk is full: free some space",
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only: choose another data directory",
        io::ErrorKind::PermissionDenied => "make the folder writable for you, or choose another data directory",
        _ => "check the folder, or choose another data directory",
    }
}

/// Starts the network on the current tokio runtime.
///
/// # Panics
///
/// Outside of a tokio runtime.
pub fn spawn(config: Config) -> Result<(Handle, EventReceiver), Error> {
    let (commands, command_receiver) = mpsc::channel(MAX_COMMANDS);
    let (events, event_receiver) = mpsc::channel(MAX_EVENTS);
    let (profile, profile_receiver) = watch::channel(config.profile.clone());
    let (circle, circle_receiver) = watch::channel(config.circle.clone());
    let (vouched, vouched_receiver) = watch::channel(None);
    let wishes = Wishes { profile: profile_receiver, circle: circle_receiver, vouched: vouched_receiver };
    let event_loop = EventLoop::new(&config, command_receiver, wishes, events)?;
    // Ends when the last handle is gone; a panic in it closes the event channel, which the app sees.
    tokio::spawn(event_loop.run());
    let handle = Handle { commands, profile: Arc::new(profile), circle: Arc::new(circle), vouched: Arc::new(vouched) };
    Ok((handle, event_receiver))
}

/// Commands to a running network. Cheap to clone; the network stops when [`Handle::shutdown`] is called or the last
/// clone is dropped.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    /// Latest wins: however often the profile changes, its last state is announced.
    profile: Arc<watch::Sender<Profile>>,
    /// Latest wins, too.
    circle: Arc<watch::Sender<Circle>>,
    /// And here.
    vouched: Arc<watch::Sender<Option<PeerId>>>,
}

impl Handle {
    /// Announces a new profile to everyone.
    pub fn set_profile(&self, profile: Profile) {
        self.profile.send_if_modified(|current| {
            let changed = *current != profile;
            *current = profile;
            changed
        });
    }

    /// Changes who is found, and by whom, beyond the LAN.
    pub fn set_circle(&self, circle: Circle) {
        self.circle.send_if_modified(|current| {
            let changed = *current != circle;
            *current = circle;
            changed
        });
    }

    /// Media of a call with this person flows, or nobody's does any more: as long as it does, silence on a connection
    /// with them is a full path, and not their death.
    pub fn vouch_for(&self, peer: Option<PeerId>) {
        self.vouched.send_if_modified(|current| std::mem::replace(current, peer) != peer);
    }

    /// Sends one signalling message. The first one for a [`CallId`], an invitation, opens its stream. Messages of a
    /// call arrive in order and once, also when a connection breaks in between; when they can't be delivered within
    /// four seconds, [`Event::SignalFailed`] says so, and at once when it is known that they can't. After that, further
    /// messages with this id are ignored. Never blocks.
    pub fn send(&self, peer: PeerId, call: CallId, body: signalling::Body) {
        self.command(Command::Send { peer, call, body });
    }

    /// Ends a call's stream after what was sent is delivered (bounded wait). Later messages with this id are ignored.
    pub fn close_call(&self, peer: PeerId, call: CallId) {
        self.command(Command::CloseCall { peer, call });
    }

    /// Connects to somebody whose address is known. If it ends with `/p2p/<id>`, to nobody else, trying again for ten
    /// minutes if need be.
    pub fn dial(&self, address: Multiaddr) {
        self.command(Command::Dial { address });
    }

    /// Says goodbye to everyone, delivers what is queued (at most 500 ms), and stops.
    pub async fn shutdown(self) {
        let (done, stopped) = oneshot::channel();
        if self.commands.send(Command::Shutdown { done }).await.is_ok() {
            // An error means that it has stopped already.
            let _ = stopped.await;
        }
    }

    fn command(&self, command: Command) {
        match self.commands.try_send(command) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::warn!("too many commands wait: one is dropped");
            }
        }
    }
}

/// Receives [`Event`]s; `None` means that the network stopped.
pub type EventReceiver = mpsc::Receiver<Event>;
