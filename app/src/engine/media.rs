use std::future::pending;

use parlor_media::{Session, SessionConfig, SessionEvent, SessionEvents, Stats, VideoSource};
use parlor_net::{CallId, signalling::CallKind};
use tracing::warn;

use super::{Done, Engine, now};
use crate::call::{MediaCommand, MediaInput};

/// The media of the call that the machine has open.
#[derive(Debug)]
pub(super) struct ActiveMedia {
    session: Option<(CallId, Session, SessionEvents)>,
    /// The newest figures.
    pub(super) stats: Box<Stats>,
}

impl ActiveMedia {
    pub(super) fn none() -> Self {
        Self { session: None, stats: Box::default() }
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
        SessionEvent::FirstVideoFrame | SessionEvent::FirstAudio | SessionEvent::Device(_) | SessionEvent::Stats(_) => {
            None
        }
    }
}

impl Engine {
    pub(super) fn on_media_command(&mut self, call: CallId, command: MediaCommand) {
        match command {
            MediaCommand::Open { kind } => return self.open_session(call, kind),
            MediaCommand::Close => return self.close_session(call),
            _ => {}
        }
        let Some(session) = self.media.of(call) else {
            warn!(%call, ?command, "no session for this command");
            return;
        };
        match command {
            MediaCommand::CreateOffer => session.create_offer(),
            MediaCommand::AcceptOffer(sdp) => session.accept_offer(sdp),
            MediaCommand::AcceptAnswer(sdp) => session.accept_answer(sdp),
            MediaCommand::AddCandidate(json) => session.add_candidate(json),
            MediaCommand::RestartIce => session.restart_ice(),
            MediaCommand::StartPreview => session.start_preview(),
            MediaCommand::Start => session.start(),
            MediaCommand::SetCamera(on) => session.set_camera(on),
            MediaCommand::SetMicrophone(on) => session.set_microphone(on),
            MediaCommand::Open { .. } | MediaCommand::Close => {}
        }
    }

    /// The camera of this run.
    pub(super) fn camera(&self) -> &VideoSource {
        self.config.overrides.camera.as_ref().unwrap_or(&self.settings.camera)
    }

    fn open_session(&mut self, call: CallId, kind: CallKind) {
        let overrides = &self.config.overrides;
        let with_video = kind == CallKind::Video;
        let camera = self.camera();
        let (session, events) = Session::spawn(SessionConfig {
            camera: if with_video { camera.clone() } else { VideoSource::None },
            microphone: overrides.microphone.as_ref().unwrap_or(&self.settings.microphone).clone(),
            speaker: overrides.speaker.as_ref().unwrap_or(&self.settings.speaker).clone(),
            video_out: overrides.video_out.clone(),
            with_video,
            interfaces: self.config.interfaces,
            ice: parlor_media::Ice::default(),
            preview: self.slots.preview.clone(),
            remote: self.slots.remote.clone(),
            frame_log: overrides.frame_log.clone(),
        });
        self.media = ActiveMedia { session: Some((call, session, events)), stats: Box::default() };
    }

    /// The next call may open its own session before this one is closed.
    fn close_session(&mut self, call: CallId) {
        let Some((_, session, _events)) = self.media.session.take_if(|(id, ..)| *id == call) else { return };
        *self.media.stats = Stats::default();
        let asked = now();
        let (preview, remote) = (self.slots.preview.clone(), self.slots.remote.clone());
        self.work.spawn(async move {
            session.close().await;
            // No old picture may greet the next call.
            preview.clear();
            remote.clear();
            Done::SessionClosed { call, asked }
        });
    }
}
