#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test uses what it needs")]
#![allow(clippy::panic, reason = "a helper of tests fails as they do")]
//! Two sessions and what carries descriptions and candidates between them.

use std::time::Duration;

use parlor_media::{
    AudioSink, AudioSource, Frame, FrameReceiver, Ice, Interfaces, Session, SessionConfig, SessionEvent, SessionEvents,
    Stats, VideoSink, VideoSource, frame_slot,
};
use tokio::time::timeout;

/// What never takes this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A configuration with the test card and a tone, and the receiving ends of its slots: preview and remote.
pub fn config() -> (SessionConfig, FrameReceiver, FrameReceiver) {
    let (preview, preview_out) = frame_slot(|| {});
    let (remote, remote_out) = frame_slot(|| {});
    let config = SessionConfig {
        camera: VideoSource::TestCard,
        microphone: AudioSource::Tone,
        speaker: AudioSink::None,
        voice_processing: true,
        video_out: VideoSink::None,
        screen_out: VideoSink::None,
        with_video: true,
        interfaces: Interfaces::Loopback,
        ice: Ice::default(),
        preview,
        remote,
        remote_screen: frame_slot(|| {}).0,
        frame_log: None,
        video_codec: None,
    };
    (config, preview_out, remote_out)
}

/// One session, and what it said.
pub struct End {
    pub session: Session,
    pub events: SessionEvents,
    pub preview: FrameReceiver,
    pub remote: FrameReceiver,
    /// Events that were read.
    pub seen: Vec<SessionEvent>,
}

impl End {
    pub fn spawn((config, preview, remote): (SessionConfig, FrameReceiver, FrameReceiver)) -> Self {
        let (session, events) = Session::spawn(config);
        Self { session, events, preview, remote, seen: Vec::new() }
    }

    /// Reads events until one is `wanted`, which may have been read before.
    pub async fn until(&mut self, wanted: impl Fn(&SessionEvent) -> bool) -> SessionEvent {
        if let Some(at) = self.seen.iter().position(&wanted) {
            return self.seen.remove(at);
        }
        loop {
            match timeout(PATIENCE, self.events.recv()).await {
                Ok(Some(event)) if wanted(&event) => return event,
                Ok(Some(event)) => self.seen.push(event),
                Ok(None) => panic!("the session ended; it said {:?}", self.seen),
                Err(_) => panic!("waited in vain; the session said {:?}", self.seen),
            }
        }
    }

    pub async fn until_connected(&mut self) {
        self.until(|event| matches!(event, SessionEvent::Connected(_))).await;
    }

    pub async fn offer(&mut self) -> String {
        match self.until(|event| matches!(event, SessionEvent::OfferReady(_))).await {
            SessionEvent::OfferReady(sdp) => sdp,
            other => panic!("{other:?}"),
        }
    }

    pub async fn answer(&mut self) -> String {
        match self.until(|event| matches!(event, SessionEvent::AnswerReady(_))).await {
            SessionEvent::AnswerReady(sdp) => sdp,
            other => panic!("{other:?}"),
        }
    }

    pub async fn candidate(&mut self) -> String {
        match self.until(|event| matches!(event, SessionEvent::LocalCandidate(_))).await {
            SessionEvent::LocalCandidate(json) => json,
            other => panic!("{other:?}"),
        }
    }

    pub async fn stats(&mut self, wanted: impl Fn(&Stats) -> bool) -> Stats {
        match self.until(|event| matches!(event, SessionEvent::Stats(stats) if wanted(stats))).await {
            SessionEvent::Stats(stats) => *stats,
            other => panic!("{other:?}"),
        }
    }

    pub async fn remote_frame(&self) -> Frame {
        frame(&self.remote).await
    }

    pub async fn preview_frame(&self) -> Frame {
        frame(&self.preview).await
    }
}

async fn frame(slot: &FrameReceiver) -> Frame {
    let slot = slot.clone();
    #[expect(clippy::disallowed_methods, reason = "the test waits in real time")]
    let deadline = std::time::Instant::now() + PATIENCE;
    let frame = tokio::task::spawn_blocking(move || slot.take_until(deadline)).await;
    frame.expect("the slot does not panic").expect("a frame comes")
}

/// Two sessions.
pub struct Pair {
    pub caller: End,
    pub callee: End,
}

impl Pair {
    pub fn spawn(
        caller: (SessionConfig, FrameReceiver, FrameReceiver),
        callee: (SessionConfig, FrameReceiver, FrameReceiver),
    ) -> Self {
        Self { caller: End::spawn(caller), callee: End::spawn(callee) }
    }

    /// A call that stands, with media on its way.
    pub async fn connected() -> Self {
        let mut pair = Self::spawn(config(), config());
        pair.caller.session.create_offer();
        pair.negotiate().await;
        pair.start();
        pair.caller.until_connected().await;
        pair.callee.until_connected().await;
        pair
    }

    /// Carries the caller's offer, the answer, and one candidate each way: loopback has only one.
    pub async fn negotiate(&mut self) {
        self.callee.session.accept_offer(self.caller.offer().await);
        self.caller.session.accept_answer(self.callee.answer().await);
        self.caller.session.add_candidate(self.callee.candidate().await);
        self.callee.session.add_candidate(self.caller.candidate().await);
    }

    pub fn start(&self) {
        self.caller.session.start();
        self.callee.session.start();
    }

    pub async fn close(self) {
        tokio::join!(self.caller.session.close(), self.callee.session.close());
    }
}
