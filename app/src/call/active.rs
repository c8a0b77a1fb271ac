//! Both agreed: media comes up, breaks, is restored, and ends.

use std::{mem, time::Instant};

use parlor_media::Path;
use parlor_net::{
    PeerId,
    signalling::{Body, ByeReason, CallKind},
};
use tracing::{debug, info};

use super::{
    Active, Answering, Call, CallMachine, CallNotice, Connected, EndReason, MediaCommand, Negotiating, Reconnecting,
    Role, Sending, State, bye,
    candidates::{Allowance, Held},
    state::{Link, Restart},
    timers,
};

/// Consent is there: candidates flow, and each side says what it sends.
impl CallMachine {
    /// What was held until consent, and what we send from now on.
    pub(super) fn release(&mut self, active: &Active, local: Held, remote: Held) {
        self.send_candidates(&active.call, local);
        for candidate in remote {
            self.command(active.call.id, MediaCommand::AddCandidate(candidate));
        }
        self.send(&active.call, active.told.into());
    }

    fn send_candidates(&mut self, call: &Call, candidates: Held) {
        for candidate in candidates {
            self.send(call, Body::Candidate { candidate });
        }
    }

    pub(super) fn tell_sending(&mut self, active: &mut Active, sending: Sending) {
        if active.told != sending {
            active.told = sending;
            self.send(&active.call, sending.into());
        }
    }

    pub(super) fn they_send(&mut self, mut state: State, sending: Sending) -> State {
        match state.active_mut() {
            Some(active) => {
                let camera = sending.camera && active.call.kind == CallKind::Video;
                let screen_before = active.theirs.screen;
                active.theirs = Sending { camera, ..sending };
                if screen_before != sending.screen {
                    let (call, on) = (active.call.id, sending.screen);
                    info!(%call, peer = %active.call.peer, on, "their screen");
                    self.notice(CallNotice::TheirScreen { call, on });
                }
                state
            }
            None => state.ignoring("what they send"),
        }
    }

    pub(super) fn local_candidate(&mut self, mut state: State, candidate: String) -> State {
        match &mut state {
            State::Idle => {}
            State::Inviting(inviting) => inviting.local.push(candidate),
            State::Ringing(ringing) => ringing.local.push(candidate),
            State::Answering(answering) => answering.local.push(candidate),
            State::Negotiating(Negotiating { active, .. })
            | State::Connected(Connected { active, .. })
            | State::Reconnecting(Reconnecting { active, .. }) => match &mut active.restart {
                Restart::Describing { local } => local.push(candidate),
                Restart::Settled { .. } | Restart::Offered => self.send(&active.call, Body::Candidate { candidate }),
            },
        }
        state
    }

    pub(super) fn remote_candidate(&mut self, mut state: State, candidate: String) -> State {
        match &mut state {
            State::Idle => {}
            State::Inviting(inviting) => inviting.remote.push(candidate),
            State::Ringing(ringing) => ringing.remote.push(candidate),
            State::Answering(answering) => answering.remote.push(candidate),
            State::Negotiating(Negotiating { active, .. })
            | State::Connected(Connected { active, .. })
            | State::Reconnecting(Reconnecting { active, .. }) => {
                if active.allowance.spend() {
                    self.command(active.call.id, MediaCommand::AddCandidate(candidate));
                } else {
                    debug!(call = %active.call.id, "dropped a candidate: they sent too many");
                }
            }
        }
        state
    }
}

/// The path of the media.
impl CallMachine {
    /// Negotiating or Reconnecting -> Connected.
    pub(super) fn media_connected(&mut self, now: Instant, state: State, path: Path) -> State {
        match state {
            State::Negotiating(Negotiating { active, .. }) => {
                let (call, setup) = (active.call.id, now.saturating_duration_since(active.accepted_at));
                info!(%call, peer = %active.call.peer, path = ?path.kind, ?setup, "connected");
                self.notice(CallNotice::Connected { call, path: path.clone(), setup });
                State::Connected(Connected { active, since: now, path })
            }
            State::Reconnecting(Reconnecting { active, since, broke_at }) => {
                let (call, after) = (active.call.id, now.saturating_duration_since(broke_at));
                info!(%call, peer = %active.call.peer, path = ?path.kind, ?after, "reconnected");
                self.notice(CallNotice::Reconnected { call });
                State::Connected(Connected { active, since, path })
            }
            State::Connected(Connected { active, since, path: _ }) => {
                State::Connected(Connected { active, since, path })
            }
            State::Idle | State::Inviting(_) | State::Ringing(_) | State::Answering(_) => state.ignoring("a path"),
        }
    }

