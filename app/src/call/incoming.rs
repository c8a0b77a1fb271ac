//! They call: from their invitation to the person's word, and what to do when two invitations meet.

use std::time::Instant;

use parlor_media::CameraState;
use parlor_net::signalling::{Body, ByeReason, CallKind, DeclineReason};
use tracing::{debug, info};

use super::{
    Active, Answering, Call, CallMachine, CallNotice, Connected, Effect, EndReason, Inviting, MediaCommand,
    Negotiating, Progress, Reconnecting, Ringing, Role, Sending, State,
    candidates::{Allowance, Held},
    decline, glare,
    state::{Link, Restart},
    timers,
};

impl CallMachine {
    pub(super) fn invited(&mut self, now: Instant, state: State, call: Call, offer: String) -> State {
        if call.peer == self.me || state.is_call(call.id) || self.past.knows(call.id) {
            return state.ignoring("an invitation that is not new");
        }
        let is_busy = match state.call() {
            Some(current) => current.peer != call.peer,
            None => !self.takes_calls,
        };
        if is_busy {
            self.turn_away(now, &call);
            return state;
        }
        if state.active().is_some_and(|active| self.crossed_and_lost(now, active, &call)) {
            self.drop_invitation(&call);
            return state;
        }
        // They have one call as we do: a new invitation says that the old call is over for them.
        match state {
            State::Idle => self.ring(now, call, offer),
            State::Inviting(inviting) => self.invitations_crossed(now, inviting, call, offer),
            State::Ringing(Ringing { call: old, .. })
            | State::Answering(Answering { active: Active { call: old, .. }, .. }) => {
                self.end(old, None, EndReason::RemoteCancelled);
                self.ring(now, call, offer)
            }
            State::Negotiating(Negotiating { active, .. })
            | State::Connected(Connected { active, .. })
            | State::Reconnecting(Reconnecting { active, .. }) => {
                self.end(active.call, None, EndReason::RemoteHungUp);
                self.ring(now, call, offer)
            }
        }
    }

    /// `running` is our invitation, and `late` is theirs that crossed it, lost, and was long on its way. Later than that
    /// it is news.
    fn crossed_and_lost(&self, now: Instant, running: &Active, late: &Call) -> bool {
        match running.role {
            Role::Caller => {
                now.saturating_duration_since(running.accepted_at) < timers::GLARE
                    && glare::ours_wins((running.call.id, self.me), (late.id, late.peer))
            }
            Role::Callee => false,
        }
    }

    /// Idle -> Ringing: the media engine prepares the answer, and opens nothing.
    fn ring(&mut self, now: Instant, call: Call, offer: String) -> State {
        if self.past.rings_too_often(now) {
            debug!(call = %call.id, peer = %call.peer, "too many invitations");
            self.refuse(&call, DeclineReason::Busy);
            return State::Idle;
        }
        info!(call = %call.id, peer = %call.peer, kind = ?call.kind, "somebody calls");
        self.past.rang(now);
        self.send(&call, Body::Ringing);
        self.command(call.id, MediaCommand::Open { kind: call.kind });
        self.command(call.id, MediaCommand::AcceptOffer(offer));
        self.notice(CallNotice::Incoming { call: call.id, peer: call.peer, name: call.name.clone(), kind: call.kind });
        State::Ringing(Ringing {
            ours: Sending::all_of(call.kind),
            call,
            since: now,
            answer: None,
            local: Held::default(),
            remote: Held::default(),
        })
    }

    /// We both called. One of the invitations becomes the call, and neither person has to click again.
    fn invitations_crossed(&mut self, now: Instant, inviting: Inviting, call: Call, offer: String) -> State {
        let ours_wins = match inviting.progress {
            // They don't know of ours.
            Progress::Preparing { .. } => false,
            Progress::Sent { .. } | Progress::RingingThere { .. } => {
                glare::ours_wins((inviting.call.id, self.me), (call.id, call.peer))
            }
        };
        if ours_wins {
            self.drop_invitation(&call);
            State::Inviting(inviting)
        } else {
            self.yield_to(now, inviting, call, offer)
        }
    }

