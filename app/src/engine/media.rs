use std::{future::pending, sync::Arc};

use parlor_media::{
    DeviceChoice, FrameSender, Ice, Session, SessionConfig, SessionEvent, SessionEvents, Stats, VideoSource,
};
use parlor_net::{
    CallId, Via,
    signalling::{Body, CallKind},
};
use tracing::warn;

use super::{
    Done, Engine, History, Notice, Sample,
    candidate_privacy::{CandidatePrivacy, Released, without_candidates},
    millis_since, now,
};
use crate::{
    call::{Input, MediaCommand, MediaInput},
    memory,
};

/// The media of the call that the machine has open.
#[derive(Debug)]
pub(super) struct ActiveMedia {
    session: Option<(CallId, Session, SessionEvents)>,
    privacy: CandidatePrivacy,
    /// What is called the screen or window that is shared.
    pub(super) sharing: Option<String>,
    /// The newest figures.
    pub(super) stats: Box<Stats>,
    /// Those of the last minute.
    pub(super) history: Arc<History>,
}

impl ActiveMedia {
    pub(super) fn none() -> Self {
        let (stats, history) = (Box::default(), Arc::default());
        Self { session: None, privacy: CandidatePrivacy::new(false), sharing: None, stats, history }
    }

    fn take_stats(&mut self, stats: Box<Stats>) {
        // The snapshot holds the one before: a minute is copied once a second.
        Arc::make_mut(&mut self.history).push(Sample::from(&*stats));
        self.stats = stats;
    }

    /// Whether there is a call that takes the choice.
    pub(super) fn use_device(&self, choice: &DeviceChoice) -> bool {
        if let Some((_, session, _)) = &self.session {
            session.use_device(choice.clone());
        }
        self.session.is_some()
    }

    /// Waits for ever when there is no session, or it has nothing more to say.
    pub(super) async fn next_event(&mut self) -> Option<(CallId, SessionEvent)> {
        if let Some((call, _, events)) = &mut self.session
            && let Some(event) = events.recv().await
        {
            return Some((*call, event));
        }
        pending().await
    }

    fn privacy_of(&mut self, call: CallId) -> Option<&mut CandidatePrivacy> {
        let is_open = self.session.as_ref().is_some_and(|(id, ..)| *id == call);
        is_open.then_some(&mut self.privacy)
    }

    /// Newer servers and credentials for this call.
    pub(super) fn renew_ice(&self, call: CallId, ice: Ice) {
        if let Some(session) = self.of(call) {
            session.set_ice(ice);
        }
    }

    fn of(&self, call: CallId) -> Option<&Session> {
        self.session.as_ref().filter(|(id, ..)| *id == call).map(|(_, session, _)| session)
    }
}

/// What the machine wants to know of a session's event; `None` for what the engine deals with itself.
pub(super) fn to_machine(event: SessionEvent) -> Option<MediaInput> {
    match event {
        SessionEvent::OfferReady(sdp) => Some(MediaInput::OfferReady(sdp)),
        SessionEvent::AnswerReady(sdp) => Some(MediaInput::AnswerReady(sdp)),
        SessionEvent::DescriptionRefused(error) => Some(MediaInput::Refused(error)),
        SessionEvent::LocalCandidate(json) => Some(MediaInput::LocalCandidate(json)),
        SessionEvent::Connected(path) => Some(MediaInput::Connected(path)),
        SessionEvent::Disconnected => Some(MediaInput::Disconnected),
        SessionEvent::Failed(error) => Some(MediaInput::Failed(error)),
        SessionEvent::Camera(state) => Some(MediaInput::Camera(state)),
        SessionEvent::FirstVideoFrame
        | SessionEvent::FirstAudio
        | SessionEvent::FirstScreenFrame
        | SessionEvent::Sharing(_)
        | SessionEvent::Device(_)
        | SessionEvent::DeviceInUse(_)
        | SessionEvent::DeviceRefused(..)
        | SessionEvent::Stats(_) => None,
    }
}

impl Engine {
    pub(super) fn on_media_event(&mut self, call: CallId, event: SessionEvent) {
        match event {
            SessionEvent::FirstVideoFrame => {
                let since_accept_ms = self.since_accept_ms(call);
                self.notify(Notice::FirstVideoFrame { call, since_accept_ms });
            }
            SessionEvent::FirstAudio => {
                let since_accept_ms = self.since_accept_ms(call);
                self.notify(Notice::FirstAudio { call, since_accept_ms });
            }
            SessionEvent::Device(problem) => {
                warn!(%call, ?problem, "device");
                self.notify(Notice::Device(problem));
            }
            SessionEvent::Stats(stats) => self.media.take_stats(stats),
            SessionEvent::Sharing(sharing) => self.on_sharing(call, sharing),
            SessionEvent::FirstScreenFrame => self.notify(Notice::FirstScreenFrame { call }),
            SessionEvent::DeviceInUse(choice) => self.keep_choice(choice),
            SessionEvent::DeviceRefused(choice, problem) => self.on_device_refused(choice, problem),
            event => {
                if let Some(event) = to_machine(event) {
                    self.machine.handle(now(), Input::Media { call, event });
                }
            }
        }
    }