    /// Connected -> Reconnecting. While a call is being set up, its deadlines decide.
    pub(super) fn media_disconnected(&mut self, now: Instant, state: State) -> State {
        match state {
            State::Connected(Connected { mut active, since, path: _ }) => {
                info!(call = %active.call.id, peer = %active.call.peer, "the path broke");
                self.notice(CallNotice::Reconnecting { call: active.call.id });
                self.restart_if_due(now, &mut active);
                State::Reconnecting(Reconnecting { active, since, broke_at: now })
            }
            State::Idle
            | State::Inviting(_)
            | State::Ringing(_)
            | State::Answering(_)
            | State::Negotiating(_)
            | State::Reconnecting(_) => state.ignoring("a broken path"),
        }
    }

    /// What was gathered while it rang may be of no use any more, such as addresses at a relay that has been restarted
    /// since: it is gathered anew, as long as the other side can be told.
    pub(super) fn negotiating_due(&mut self, now: Instant, mut negotiating: Negotiating) -> State {
        if negotiating.gives_up_at() <= now {
            return self.connecting_expired(negotiating.active);
        }
        if negotiating.restarts_at().is_some_and(|at| at <= now) {
            info!(call = %negotiating.active.call.id, peer = %negotiating.active.call.peer, "no path was found yet");
            self.restart_if_due(now, &mut negotiating.active);
            negotiating.restart_at = now + timers::FIRST_PATH;
        }
        State::Negotiating(negotiating)
    }

    fn connecting_expired(&mut self, active: Active) -> State {
        let reason = match active.link {
            Link::Up => EndReason::MediaFailed,
            Link::Silent { .. } | Link::Dead { .. } => EndReason::ConnectionLost,
        };
        self.end(active.call, bye(ByeReason::MediaFailed), reason)
    }

    pub(super) fn reconnecting_due(&mut self, now: Instant, mut reconnecting: Reconnecting) -> State {
        if reconnecting.gives_up_at() <= now {
            return self.end(reconnecting.active.call, bye(ByeReason::MediaFailed), EndReason::ConnectionLost);
        }
        self.restart_if_due(now, &mut reconnecting.active);
        State::Reconnecting(reconnecting)
    }

    /// Our machine has other addresses now. What ICE found before may be dead, and it would take seconds to notice.
    pub(super) fn network_changed(&mut self, now: Instant, mut state: State) -> State {
        let Some(active) = state.negotiated_mut() else { return state.ignoring("a change of network") };
        info!(call = %active.call.id, peer = %active.call.peer, "the network changed");
        active.path_is_stale = true;
        if let Restart::Settled { not_before } = &mut active.restart {
            *not_before = now;
        }
        match &mut state {
            State::Connected(Connected { active, .. }) | State::Reconnecting(Reconnecting { active, .. }) => {
                self.restart_if_due(now, active);
            }
            // The first paths are being looked for; what is stale by then is restarted when one is found, or when it
            // has taken too long.
            State::Negotiating(_) => {}
            State::Idle | State::Inviting(_) | State::Ringing(_) | State::Answering(_) => {}
        }
        state
    }

    pub(super) fn stale_path_due(&mut self, now: Instant, mut connected: Connected) -> State {
        self.restart_if_due(now, &mut connected.active);
        State::Connected(connected)
    }

    /// Messages don't get through. That alone ends nothing: media may well flow.
    pub(super) fn link_changed(mut state: State, link: Link) -> State {
        if let Some(active) = state.active_mut() {
            active.link = active.link.worsened(link);
            debug!(call = %active.call.id, peer = %active.call.peer, link = ?active.link, "messages do not get through");
        }
        state
    }