    /// Inviting -> Answering: their invitation becomes the call. We called them: that is consent, to what we asked for.
    fn yield_to(&mut self, now: Instant, inviting: Inviting, call: Call, offer: String) -> State {
        info!(call = %call.id, peer = %call.peer, yielded = %inviting.call.id, "both called: their invitation it is");
        self.let_go(&inviting.call, inviting.last_word(ByeReason::Cancelled));
        self.command(call.id, MediaCommand::Open { kind: call.kind });
        self.command(call.id, MediaCommand::AcceptOffer(offer));
        self.notice(CallNotice::Accepted { call: call.id, peer: call.peer });
        let camera = inviting.ours.camera && Sending::all_of(call.kind).camera;
        let ours = Sending { camera, ..inviting.ours };
        let active = Active::answering(now, call, ours);
        State::Answering(Answering { active, local: Held::default(), remote: Held::default() })
    }

    /// Ringing -> Answering, and on to Negotiating if our answer is ready: the person agreed.
    pub(super) fn accept(&mut self, now: Instant, ringing: Ringing) -> State {
        let Ringing { call, ours, since: _, answer, local, remote } = ringing;
        info!(call = %call.id, peer = %call.peer, "accepted here");
        self.past.accepted();
        self.notice(CallNotice::Accepted { call: call.id, peer: call.peer });
        let answering = Answering { active: Active::answering(now, call, ours), local, remote };
        match answer {
            Some(answer) => self.answer(now, answering, answer),
            None => State::Answering(answering),
        }
    }

    /// Answering -> Negotiating: our word goes out, then what was held.
    fn answer(&mut self, now: Instant, answering: Answering, answer: String) -> State {
        let Answering { mut active, local, remote } = answering;
        self.send(&active.call, Body::Accept { answer });
        if active.call.kind == CallKind::Video && !active.ours.camera {
            self.command(active.call.id, MediaCommand::SetCamera(false));
        }
        if !active.ours.microphone {
            self.command(active.call.id, MediaCommand::SetMicrophone(false));
        }
        self.command(active.call.id, MediaCommand::Start);
        active.told = active.ours;
        self.release(&active, local, remote);
        State::Negotiating(Negotiating::new(now, active))
    }

    /// The answer to an invitation, or to an ICE restart.
    pub(super) fn answer_ready(&mut self, now: Instant, mut state: State, answer: String) -> State {
        match state {
            State::Ringing(ref mut ringing) => {
                ringing.answer = Some(answer);
                state
            }
            State::Answering(answering) => self.answer(now, answering, answer),
            State::Idle | State::Inviting(_) => state.ignoring("an answer of ours"),
            State::Negotiating(_) | State::Connected(_) | State::Reconnecting(_) => {
                self.restart_answer_ready(now, state, answer)
            }
        }
    }

    pub(super) fn decline(&mut self, ringing: Ringing) -> State {
        self.end(ringing.call, decline(DeclineReason::Declined), EndReason::Declined)
    }

    /// A second caller gets busy; the person hears of it, now and then.
    fn turn_away(&mut self, now: Instant, call: &Call) {
        self.refuse(call, DeclineReason::Busy);
        if self.past.missed(now, call.peer) {
            info!(call = %call.id, peer = %call.peer, "somebody called while we were busy");
            self.notice(CallNotice::MissedWhileBusy { peer: call.peer, name: call.name.clone() });
        }
    }

    fn refuse(&mut self, call: &Call, reason: DeclineReason) {
        self.send(call, Body::Decline { reason });
        self.drop_invitation(call);
    }

    /// No answer to this invitation; it stays dead should it come again.
    fn drop_invitation(&mut self, call: &Call) {
        self.effects.push_back(Effect::CloseSignal { peer: call.peer, call: call.id });
        self.past.remember(call.id);
    }
}

impl Active {
    fn answering(now: Instant, call: Call, ours: Sending) -> Self {
        Self {
            role: Role::Callee,
            accepted_at: now,
            ours,
            theirs: Sending::all_of(call.kind),
            camera: CameraState::Closed,
            told: ours,
            link: Link::Up,
            restart: Restart::Settled { not_before: now },
            path_is_stale: false,
            allowance: Allowance::default(),
            call,
        }
    }
}
