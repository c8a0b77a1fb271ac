use std::{sync::Arc, time::SystemTime};

use parlor_media::{CameraState, Path, Stats};
use parlor_net::{CallId, Multiaddr, NodeLink, PeerId, RoomId, Status, Via, signalling::CallKind};

use super::{History, NewDevice, Screens, TrialView, media::ActiveMedia, quality::quality};
use crate::{
    call::{self, Active, Progress, State},
    contacts::Standing,
    doctor::Finding,
    room::RoomKey,
    settings::Settings,
};

/// Everything that *is*, for whoever draws it. Made anew by the engine after each change; what *happened* comes as
/// [`super::Notice`]s.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Who we are.
    pub me: Me,
    /// Who is online, and contacts who are not; sorted by name, then by key.
    pub people: Vec<PersonView>,
    /// The nodes that are used, those of this run first.
    pub nodes: Vec<NodeView>,
    /// The rooms that we are in.
    pub rooms: Vec<RoomView>,
    /// Who is blocked: their key and their name.
    pub blocked: Vec<(PeerId, String)>,
    /// The camera looks for a QR code.
    pub scanning: bool,
    /// The call, if there is one.
    pub call: CallView,
    /// What can be chosen in the settings.
    pub devices: Devices,
    /// What was plugged in, and is to be used or not.
    pub new_devices: Vec<NewDevice>,
    /// What can be shared, since the person asked.
    pub screens: Screens,
    /// Camera and sound are being tried.
    pub trial: Option<TrialView>,
    /// What works and what does not, since the person asked.
    pub checkup: Checkup,
    /// The settings in use.
    pub settings: Settings,
}

/// What works and what does not.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Checkup {
    /// Nobody asked.
    #[default]
    None,
    /// It is being looked at.
    Running,
    /// What was found.
    Done(Arc<[Finding]>),
}

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Me {
    /// Our key's hash.
    pub peer: PeerId,
    /// Our name; `None` until it was typed once.
    pub name: Option<String>,
    /// The network can be used.
    pub online: bool,
}

/// Somebody who is online, or a contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonView {
    /// Their key's hash. The fingerprint and colour that tell namesakes apart are derived from it.
    pub peer: PeerId,
    /// Their name: the one that the person gave them, or the one that they say.
    pub name: String,
    /// The name that they say, if the person calls them otherwise.
    pub says: Option<String>,
    /// Somebody else here, or we, have the same name: show the fingerprint.
    pub has_namesake: bool,
    /// They have the name of a contact, and another key: perhaps the contact's new machine, perhaps somebody who wants to
    /// be taken for them.
    pub borrows_name: bool,
    /// Whether they are there.
    pub presence: Presence,
    /// What they are to the person.
    pub standing: Standing,
    /// The rooms that they were found in.
    pub rooms: Vec<RoomId>,
    /// Nodes where they are found, as their link said.
    pub nodes: Vec<Multiaddr>,
}

/// Whether somebody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// They are.
    Online {
        /// Free or in a call.
        status: Status,
        /// How they are reached.
        via: Via,
    },
    /// A contact who is not.
    Offline,
}

/// A rendezvous node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Its key's hash.
    pub node: PeerId,
    /// Its addresses, at least one.
    pub addresses: Vec<Multiaddr>,
    /// How it is doing.
    pub link: NodeLink,
    /// It is in the settings, and so can be removed; otherwise the command line named it.
    pub kept: bool,
}

/// A room that we are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomView {
    /// Its name and secret.
    pub key: RoomKey,
    /// What people who are found there are marked with; `None` while that is being computed.
    pub id: Option<RoomId>,
}