    /// They are back, perhaps on another network: don't wait for the next attempt.
    pub(super) fn peer_online(&mut self, now: Instant, mut state: State, peer: PeerId) -> State {
        if !state.is_with(peer) {
            return state;
        }
        match &mut state {
            State::Idle | State::Inviting(_) | State::Ringing(_) => {}
            State::Answering(Answering { active, .. })
            | State::Negotiating(Negotiating { active, .. })
            | State::Connected(Connected { active, .. }) => active.link.heard(),
            State::Reconnecting(Reconnecting { active, .. }) => {
                active.link.heard();
                match &mut active.restart {
                    Restart::Settled { not_before } => *not_before = now,
                    Restart::Describing { .. } | Restart::Offered => {}
                }
                self.restart_if_due(now, active);
            }
        }
        state
    }
}

/// ICE restarts (RFC 8445, section 9): the caller offers; the callee asks for an offer, and answers it.
impl CallMachine {
    fn restart_if_due(&mut self, now: Instant, active: &mut Active) {
        if active.restarts_at().is_none_or(|at| now < at) {
            return;
        }
        active.path_is_stale = false;
        match active.role {
            Role::Caller => {
                self.command(active.call.id, MediaCommand::RestartIce);
                active.restart = Restart::Describing { local: Held::default() };
            }
            Role::Callee => {
                self.send(&active.call, Body::RestartPlease);
                active.restart = Restart::Settled { not_before: now + timers::RESTART_RETRY };
            }
        }
    }

    /// As the caller: the callee's path broke.
    pub(super) fn restart_asked(&mut self, now: Instant, mut state: State) -> State {
        match state.negotiated_mut() {
            Some(active) if active.role == Role::Caller => {
                // Too soon after the last one: it is not forgotten. One that is under way answers the wish.
                active.path_is_stale |= active.restarts_at().is_some_and(|at| now < at);
                self.restart_if_due(now, active);
                state
            }
            Some(_) | None => state.ignoring("a wish for an ICE restart"),
        }
    }

    /// As the caller.
    pub(super) fn restart_offer_ready(&mut self, mut state: State, offer: String) -> State {
        match state.negotiated_mut().and_then(|active| active.described(Role::Caller, Restart::Offered)) {
            Some((call, local)) => {
                self.send(call, Body::Restart { offer });
                self.send_candidates(call, local);
                state
            }
            None => state.ignoring("an offer of ours"),
        }
    }

    /// As the callee: the caller's offer.
    pub(super) fn restart_offered(&mut self, mut state: State, offer: String) -> State {
        match state.negotiated_mut() {
            Some(active @ Active { role: Role::Callee, restart: Restart::Settled { .. }, .. }) => {
                self.command(active.call.id, MediaCommand::AcceptOffer(offer));
                active.restart = Restart::Describing { local: Held::default() };
                active.path_is_stale = false;
                active.allowance = Allowance::default();
                state
            }
            Some(_) | None => state.ignoring("an offer"),
        }
    }

    /// As the callee.
    pub(super) fn restart_answer_ready(&mut self, now: Instant, mut state: State, answer: String) -> State {
        match state.negotiated_mut().and_then(|active| active.described(Role::Callee, active.settled(now))) {
            Some((call, local)) => {
                self.send(call, Body::RestartAnswer { answer });
                self.send_candidates(call, local);
                state
            }
            None => state.ignoring("an answer of ours"),
        }
    }

    /// As the caller: the callee's answer.
    pub(super) fn restart_answered(&mut self, now: Instant, mut state: State, answer: String) -> State {
        match state.negotiated_mut() {
            Some(active @ Active { role: Role::Caller, restart: Restart::Offered, .. }) => {
                self.command(active.call.id, MediaCommand::AcceptAnswer(answer));
                active.restart = active.settled(now);
                active.allowance = Allowance::default();
                state
            }
            Some(_) | None => state.ignoring("an answer"),
        }
    }
}

impl Active {
    /// Our description for an ICE restart is ready: the call that it is for, and the candidates that follow it. `None` if
    /// none was asked for.
    fn described(&mut self, role: Role, next: Restart) -> Option<(&Call, Held)> {
        match &mut self.restart {
            Restart::Describing { local } if self.role == role => {
                let local = mem::take(local);
                self.restart = next;
                Some((&self.call, local))
            }
            Restart::Settled { .. } | Restart::Describing { .. } | Restart::Offered => None,
        }
    }
}
