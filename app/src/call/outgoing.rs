//! We call: from the click to the other side's word.

use std::time::Instant;

use parlor_media::CameraState;
use parlor_net::signalling::{Body, ByeReason, CallKind, DeclineReason};
use tracing::info;

use super::{
    Active, Call, CallMachine, CallNotice, EndReason, Inviting, MediaCommand, Negotiating, Progress, Role, Sending,
    State,
    candidates::{Allowance, Held},
    state::{Link, Restart},
    timers,
};

impl CallMachine {
    /// Idle -> Inviting: our media engine writes the offer, and the person sees themselves.
    pub(super) fn invite(&mut self, now: Instant, call: Call, my_name: String) -> State {
        info!(call = %call.id, peer = %call.peer, kind = ?call.kind, "calling");
        self.command(call.id, MediaCommand::Open { kind: call.kind });
        match call.kind {
            CallKind::Video => self.command(call.id, MediaCommand::StartPreview),
            CallKind::Audio => {}
        }
        self.command(call.id, MediaCommand::CreateOffer);
        State::Inviting(Inviting {
            ours: Sending::all_of(call.kind),
            call,
            progress: Progress::Preparing { my_name, deadline: now + timers::OFFER },
            camera: CameraState::Closed,
            local: Held::default(),
            remote: Held::default(),
        })
    }

    /// The offer of an invitation, or of an ICE restart, goes out.
    pub(super) fn offer_ready(&mut self, now: Instant, mut state: State, offer: String) -> State {
        match &mut state {
            State::Inviting(inviting) => match &mut inviting.progress {
                Progress::Preparing { my_name, .. } => {
                    let invitation = Body::Invite { name: std::mem::take(my_name), kind: inviting.call.kind, offer };
                    inviting.progress = Progress::Sent { at: now };
                    self.send(&inviting.call, invitation);
                    self.notice(CallNotice::Inviting { call: inviting.call.id, peer: inviting.call.peer });
                    state
                }
                Progress::Sent { .. } | Progress::RingingThere { .. } => state.ignoring("a second offer"),
            },
            State::Idle
            | State::Ringing(_)
            | State::Answering(_)
            | State::Negotiating(_)
            | State::Connected(_)
            | State::Reconnecting(_) => self.restart_offer_ready(state, offer),
        }
    }

    pub(super) fn rings_there(&mut self, mut state: State) -> State {
        match &mut state {
            State::Inviting(inviting) => match inviting.progress {
                Progress::Sent { at } => {
                    inviting.progress = Progress::RingingThere { sent_at: at };
                    self.notice(CallNotice::RingingThere { call: inviting.call.id, peer: inviting.call.peer });
                    state
                }
                Progress::Preparing { .. } | Progress::RingingThere { .. } => state.ignoring("ringing"),
            },
            State::Idle
            | State::Ringing(_)
            | State::Answering(_)
            | State::Negotiating(_)
            | State::Connected(_)
            | State::Reconnecting(_) => state.ignoring("ringing"),
        }
    }

    /// Inviting -> Negotiating: consent, so what was held flows.
    pub(super) fn accepted_there(&mut self, now: Instant, state: State, answer: String) -> State {
        match state {
            State::Inviting(inviting) => match inviting.progress {
                Progress::Sent { .. } | Progress::RingingThere { .. } => self.connect(now, inviting, answer),
                Progress::Preparing { .. } => State::Inviting(inviting).ignoring("an acceptance"),
            },
            State::Idle
            | State::Ringing(_)
            | State::Answering(_)
            | State::Negotiating(_)
            | State::Connected(_)
            | State::Reconnecting(_) => state.ignoring("an acceptance"),
        }
    }

    fn connect(&mut self, now: Instant, inviting: Inviting, answer: String) -> State {
        let Inviting { call, ours, camera, local, remote, progress: _ } = inviting;
        info!(call = %call.id, peer = %call.peer, "accepted there");
        self.notice(CallNotice::Accepted { call: call.id, peer: call.peer });
        self.command(call.id, MediaCommand::AcceptAnswer(answer));
        self.command(call.id, MediaCommand::Start);
        let active = Active {
            role: Role::Caller,
            accepted_at: now,
            ours,
            theirs: Sending::all_of(call.kind),
            camera,
            told: ours,
            link: Link::Up,
            restart: Restart::Settled { not_before: now },
            path_is_stale: false,
            allowance: Allowance::default(),
            call,
        };
        self.release(&active, local, remote);
        State::Negotiating(Negotiating::new(now, active))
    }

    pub(super) fn declined_there(&mut self, state: State, reason: DeclineReason) -> State {
        let reason = match reason {
            DeclineReason::Declined => EndReason::RemoteDeclined,
            DeclineReason::Busy => EndReason::Busy,
            DeclineReason::NoAnswer => EndReason::NoAnswer,
            DeclineReason::Incompatible => EndReason::Incompatible,
        };
        match state {
            State::Inviting(inviting) => self.end(inviting.call, None, reason),
            State::Idle
            | State::Ringing(_)
            | State::Answering(_)
            | State::Negotiating(_)
            | State::Connected(_)
            | State::Reconnecting(_) => state.ignoring("a refusal"),
        }
    }

    pub(super) fn invitation_expired(&mut self, inviting: Inviting) -> State {
        let (said, reason) = match inviting.progress {
            Progress::Preparing { .. } => (ByeReason::MediaFailed, EndReason::MediaFailed),
            Progress::Sent { .. } => (ByeReason::Cancelled, EndReason::Unreachable),
            Progress::RingingThere { .. } => (ByeReason::NoAnswer, EndReason::NoAnswer),
        };
        let last_word = inviting.last_word(said);
        self.end(inviting.call, last_word, reason)
    }
}

impl Inviting {
    /// The invitation is taken back; there is nobody to tell before it was sent.
    pub(super) fn last_word(&self, reason: ByeReason) -> Option<Body> {
        match self.progress {
            Progress::Preparing { .. } => None,
            Progress::Sent { .. } | Progress::RingingThere { .. } => Some(Body::Bye { reason }),
        }
    }
}
