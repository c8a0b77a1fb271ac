//! The call machine: what one person's one call does next.
//!
//! It decides, and does nothing else: inputs ([`Input`]) and the time go in, effects ([`Effect`]) come out. It owns the
//! state of the call, every deadline, and the rules of consent and glare. It never sends, opens, waits, or reads a
//! clock; the engine drives it, carries out its effects in order, and brings the results back as inputs that name their
//! call. What names another call or another peer is dropped.
//!
//! Consent is the first invariant: until the callee's person accepted (or called the caller too), no candidate leaves
//! either side, the callee opens no device, and no media is sent. Both sides gather meanwhile, and hold what they found.
//!
//! ```text
//!          Call              Accept from there
//!   Idle --------> Inviting ------------------+
//!    |                | their invitation wins |
//!    | Invite         v                       v        media up
//!    +---------> Answering ------------> Negotiating ------------> Connected <------> Reconnecting
//!    |                ^   answer ready                                         path broke / is back
//!    v                |
//!   Ringing ----------+
//!          Accept (with the answer ready: to Negotiating at once)
//! ```
//!
//! Every state but `Connected` has a deadline (that one has none but to restart ICE after a change of network), and every end goes through one function, which closes what was opened.
//!
//! | file | what |
//! |---|---|
//! | `outgoing`, `incoming`, `active` | the transitions: before acceptance by side, after it for both |
//! | `state`, `input`, `effect`, `end_reason` | the words |
//! | `glare`, `timers`, `candidates`, `past` | who wins, how long, and what is held and remembered, how much of it |

mod active;
mod candidates;
mod effect;
mod end_reason;
mod glare;
mod incoming;
mod input;
mod outgoing;
mod past;
mod state;
#[cfg(test)]
mod tests;
mod timers;

pub use effect::{CallNotice, Effect, MediaCommand};
pub use end_reason::EndReason;
pub use input::{Input, MediaInput};
pub use state::{
    Active, Answering, Call, Connected, Inviting, Negotiating, Progress, Reconnecting, Ringing, Role, Sending, State,
};

use std::{collections::VecDeque, mem, time::Instant};

use parlor_media::CameraState;
use parlor_net::{
    CallId, OfflineReason, PeerId, Status,
    signalling::{Body, ByeReason, CallKind, DeclineReason},
};
use tracing::{debug, info};

use crate::name::display_name;
use past::Past;
use state::Link;

/// One person's one call.
///
/// After each [`Self::handle`] and [`Self::handle_timeout`]: take the effects with [`Self::poll_effect`] until there are
/// none, then ask [`Self::poll_timeout`] when to come back.
#[derive(Debug)]
pub struct CallMachine {
    me: PeerId,
    state: State,
    /// Emptied by the driver after each input. The most that one input makes is the candidates held on both sides, and
    /// a handful around them.
    effects: VecDeque<Effect>,
    announced: Status,
    past: Past,
    takes_calls: bool,
}

impl CallMachine {
    /// For the person with this key, free at first.
    pub fn new(me: PeerId) -> Self {
        Self {
            me,
            state: State::Idle,
            effects: VecDeque::new(),
            announced: Status::Free,
            past: Past::default(),
            takes_calls: true,
        }
    }

    /// Whether invitations ring at all. When not, callers are told that we are busy; our own calls work as ever.
    pub fn set_takes_calls(&mut self, takes_calls: bool) {
        self.takes_calls = takes_calls;
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        let state = mem::take(&mut self.state);
        self.state = match input {
            Input::Call { call, peer, name, my_name, kind } => {
                self.person_calls(now, state, Call { id: call, peer, name, kind }, my_name)
            }
            Input::Accept => self.person_accepts(now, state),
            Input::Decline => self.person_declines(state),
            Input::HangUp => self.person_hangs_up(state),
            Input::SetCamera(on) => self.person_sets_camera(state, on),
            Input::SetMicrophone(on) => self.person_sets_microphone(state, on),
            Input::Share(source) => self.person_shares(state, MediaCommand::Share(source)),
            Input::StopSharing => self.person_shares(state, MediaCommand::StopSharing),
            Input::Signal { peer, call, body } => self.signal(now, state, peer, call, body),
            Input::SignalFailed { peer, call } => self.signal_failed(now, state, peer, call),
            Input::PeerOnline { peer } => self.peer_online(now, state, peer),
            Input::PeerOffline { peer, reason } => self.peer_offline(now, state, peer, reason),
            Input::NetworkChanged => self.network_changed(now, state),
            Input::Media { call, event } => self.media(now, state, call, event),
            Input::Shutdown => self.person_hangs_up(state),
        };
        self.tell_status();
    }

