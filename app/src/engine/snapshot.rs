use std::time::SystemTime;

use parlor_media::{CameraState, Path, Stats};
use parlor_net::{CallId, PeerId, Status, Via, signalling::CallKind};

use super::quality::quality;
use crate::{
    call::{self, Active, Progress, State},
    settings::Settings,
};

/// Everything that *is*, for whoever draws it. Made anew by the engine after each change; what *happened* comes as
/// [`super::Notice`]s.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Who we are.
    pub me: Me,
    /// Who is online, sorted by name, then by key.
    pub people: Vec<PersonView>,
    /// The call, if there is one.
    pub call: CallView,
    /// What can be chosen in the settings.
    pub devices: Devices,
    /// The settings in use.
    pub settings: Settings,
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

/// Somebody who is online.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonView {
    /// Their key's hash. The fingerprint and colour that tell namesakes apart are derived from it.
    pub peer: PeerId,
    /// Their name.
    pub name: String,
    /// Somebody else here, or we, have the same name: show the fingerprint.
    pub has_namesake: bool,
    /// Free or in a call.
    pub status: Status,
    /// How they are reached.
    pub via: Via,
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

/// What can be chosen in the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    /// Cameras.
    pub cameras: Vec<Device>,
    /// Microphones, without the monitors of loudspeakers.
    pub microphones: Vec<Device>,
    /// Loudspeakers.
    pub speakers: Vec<Device>,
}

pub use crate::call::Sending;
pub use parlor_media::Device;

/// The call as the person sees it. `since` is when its media first came up, on the wall clock.
pub(super) fn call_view(state: &State, since: SystemTime, stats: &Stats) -> CallView {
    match state {
        State::Idle => CallView::Idle,
        State::Inviting(call::Inviting { call, progress, .. }) => CallView::Outgoing {
            call: call.id,
            peer: call.peer,
            name: call.name.clone(),
            kind: call.kind,
            ringing: matches!(progress, Progress::RingingThere { .. }),
        },
        State::Ringing(call::Ringing { call, .. }) => {
            CallView::Incoming { call: call.id, peer: call.peer, name: call.name.clone(), kind: call.kind }
        }
        State::Answering(call::Answering { active, .. }) | State::Negotiating(call::Negotiating { active }) => {
            CallView::Connecting(active.into())
        }
        State::Connected(call::Connected { active, path, .. }) => CallView::Connected {
            active: active.into(),
            since,
            path: path.clone(),
            stats: Box::new(stats.clone()),
            quality: quality(stats),
        },
        State::Reconnecting(call::Reconnecting { active, .. }) => {
            CallView::Reconnecting { active: active.into(), since }
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
        }
    }
}
