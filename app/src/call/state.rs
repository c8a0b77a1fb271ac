use std::time::Instant;

use parlor_media::{CameraState, Path};
use parlor_net::{
    CallId, PeerId,
    signalling::{Body, CallKind},
};
use tracing::debug;

use super::{
    candidates::{Allowance, Held},
    timers,
};

/// Where a person's one call stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum State {
    /// No call.
    #[default]
    Idle,
    /// We are calling.
    Inviting(Inviting),
    /// Somebody is calling us.
    Ringing(Ringing),
    /// We accepted, and our media engine is still writing the answer.
    Answering(Answering),
    /// Both agreed; media is being connected.
    Negotiating(Negotiating),
    /// Media flows.
    Connected(Connected),
    /// The path broke; trying to restore it.
    Reconnecting(Reconnecting),
}

/// What a call is from its first message on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its id.
    pub id: CallId,
    /// With whom.
    pub peer: PeerId,
    /// Their name, fit for display.
    pub name: String,
    /// With a picture or without.
    pub kind: CallKind,
}

/// Which media somebody sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sending {
    /// A picture.
    pub camera: bool,
    /// A voice.
    pub microphone: bool,
    /// A screen or window.
    pub screen: bool,
}

impl Sending {
    /// All that a call of this kind carries from its beginning: a screen is only shared when somebody chooses one.
    pub const fn all_of(kind: CallKind) -> Self {
        let camera = match kind {
            CallKind::Video => true,
            CallKind::Audio => false,
        };
        Self { camera, microphone: true, screen: false }
    }
}

impl From<Sending> for Body {
    fn from(Sending { camera, microphone, screen }: Sending) -> Self {
        Self::Media { camera, microphone, screen }
    }
}

/// We are calling.
#[derive(Clone, Debug, PartialEq)]
pub struct Inviting {
    /// The call.
    pub call: Call,
    /// How far the invitation got.
    pub progress: Progress,
    /// What the person wants to send.
    pub ours: Sending,
    /// What our camera does, for the preview.
    pub camera: CameraState,
    /// Candidates of ours, which they get when they accepted.
    pub(super) local: Held,
    /// Candidates of theirs that came before their acceptance.
    pub(super) remote: Held,
}

/// How far an invitation got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Our media engine writes the offer. Nothing was sent yet.
    Preparing {
        /// Our name, as the invitation will say it.
        my_name: String,
        /// When it took too long.
        deadline: Instant,
    },
    /// Sent; they have not said that it rings.
    Sent {
        /// When it was sent.
        at: Instant,
    },
    /// It rings there.
    RingingThere {
        /// When the invitation was sent.
        sent_at: Instant,
    },
}

impl Progress {
    pub(super) fn deadline(&self) -> Instant {
        match self {
            Self::Preparing { deadline, .. } => *deadline,
            Self::Sent { at } => *at + timers::INVITE_DELIVERY,
            Self::RingingThere { sent_at } => *sent_at + timers::RING,
        }
    }
}

/// Somebody is calling us.
#[derive(Clone, Debug, PartialEq)]
pub struct Ringing {
    /// The call.
    pub call: Call,
    /// What the person wants to send if they accept.
    pub ours: Sending,
    /// When it began to ring.
    pub since: Instant,
    /// Our answer, as soon as the media engine has it.
    pub(super) answer: Option<String>,
    /// Candidates of ours, which they get when the person accepted.
    pub(super) local: Held,
    /// Candidates of theirs that came before the person accepted.
    pub(super) remote: Held,
}

/// What an accepted call is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Active {
    /// The call.
    pub call: Call,
    /// Who offers and who answers.
    pub role: Role,
    /// When it was accepted.
    pub accepted_at: Instant,
    /// What the person wants to send.
    pub ours: Sending,
    /// What they say that they send.
    pub theirs: Sending,
    /// What our camera does.
    pub camera: CameraState,
    /// What we last told them that we send.
    pub(super) told: Sending,
    /// Whether messages get through.
    pub(super) link: Link,
    /// Where the ICE restart stands.
    pub(super) restart: Restart,
    /// Our network changed since paths were looked for last: to be restarted as soon as that is possible.
    pub(super) path_is_stale: bool,
    /// How many candidates they may still add.
    pub(super) allowance: Allowance,
}