    /// Does what is due. Harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.state.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        self.state = match mem::take(&mut self.state) {
            State::Idle => State::Idle,
            State::Inviting(inviting) => self.invitation_expired(inviting),
            State::Ringing(ringing) => self.end(ringing.call, decline(DeclineReason::NoAnswer), EndReason::Missed),
            State::Answering(Answering { active, .. }) => {
                self.end(active.call, bye(ByeReason::MediaFailed), EndReason::MediaFailed)
            }
            State::Negotiating(negotiating) => self.negotiating_due(now, negotiating),
            State::Connected(connected) => self.stale_path_due(now, connected),
            State::Reconnecting(reconnecting) => self.reconnecting_due(now, reconnecting),
        };
        self.tell_status();
    }

    /// When [`Self::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.state.deadline()
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Where the call stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whose media arrives.
    pub fn heard(&self) -> Option<PeerId> {
        match &self.state {
            State::Connected(connected) => Some(connected.active.call.peer),
            State::Idle
            | State::Inviting(_)
            | State::Ringing(_)
            | State::Answering(_)
            | State::Negotiating(_)
            | State::Reconnecting(_) => None,
        }
    }

    /// Nobody is calling, or being called by, this person.
    pub fn is_free(&self) -> bool {
        match self.state {
            State::Idle => true,
            State::Inviting(_)
            | State::Ringing(_)
            | State::Answering(_)
            | State::Negotiating(_)
            | State::Connected(_)
            | State::Reconnecting(_) => false,
        }
    }
}

/// The inputs, sorted by what they are about.
impl CallMachine {
    fn person_calls(&mut self, now: Instant, state: State, wanted: Call, my_name: String) -> State {
        match state {
            State::Idle if wanted.peer == self.me || self.past.knows(wanted.id) => state.ignoring("a call"),
            State::Idle => self.invite(now, wanted, my_name),
            State::Ringing(mut ringing) if ringing.call.peer == wanted.peer => {
                ringing.ours.camera &= Sending::all_of(wanted.kind).camera;
                self.accept(now, ringing)
            }
            State::Inviting(_)
            | State::Ringing(_)
            | State::Answering(_)
            | State::Negotiating(_)
            | State::Connected(_)
            | State::Reconnecting(_) => state.ignoring("a call"),
        }
    }

    fn person_accepts(&mut self, now: Instant, state: State) -> State {
        match state {
            State::Ringing(ringing) => self.accept(now, ringing),
            State::Idle
            | State::Inviting(_)
            | State::Answering(_)
            | State::Negotiating(_)
            | State::Connected(_)
            | State::Reconnecting(_) => state.ignoring("an acceptance by the person"),
        }
    }

    fn person_declines(&mut self, state: State) -> State {
        match state {
            State::Ringing(ringing) => self.decline(ringing),
            State::Idle
            | State::Inviting(_)
            | State::Answering(_)
            | State::Negotiating(_)
            | State::Connected(_)
            | State::Reconnecting(_) => state.ignoring("a refusal by the person"),
        }
    }

    fn person_hangs_up(&mut self, state: State) -> State {
        match state {
            State::Idle => state,
            State::Inviting(inviting) => {
                let last_word = inviting.last_word(ByeReason::Cancelled);
                self.end(inviting.call, last_word, EndReason::Cancelled)
            }
            State::Ringing(ringing) => self.decline(ringing),
            // The caller has not heard of the acceptance: to them this is a refusal.
            State::Answering(Answering { active, .. }) => {
                self.end(active.call, decline(DeclineReason::Declined), EndReason::HungUp)
            }
            State::Negotiating(Negotiating { active, .. })
            | State::Connected(Connected { active, .. })
            | State::Reconnecting(Reconnecting { active, .. }) => {
                self.end(active.call, bye(ByeReason::HungUp), EndReason::HungUp)
            }
        }
    }

