use std::{path::PathBuf, sync::Arc};

use parlor_media::{DeviceProblem, Path, ScreenInfo, ScreenProblem};
use parlor_net::{CallId, Multiaddr, NodeLink, OfflineReason, PeerId, Via, signalling::CallKind};

use crate::call::CallNotice;

/// Something that happened, to be said once (the window shows a line, the headless app prints an event).
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// The network is ready.
    Ready {
        /// The addresses that are listened on.
        listen: Vec<String>,
    },
    /// Somebody came online.
    PeerOnline {
        /// Who.
        peer: PeerId,
        /// Their name.
        name: String,
        /// How they are reached.
        via: Via,
    },
    /// Somebody went offline.
    PeerOffline {
        /// Who.
        peer: PeerId,
        /// Their name.
        name: String,
        /// Why.
        reason: OfflineReason,
    },
    /// Our invitation is on its way.
    Inviting {
        /// The call.
        call: CallId,
        /// Whom.
        peer: PeerId,
    },
    /// It rings there: the invitation is shown to them.
    RingingThere {
        /// The call.
        call: CallId,
        /// Whom.
        peer: PeerId,
    },
    /// It rings here: ring, and ask for the person's attention.
    Incoming {
        /// The call.
        call: CallId,
        /// Who calls.
        peer: PeerId,
        /// Their name.
        name: String,
        /// With a picture or without.
        kind: CallKind,
    },
    /// The invitation was accepted, there or here.
    Accepted {
        /// The call.
        call: CallId,
        /// With whom.
        peer: PeerId,
    },
    /// Media flows.
    Connected {
        /// The call.
        call: CallId,
        /// The path that media takes.
        path: Path,
        /// From acceptance to now, milliseconds.
        setup_ms: u64,
    },
    /// The first remote picture is there.
    FirstVideoFrame {
        /// The call.
        call: CallId,
        /// From acceptance to now, milliseconds.
        since_accept_ms: u64,
    },
    /// The first remote sound is there.
    FirstAudio {
        /// The call.
        call: CallId,
        /// From acceptance to now, milliseconds.
        since_accept_ms: u64,
    },
    /// This screen or window of ours is shared.
    Sharing {
        /// The call.
        call: CallId,
        /// What it is called.
        name: String,
    },
    /// Nothing of ours is shared any more, or could be.
    SharingOver {
        /// The call.
        call: CallId,
        /// Why, unless the person wanted it.
        problem: Option<ScreenProblem>,
    },
    /// They share a screen now, or no longer.
    TheirScreen {
        /// The call.
        call: CallId,
        /// They do.
        on: bool,
    },
    /// The first picture of their screen is there.
    FirstScreenFrame {
        /// The call.
        call: CallId,
    },
    /// What can be shared was looked for.
    ScreensListed(Result<Arc<[ScreenInfo]>, ScreenProblem>),
    /// The path broke.
    Reconnecting {
        /// The call.
        call: CallId,
    },
    /// The path is back.
    Reconnected {
        /// The call.
        call: CallId,
    },
    /// The call is over, or the invitation came to nothing.
    Ended {
        /// The call.
        call: CallId,
        /// With whom.
        peer: PeerId,
        /// Their name.
        name: String,
        /// Why.
        reason: EndReason,
    },
    /// Our camera and microphone are closed.
    DevicesClosed {
        /// The call that they were open for.
        call: CallId,
        /// From the end of the call to now, milliseconds.
        after_ms: u64,
    },
    /// Somebody called while we were in a call, and was told so.
    MissedWhileBusy {
        /// Who.
        peer: PeerId,
        /// Their name.
        name: String,
    },
    /// A device or file is not as it should be.
    Device(DeviceProblem),
    /// A device that was chosen can't be used: the one before stays in use.
    DeviceRefused(DeviceProblem),
    /// These were plugged in, and are used from now on: their names.
    NewDevicesUsed(Vec<String>),
    /// The identity could not be read. It was set aside, and this is a new person, whom others do not recognise.
    IdentityReplaced {
        /// Where the old key is now.
        kept: PathBuf,
        /// What was wrong with it.
        problem: String,
    },
    /// A node is doing otherwise than before, apart from its round-trip time.
    Node {
        /// Which.
        node: PeerId,
        /// How it is doing.
        link: NodeLink,
    },
    /// These nodes, which ours know, are used, too, from now on: their addresses.
    LearnedNodes(Vec<Multiaddr>),
    /// A link was opened outside of the window, or held up to the camera: show whom it leads to.
    OpenLink(String),
    /// Somebody can't be added or blocked: there are too many already.
    ContactsFull,
    /// Settings, or another file of ours, could not be read or written. The text says which and what to do.
    Storage(String),
    /// The network can't do what it should; the text is for the log and for the curious.
    Network(String),
}

pub use crate::call::EndReason;

impl From<CallNotice> for Notice {
    fn from(notice: CallNotice) -> Self {
        match notice {
            CallNotice::Inviting { call, peer } => Self::Inviting { call, peer },
            CallNotice::RingingThere { call, peer } => Self::RingingThere { call, peer },
            CallNotice::Incoming { call, peer, name, kind } => Self::Incoming { call, peer, name, kind },
            CallNotice::Accepted { call, peer } => Self::Accepted { call, peer },
            CallNotice::Connected { call, path, setup } => {
                let setup_ms = setup.as_millis().try_into().unwrap_or(u64::MAX);
                Self::Connected { call, path, setup_ms }
            }
            CallNotice::TheirScreen { call, on } => Self::TheirScreen { call, on },
            CallNotice::Reconnecting { call } => Self::Reconnecting { call },
            CallNotice::Reconnected { call } => Self::Reconnected { call },
            CallNotice::Ended { call, peer, name, reason } => Self::Ended { call, peer, name, reason },
            CallNotice::MissedWhileBusy { peer, name } => Self::MissedWhileBusy { peer, name },
        }
    }
}