/// Who offers and who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// We called.
    Caller,
    /// They called.
    Callee,
}

/// Whether messages get through to the other side, as far as we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    /// They fell silent. They may come back, and so will the messages.
    Silent {
        since: Instant,
    },
    /// The network gave this call's messages up, for good.
    Dead {
        since: Instant,
    },
}

impl Link {
    pub(super) fn heard(&mut self) {
        match self {
            Self::Up | Self::Silent { .. } => *self = Self::Up,
            Self::Dead { .. } => {}
        }
    }

    /// What became of it. It gets worse step by step, and the first moment of trouble counts.
    pub(super) fn worsened(self, to: Self) -> Self {
        match (self, to) {
            (Self::Up, to) => to,
            (Self::Silent { since }, Self::Dead { .. }) => Self::Dead { since },
            (Self::Silent { .. } | Self::Dead { .. }, Self::Up | Self::Silent { .. } | Self::Dead { .. }) => self,
        }
    }
}

/// Where the ICE restart stands. The caller offers; the callee asks for an offer and answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    /// None is under way. The caller may start one, or the callee ask for one, at this time.
    Settled { not_before: Instant },
    /// Our media engine writes the offer (caller) or the answer (callee). Candidates of ours follow it.
    Describing { local: Held },
    /// The caller's offer is sent; the answer is awaited.
    Offered,
}

/// We accepted, and our media engine is still writing the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answering {
    /// The call.
    pub active: Active,
    /// Candidates of ours, which follow the answer.
    pub(super) local: Held,
    /// Candidates of theirs that came early.
    pub(super) remote: Held,
}

/// Both agreed; media is being connected.
#[derive(Clone, Debug, PartialEq)]
pub struct Negotiating {
    /// The call.
    pub active: Active,
    /// When the caller restarts ICE, should no path have been found by then.
    pub(super) restart_at: Instant,
}

/// Media flows.
#[derive(Clone, Debug, PartialEq)]
pub struct Connected {
    /// The call.
    pub active: Active,
    /// When media first came up.
    pub since: Instant,
    /// The path that media takes.
    pub path: Path,
}

/// The path broke; trying to restore it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reconnecting {
    /// The call.
    pub active: Active,
    /// When media first came up.
    pub since: Instant,
    /// When the path broke.
    pub broke_at: Instant,
}

impl Reconnecting {
    /// When to give up: soon if nothing of the other side can be reached.
    pub(super) fn gives_up_at(&self) -> Instant {
        let patient = self.broke_at + timers::RECONNECT;
        match self.active.link {
            Link::Up => patient,
            Link::Silent { since } | Link::Dead { since } => patient.min(since.max(self.broke_at) + timers::PEER_GONE),
        }
    }
}

impl Negotiating {
    /// Descriptions are exchanged.
    pub(super) fn new(now: Instant, active: Active) -> Self {
        Self { active, restart_at: now + timers::FIRST_PATH }
    }

    /// When an ICE restart may begin. The caller alone decides: both sides see the same, that there is no path yet.
    pub(super) fn restarts_at(&self) -> Option<Instant> {
        match self.active.role {
            Role::Caller => self.active.restarts_at().map(|at| at.max(self.restart_at)),
            Role::Callee => None,
        }
    }

    /// When to give up: soon if nothing of the other side can be reached.
    pub(super) fn gives_up_at(&self) -> Instant {
        let patient = self.active.accepted_at + timers::CONNECT;
        match self.active.link {
            Link::Up => patient,
            Link::Silent { since } | Link::Dead { since } => patient.min(since + timers::PEER_GONE),
        }
    }
}