    fn person_sets_camera(&mut self, state: State, on: bool) -> State {
        match state.call().map(|call| call.kind) {
            Some(CallKind::Video) => {
                self.change_sending(state, |sending| sending.camera = on, MediaCommand::SetCamera(on))
            }
            Some(CallKind::Audio) | None => state.ignoring("a camera switch"),
        }
    }

    fn person_sets_microphone(&mut self, state: State, on: bool) -> State {
        self.change_sending(state, |sending| sending.microphone = on, MediaCommand::SetMicrophone(on))
    }

    /// Before consent the callee's wish is only written down: the media engine hears of it at the start.
    fn change_sending(&mut self, mut state: State, change: impl Fn(&mut Sending), command: MediaCommand) -> State {
        match &mut state {
            State::Idle => {}
            State::Inviting(inviting) => {
                change(&mut inviting.ours);
                self.command(inviting.call.id, command);
            }
            State::Ringing(ringing) => change(&mut ringing.ours),
            State::Answering(answering) => change(&mut answering.active.ours),
            State::Negotiating(Negotiating { active, .. })
            | State::Connected(Connected { active, .. })
            | State::Reconnecting(Reconnecting { active, .. }) => {
                change(&mut active.ours);
                self.command(active.call.id, command);
                let mut sending = active.told;
                change(&mut sending);
                self.tell_sending(active, sending);
            }
        }
        state
    }

    fn signal(&mut self, now: Instant, mut state: State, peer: PeerId, call: CallId, body: Body) -> State {
        let ours = state.is_call(call) && state.is_with(peer);
        if ours && let Some(active) = state.active_mut() {
            active.link.heard();
        }
        match body {
            Body::Invite { name, kind, offer } => {
                let call = Call { id: call, peer, name: display_name(&name), kind };
                self.invited(now, state, call, offer)
            }
            Body::Unknown => state.ignoring("a message of a later version"),
            Body::Ringing
            | Body::Accept { .. }
            | Body::Decline { .. }
            | Body::Candidate { .. }
            | Body::Restart { .. }
            | Body::RestartAnswer { .. }
            | Body::RestartPlease
            | Body::Media { .. }
            | Body::Bye { .. }
                if !ours =>
            {
                debug!(%peer, %call, "dropped a message of another call");
                state
            }
            Body::Ringing => self.rings_there(state),
            Body::Accept { answer } => self.accepted_there(now, state, answer),
            Body::Decline { reason } => self.declined_there(state, reason),
            Body::Candidate { candidate } => self.remote_candidate(state, candidate),
            Body::Restart { offer } => self.restart_offered(state, offer),
            Body::RestartAnswer { answer } => self.restart_answered(now, state, answer),
            Body::RestartPlease => self.restart_asked(now, state),
            Body::Media { camera, microphone, screen } => self.they_send(state, Sending { camera, microphone, screen }),
            Body::Bye { reason } => self.said_bye(state, reason),
        }
    }

    fn signal_failed(&mut self, now: Instant, state: State, peer: PeerId, call: CallId) -> State {
        if !(state.is_call(call) && state.is_with(peer)) {
            debug!(%peer, %call, "dropped a delivery failure of another call");
            return state;
        }
        match state {
            State::Idle => State::Idle,
            State::Inviting(Inviting { call, .. }) | State::Ringing(Ringing { call, .. }) => {
                self.end(call, None, EndReason::Unreachable)
            }
            State::Answering(_) | State::Negotiating(_) | State::Connected(_) | State::Reconnecting(_) => {
                Self::link_changed(state, Link::Dead { since: now })
            }
        }
    }