/// The one call, as the person sees it.
#[derive(Clone, Debug, PartialEq)]
pub enum CallView {
    /// No call.
    Idle,
    /// We are calling.
    Outgoing {
        /// The call.
        call: CallId,
        /// Whom.
        peer: PeerId,
        /// Their name.
        name: String,
        /// With a picture or without.
        kind: CallKind,
        /// It rings there; otherwise the invitation is still on its way.
        ringing: bool,
    },
    /// Somebody is calling us.
    Incoming {
        /// The call.
        call: CallId,
        /// Who.
        peer: PeerId,
        /// Their name.
        name: String,
        /// With a picture or without.
        kind: CallKind,
        /// They have the name of a contact, and another key.
        borrows_name: bool,
    },
    /// Accepted; the connection is being made.
    Connecting(ActiveCall),
    /// Talking.
    Connected {
        /// The call.
        active: ActiveCall,
        /// When the media came up.
        since: SystemTime,
        /// The path that media takes.
        path: Path,
        /// The newest figures.
        stats: Box<Stats>,
        /// Those of the last minute.
        history: Arc<History>,
        /// How it feels.
        quality: Quality,
    },
    /// The path broke; trying to restore it.
    Reconnecting {
        /// The call.
        active: ActiveCall,
        /// When the media first came up.
        since: SystemTime,
    },
}

/// What an accepted call is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveCall {
    /// The call.
    pub call: CallId,
    /// With whom.
    pub peer: PeerId,
    /// Their name.
    pub name: String,
    /// With a picture or without.
    pub kind: CallKind,
    /// What we send.
    pub ours: Sending,
    /// What they say that they send.
    pub theirs: Sending,
    /// What our camera does.
    pub camera: CameraState,
    /// What is called the screen or window that we share.
    pub sharing: Option<String>,
}

/// How a call feels, judged from loss, delay and frame rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quality {
    /// Not known yet.
    Unknown,
    /// As if in the same room.
    Good,
    /// Noticeably disturbed.
    Fair,
    /// Hard to talk.
    Poor,
}

pub use crate::call::Sending;
pub use parlor_media::{Device, Devices};

/// What the address book says of somebody in a call.
pub(super) struct Acquaintance {
    /// What they are called here.
    pub(super) name: String,
    /// They have the name of a contact, and another key.
    pub(super) borrows_name: bool,
}

/// The call as the person sees it. `since` is when its media first came up, on the wall clock.
pub(super) fn call_view(
    state: &State,
    since: SystemTime,
    media: &ActiveMedia,
    acquaintance: impl Fn(&call::Call) -> Acquaintance,
) -> CallView {
    let active_view = |active: &Active| ActiveCall {
        name: acquaintance(&active.call).name,
        sharing: media.sharing.clone(),
        ..active.into()
    };
    match state {
        State::Idle => CallView::Idle,
        State::Inviting(call::Inviting { call, progress, .. }) => CallView::Outgoing {
            call: call.id,
            peer: call.peer,
            name: acquaintance(call).name,
            kind: call.kind,
            ringing: matches!(progress, Progress::RingingThere { .. }),
        },
        State::Ringing(call::Ringing { call, .. }) => {
            let Acquaintance { name, borrows_name } = acquaintance(call);
            CallView::Incoming { call: call.id, peer: call.peer, name, kind: call.kind, borrows_name }
        }
        State::Answering(call::Answering { active, .. }) | State::Negotiating(call::Negotiating { active, .. }) => {
            CallView::Connecting(active_view(active))
        }
        State::Connected(call::Connected { active, path, .. }) => CallView::Connected {
            active: active_view(active),
            since,
            path: path.clone(),
            stats: media.stats.clone(),
            history: Arc::clone(&media.history),
            quality: quality(&media.stats),
        },
        State::Reconnecting(call::Reconnecting { active, .. }) => {
            CallView::Reconnecting { active: active_view(active), since }
        }
    }
}

impl From<&Active> for ActiveCall {
    fn from(active: &Active) -> Self {
        Self {
            call: active.call.id,
            peer: active.call.peer,
            name: active.call.name.clone(),
            kind: active.call.kind,
            ours: active.ours,
            theirs: active.theirs,
            camera: active.camera,
            sharing: None,
        }
    }
}