impl Active {
    /// When the next ICE restart may begin, now that one is done.
    pub(super) fn settled(&self, now: Instant) -> Restart {
        let not_before = if self.path_is_stale { now } else { now + timers::RESTART_RETRY };
        Restart::Settled { not_before }
    }

    /// When an ICE restart may begin: the other side must be there to hear of it.
    pub(super) fn restarts_at(&self) -> Option<Instant> {
        match self.link {
            Link::Up => match self.restart {
                Restart::Settled { not_before } => Some(not_before),
                Restart::Describing { .. } | Restart::Offered => None,
            },
            Link::Silent { .. } | Link::Dead { .. } => None,
        }
    }
}

impl State {
    /// The call, if there is one.
    pub fn call(&self) -> Option<&Call> {
        match self {
            Self::Idle => None,
            Self::Inviting(inviting) => Some(&inviting.call),
            Self::Ringing(ringing) => Some(&ringing.call),
            Self::Answering(Answering { active, .. })
            | Self::Negotiating(Negotiating { active, .. })
            | Self::Connected(Connected { active, .. })
            | Self::Reconnecting(Reconnecting { active, .. }) => Some(&active.call),
        }
    }

    /// The accepted call, if there is one.
    pub fn active(&self) -> Option<&Active> {
        match self {
            Self::Idle | Self::Inviting(_) | Self::Ringing(_) => None,
            Self::Answering(Answering { active, .. })
            | Self::Negotiating(Negotiating { active, .. })
            | Self::Connected(Connected { active, .. })
            | Self::Reconnecting(Reconnecting { active, .. }) => Some(active),
        }
    }

    pub(super) fn active_mut(&mut self) -> Option<&mut Active> {
        match self {
            Self::Idle | Self::Inviting(_) | Self::Ringing(_) => None,
            Self::Answering(Answering { active, .. })
            | Self::Negotiating(Negotiating { active, .. })
            | Self::Connected(Connected { active, .. })
            | Self::Reconnecting(Reconnecting { active, .. }) => Some(active),
        }
    }

    /// The call, once our side of its first descriptions is exchanged.
    pub(super) fn negotiated_mut(&mut self) -> Option<&mut Active> {
        match self {
            Self::Idle | Self::Inviting(_) | Self::Ringing(_) | Self::Answering(_) => None,
            Self::Negotiating(Negotiating { active, .. })
            | Self::Connected(Connected { active, .. })
            | Self::Reconnecting(Reconnecting { active, .. }) => Some(active),
        }
    }

    pub(super) fn is_call(&self, id: CallId) -> bool {
        self.call().is_some_and(|call| call.id == id)
    }

    pub(super) fn is_with(&self, peer: PeerId) -> bool {
        self.call().is_some_and(|call| call.peer == peer)
    }

    /// Stays as it is: `what` means nothing here.
    pub(super) fn ignoring(self, what: &'static str) -> Self {
        debug!(state = self.label(), what, "ignored");
        self
    }

    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Inviting(_) => "inviting",
            Self::Ringing(_) => "ringing",
            Self::Answering(_) => "answering",
            Self::Negotiating(_) => "negotiating",
            Self::Connected(_) => "connected",
            Self::Reconnecting(_) => "reconnecting",
        }
    }

    /// When [`super::CallMachine::handle_timeout`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Idle => None,
            Self::Connected(Connected { active, .. }) => active.restarts_at().filter(|_| active.path_is_stale),
            Self::Inviting(inviting) => Some(inviting.progress.deadline()),
            Self::Ringing(ringing) => Some(ringing.since + timers::RING_HERE),
            Self::Answering(answering) => Some(answering.active.accepted_at + timers::CONNECT),
            Self::Negotiating(negotiating) => {
                let gives_up_at = negotiating.gives_up_at();
                Some(negotiating.restarts_at().map_or(gives_up_at, |at| gives_up_at.min(at)))
            }
            Self::Reconnecting(reconnecting) => {
                let gives_up_at = reconnecting.gives_up_at();
                Some(reconnecting.active.restarts_at().map_or(gives_up_at, |at| gives_up_at.min(at)))
            }
        }
    }
}