    fn peer_offline(&mut self, now: Instant, state: State, peer: PeerId, reason: OfflineReason) -> State {
        if !state.is_with(peer) {
            return state;
        }
        match (state, reason) {
            (State::Idle, OfflineReason::Left | OfflineReason::Lost) => State::Idle,
            (State::Inviting(inviting), OfflineReason::Left | OfflineReason::Lost) => {
                let last_word = inviting.last_word(ByeReason::Cancelled);
                self.end(inviting.call, last_word, EndReason::Unreachable)
            }
            (State::Ringing(ringing), reason) => {
                let reason = match reason {
                    OfflineReason::Left => EndReason::RemoteCancelled,
                    OfflineReason::Lost => EndReason::Unreachable,
                };
                self.end(ringing.call, decline(DeclineReason::NoAnswer), reason)
            }
            (
                State::Answering(Answering { active, .. })
                | State::Negotiating(Negotiating { active, .. })
                | State::Connected(Connected { active, .. })
                | State::Reconnecting(Reconnecting { active, .. }),
                OfflineReason::Left,
            ) => self.end(active.call, bye(ByeReason::HungUp), EndReason::RemoteHungUp),
            (
                state @ (State::Answering(_) | State::Negotiating(_) | State::Connected(_) | State::Reconnecting(_)),
                OfflineReason::Lost,
            ) => Self::link_changed(state, Link::Silent { since: now }),
        }
    }

    fn media(&mut self, now: Instant, state: State, call: CallId, event: MediaInput) -> State {
        if !state.is_call(call) {
            debug!(%call, "dropped a media event of another call");
            return state;
        }
        match event {
            MediaInput::OfferReady(offer) => self.offer_ready(now, state, offer),
            MediaInput::AnswerReady(answer) => self.answer_ready(now, state, answer),
            MediaInput::Refused(error) => self.description_refused(state, &error),
            MediaInput::LocalCandidate(candidate) => self.local_candidate(state, candidate),
            MediaInput::Connected(path) => self.media_connected(now, state, path),
            MediaInput::Disconnected => self.media_disconnected(now, state),
            MediaInput::Failed(error) => self.media_failed(state, &error),
            MediaInput::Camera(camera) => self.camera_changed(state, camera),
            MediaInput::Screen(shared) => self.screen_changed(state, shared),
        }
    }

    /// Only in a call that both agreed to, and that is described: nothing is captured before.
    fn person_shares(&mut self, mut state: State, command: MediaCommand) -> State {
        match state.negotiated_mut() {
            Some(active) => self.command(active.call.id, command),
            None => return state.ignoring("a screen to share"),
        }
        state
    }

    /// A capture began to give pictures, or gives no more.
    fn screen_changed(&mut self, mut state: State, shared: bool) -> State {
        match state.negotiated_mut() {
            Some(active) => {
                active.ours.screen = shared;
                let sending = Sending { screen: shared, ..active.told };
                self.tell_sending(active, sending);
            }
            None => return state.ignoring("a shared screen"),
        }
        state
    }

    fn camera_changed(&mut self, mut state: State, camera: CameraState) -> State {
        match &mut state {
            State::Inviting(inviting) => inviting.camera = camera,
            State::Idle | State::Ringing(_) => return state.ignoring("a camera's state"),
            State::Answering(Answering { active, .. }) => active.camera = camera,
            State::Negotiating(Negotiating { active, .. })
            | State::Connected(Connected { active, .. })
            | State::Reconnecting(Reconnecting { active, .. }) => {
                active.camera = camera;
                let gives_pictures = match camera {
                    CameraState::Open | CameraState::TestCard => true,
                    CameraState::Closed => false,
                };
                let sending = Sending { camera: active.ours.camera && gives_pictures, ..active.told };
                self.tell_sending(active, sending);
            }
        }
        state
    }