    pub(super) fn since_accept_ms(&self, call: CallId) -> u64 {
        match self.accepted {
            Some((accepted, at)) if accepted == call => millis_since(at),
            Some(_) | None => 0,
        }
    }

    pub(super) fn on_media_command(&mut self, call: CallId, command: MediaCommand) {
        match command {
            MediaCommand::Open { kind } => return self.open_session(call, kind),
            MediaCommand::AddCandidate(json) => return self.their_candidate(call, json),
            MediaCommand::Close => return self.close_session(call),
            _ => {}
        }
        let Some(session) = self.media.of(call) else {
            warn!(%call, ?command, "no session for this command");
            return;
        };
        match command {
            MediaCommand::CreateOffer => session.create_offer(),
            MediaCommand::AcceptOffer(sdp) => session.accept_offer(without_candidates(&sdp)),
            MediaCommand::AcceptAnswer(sdp) => session.accept_answer(without_candidates(&sdp)),
            MediaCommand::RestartIce => session.restart_ice(),
            MediaCommand::StartPreview => session.start_preview(),
            MediaCommand::Start => session.start(),
            MediaCommand::SetCamera(on) => session.set_camera(on),
            MediaCommand::SetMicrophone(on) => session.set_microphone(on),
            MediaCommand::Share(source) => session.share(source),
            MediaCommand::StopSharing => session.stop_sharing(),
            MediaCommand::Open { .. } | MediaCommand::AddCandidate(_) | MediaCommand::Close => {}
        }
    }

    fn their_candidate(&mut self, call: CallId, json: String) {
        if let Some(privacy) = self.media.privacy_of(call) {
            let released = privacy.theirs(json);
            self.release(call, released);
        }
    }

    /// A candidate of ours is to be sent, now or later or never.
    pub(super) fn our_candidate(&mut self, call: CallId, json: String) {
        if let Some(privacy) = self.media.privacy_of(call) {
            let released = privacy.ours(json);
            self.release(call, released);
        }
    }

    fn release(&self, call: CallId, Released { ours, theirs }: Released) {
        let peer = self.machine.state().call().filter(|current| current.id == call).map(|call| call.peer);
        if let (Some((net, _)), Some(peer)) = (&self.net, peer) {
            for candidate in ours {
                net.send(peer, call, Body::Candidate { candidate });
            }
        }
        if let Some(session) = self.media.of(call) {
            theirs.into_iter().for_each(|json| session.add_candidate(json));
        }
    }

    /// The camera of this run.
    pub(super) fn camera(&self) -> &VideoSource {
        self.config.overrides.camera.as_ref().unwrap_or(&self.settings.camera)
    }

    fn open_session(&mut self, call: CallId, kind: CallKind) {
        // The machine is in the state of this call already: its effects are carried out after it moved on.
        let peer = self.machine.state().call().map(|call| call.peer);
        let on_lan = peer.and_then(|peer| self.people.via(peer)) == Some(Via::Lan);
        let ice = peer.map_or_else(parlor_media::Ice::default, |peer| self.ice_with(peer));
        self.stop_scanning();
        self.stop_trial();
        let overrides = &self.config.overrides;
        let with_video = kind == CallKind::Video;
        let camera = self.camera();
        let (session, events) = Session::spawn(SessionConfig {
            camera: if with_video { camera.clone() } else { VideoSource::None },
            microphone: overrides.microphone.as_ref().unwrap_or(&self.settings.microphone).clone(),
            speaker: overrides.speaker.as_ref().unwrap_or(&self.settings.speaker).clone(),
            voice_processing: self.settings.voice_processing && !overrides.no_voice_processing,
            video_out: overrides.video_out.clone(),
            screen_out: overrides.screen_out.clone(),
            with_video,
            interfaces: self.config.interfaces,
            ice,
            preview: self.slots.preview.clone(),
            remote: self.slots.remote.clone(),
            remote_screen: self.slots.screen.clone(),
            frame_log: overrides.frame_log.clone(),
            video_codec: overrides.video_codec,
        });
        let privacy = CandidatePrivacy::new(on_lan);
        self.media = ActiveMedia { session: Some((call, session, events)), privacy, ..ActiveMedia::none() };
    }

    /// The next call may open its own session before this one is closed.
    fn close_session(&mut self, call: CallId) {
        let Some((_, session, _events)) = self.media.session.take_if(|(id, ..)| *id == call) else { return };
        (*self.media.stats, self.media.history) = (Stats::default(), Arc::default());
        self.media.sharing = None;
        self.forget_screens();
        let asked = now();
        let slots = [&self.slots.preview, &self.slots.remote, &self.slots.screen].map(Clone::clone);
        self.work.spawn(async move {
            session.close().await;
            // No old picture may greet the next call.
            slots.iter().for_each(FrameSender::clear);
            memory::give_back();
            Done::SessionClosed { call, asked }
        });
    }
}