    /// The other side says that the call is over.
    fn said_bye(&mut self, state: State, reason: ByeReason) -> State {
        let heard = match reason {
            ByeReason::HungUp => EndReason::RemoteHungUp,
            ByeReason::Cancelled => EndReason::RemoteCancelled,
            ByeReason::NoAnswer => EndReason::Missed,
            ByeReason::MediaFailed => EndReason::MediaFailed,
        };
        match state {
            State::Idle => State::Idle,
            State::Inviting(Inviting { call, .. })
            | State::Ringing(Ringing { call, .. })
            | State::Answering(Answering { active: Active { call, .. }, .. })
            | State::Negotiating(Negotiating { active: Active { call, .. }, .. })
            | State::Connected(Connected { active: Active { call, .. }, .. }) => self.end(call, None, heard),
            State::Reconnecting(Reconnecting { active: Active { call, .. }, .. }) => {
                let heard = if reason == ByeReason::MediaFailed { EndReason::ConnectionLost } else { heard };
                self.end(call, None, heard)
            }
        }
    }

    fn media_failed(&mut self, state: State, error: &str) -> State {
        debug!(error, "media failed");
        match state {
            State::Idle => State::Idle,
            State::Inviting(inviting) => {
                let last_word = inviting.last_word(ByeReason::MediaFailed);
                self.end(inviting.call, last_word, EndReason::MediaFailed)
            }
            State::Ringing(Ringing { call, .. })
            | State::Answering(Answering { active: Active { call, .. }, .. })
            | State::Negotiating(Negotiating { active: Active { call, .. }, .. })
            | State::Connected(Connected { active: Active { call, .. }, .. }) => {
                self.end(call, bye(ByeReason::MediaFailed), EndReason::MediaFailed)
            }
            State::Reconnecting(Reconnecting { active: Active { call, .. }, .. }) => {
                self.end(call, bye(ByeReason::MediaFailed), EndReason::ConnectionLost)
            }
        }
    }

    fn description_refused(&mut self, state: State, error: &str) -> State {
        match state {
            State::Ringing(Ringing { call, .. }) | State::Answering(Answering { active: Active { call, .. }, .. }) => {
                debug!(error, "their offer can't be used");
                self.end(call, decline(DeclineReason::Incompatible), EndReason::Incompatible)
            }
            State::Negotiating(Negotiating { active, .. }) => {
                debug!(error, "their description can't be used");
                self.end(active.call, bye(ByeReason::MediaFailed), EndReason::Incompatible)
            }
            State::Idle | State::Inviting(_) | State::Connected(_) | State::Reconnecting(_) => {
                self.media_failed(state, error)
            }
        }
    }
}

/// What every transition is made of.
impl CallMachine {
    /// The only way out of a call. `last_word` goes to the other side, if they need to be told.
    fn end(&mut self, call: Call, last_word: Option<Body>, reason: EndReason) -> State {
        info!(call = %call.id, peer = %call.peer, ?reason, "the call is over");
        self.let_go(&call, last_word);
        self.notice(CallNotice::Ended { call: call.id, peer: call.peer, name: call.name, reason });
        State::Idle
    }

    /// Closes all that belongs to a call, for ever.
    fn let_go(&mut self, call: &Call, last_word: Option<Body>) {
        if let Some(body) = last_word {
            self.send(call, body);
        }
        self.effects.push_back(Effect::CloseSignal { peer: call.peer, call: call.id });
        self.command(call.id, MediaCommand::Close);
        self.past.remember(call.id);
    }

    fn send(&mut self, call: &Call, body: Body) {
        self.effects.push_back(Effect::Send { peer: call.peer, call: call.id, body });
    }

    fn command(&mut self, call: CallId, command: MediaCommand) {
        self.effects.push_back(Effect::Media { call, command });
    }

    fn notice(&mut self, notice: CallNotice) {
        self.effects.push_back(Effect::Notice(notice));
    }

    fn tell_status(&mut self) {
        let status = if self.is_free() { Status::Free } else { Status::InCall };
        if status != self.announced {
            self.announced = status;
            self.effects.push_back(Effect::StatusChanged(status));
        }
    }
}

const fn bye(reason: ByeReason) -> Option<Body> {
    Some(Body::Bye { reason })
}

const fn decline(reason: DeclineReason) -> Option<Body> {
    Some(Body::Decline { reason })
}
