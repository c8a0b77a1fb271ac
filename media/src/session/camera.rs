//! The camera of a session, and the one that is to take its place: opened, replaced and closed without ever waiting.

use tokio::task::{JoinHandle, spawn_blocking};

use super::{CameraState, SessionEvent};
use crate::{
    DeviceChoice, FrameSender, Problem, VideoSource,
    capture::{Camera, CameraEvent},
    frame_log::FrameLog,
};

/// Takes the events of the camera with a number; quick, and callable from any thread.
pub(super) type Tell = Box<dyn Fn(u64, CameraEvent) + Send + Sync>;

/// What every camera of the session is opened with.
pub(super) struct Opener {
    pub(super) outputs: Vec<FrameSender>,
    pub(super) frame_log: Option<FrameLog>,
    /// Makes what takes the events of one camera.
    pub(super) tell: Box<dyn Fn() -> Tell + Send>,
}

/// The camera, and what becomes of it.
pub(super) struct CameraControl {
    source: VideoSource,
    state: State,
    /// What was chosen and has not given a picture yet.
    next: Option<Numbered>,
    /// Cameras that were replaced.
    closing: Vec<JoinHandle<()>>,
    opener: Opener,
    /// Cameras opened so far: the last one's number.
    opened: u64,
}

/// The same device can be opened again only when it is wholly closed.
enum State {
    Closed,
    Open(Numbered),
    Closing { done: JoinHandle<()>, reopen: bool },
}

struct Numbered {
    number: u64,
    source: VideoSource,
    camera: Camera,
}

impl CameraControl {
    /// Opens nothing yet.
    pub(super) fn new(source: VideoSource, opener: Opener) -> Self {
        Self { source, state: State::Closed, next: None, closing: Vec::new(), opener, opened: 0 }
    }

    /// Whether there is a camera to open.
    pub(super) fn is_there(&self) -> bool {
        self.source != VideoSource::None
    }

    /// Opens the camera, unless there is none to open.
    pub(super) fn open(&mut self) {
        if !self.is_there() {
            return;
        }
        match &mut self.state {
            State::Open(_) => {}
            State::Closing { reopen, .. } => *reopen = true,
            State::Closed => self.state = State::Open(self.start(self.source.clone(), None)),
        }
    }

    /// Closes the camera. What was chosen last is what opens next time.
    pub(super) fn close(&mut self) -> Option<SessionEvent> {
        let chosen = self.next.take().map(|next| {
            self.source = next.source.clone();
            self.put_away(next);
            SessionEvent::DeviceInUse(DeviceChoice::Camera(self.source.clone()))
        });
        self.state = match std::mem::replace(&mut self.state, State::Closed) {
            State::Closed => State::Closed,
            State::Closing { done, .. } => State::Closing { done, reopen: false },
            State::Open(open) => State::Closing { done: spawn_blocking(move || open.camera.close()), reopen: false },
        };
        chosen
    }

    /// Uses another source from now on. The one before goes on until the new one gives pictures. What is known at once;
    /// the rest comes as events of the camera.
    pub(super) fn switch(&mut self, source: VideoSource) -> Option<SessionEvent> {
        if let Some(next) = self.next.take() {
            self.put_away(next);
        }
        match &self.state {
            State::Open(open) if source != VideoSource::None && source != open.source => {
                let in_use = open.source.clone();
                self.next = Some(self.start(source, Some(&in_use)));
                return None;
            }
            State::Open(open) if source == open.source => {}
            State::Open(_) => {
                let _nothing_was_chosen = self.close();
            }
            State::Closed | State::Closing { .. } => {}
        }
        self.source = source;
        Some(self.in_use())
    }

    /// What the camera with this number did, in the session's words. Those that were replaced have nothing more to say.
    pub(super) fn on_event(&mut self, number: u64, event: CameraEvent) -> Vec<SessionEvent> {
        let is_current = matches!(&self.state, State::Open(open) if open.number == number);
        if let Some(next) = self.next.take_if(|next| next.number == number) {
            return self.on_next(next, event);
        }
        match event {
            CameraEvent::State(state) if is_current => vec![SessionEvent::Camera(state)],
            CameraEvent::State(CameraState::Closed) if matches!(self.state, State::Closing { .. } | State::Closed) => {
                vec![SessionEvent::Camera(CameraState::Closed)]
            }
            CameraEvent::Problem(problem) if is_current => vec![SessionEvent::Device(problem)],
            CameraEvent::State(_) | CameraEvent::Problem(_) | CameraEvent::IsOpen => Vec::new(),
        }
    }

    fn on_next(&mut self, next: Numbered, event: CameraEvent) -> Vec<SessionEvent> {
        match event {
            CameraEvent::State(state @ (CameraState::Open | CameraState::TestCard)) => {
                self.source = next.source.clone();
                if let State::Open(old) = std::mem::replace(&mut self.state, State::Open(next)) {
                    self.put_away(old);
                }
                vec![self.in_use(), SessionEvent::Camera(state)]
            }
            CameraEvent::IsOpen => {
                self.source = next.source.clone();
                if let State::Open(open) = &mut self.state {
                    open.source = next.source.clone();
                }
                self.put_away(next);
                vec![self.in_use()]
            }
            // The test card follows.
            CameraEvent::Problem(problem)
                if problem.problem == Problem::Missing && next.source == VideoSource::Default =>
            {
                self.next = Some(next);
                vec![SessionEvent::Device(problem)]
            }
            CameraEvent::Problem(problem) => {
                let choice = DeviceChoice::Camera(next.source.clone());
                self.put_away(next);
                vec![SessionEvent::DeviceRefused(choice, problem)]
            }
            CameraEvent::State(CameraState::Closed) => {
                self.next = Some(next);
                Vec::new()
            }
        }
    }

    /// Waits until a camera that is being closed is closed; for ever when there is none. Cancel safe.
    pub(super) async fn closed(&mut self) {
        match &mut self.state {
            State::Closing { done, reopen } => {
                if let Err(error) = done.await {
                    tracing::error!(%error, "closing the camera");
                }
                let reopen = *reopen;
                self.state = State::Closed;
                if reopen {
                    self.open();
                }
            }
            State::Closed | State::Open(_) => std::future::pending().await,
        }
    }

    /// Closes everything; what is to be waited for.
    pub(super) fn finish(mut self) -> Vec<JoinHandle<()>> {
        let _over = self.close();
        let mut closing = self.closing;
        if let State::Closing { done, .. } = self.state {
            closing.push(done);
        }
        closing
    }

    fn in_use(&self) -> SessionEvent {
        SessionEvent::DeviceInUse(DeviceChoice::Camera(self.source.clone()))
    }

    fn put_away(&mut self, Numbered { camera, .. }: Numbered) {
        self.closing.retain(|closing| !closing.is_finished());
        self.closing.push(spawn_blocking(move || camera.close()));
    }

    fn start(&mut self, source: VideoSource, in_use: Option<&VideoSource>) -> Numbered {
        self.opened += 1;
        let (number, tell) = (self.opened, (self.opener.tell)());
        let Opener { outputs, frame_log, .. } = &self.opener;
        let on_event = move |event| tell(number, event);
        let camera = Camera::open_beside(&source, in_use, outputs.clone(), frame_log.clone(), on_event);
        Numbered { number, source, camera }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::PathBuf,
        sync::mpsc::{Receiver, channel},
        time::Duration,
    };

    use super::*;
    use crate::{FrameReceiver, frame_slot};

    const PATIENCE: Duration = Duration::from_secs(20);

    struct Bench {
        control: CameraControl,
        events: Receiver<(u64, CameraEvent)>,
        frames: FrameReceiver,
    }

    fn bench(source: VideoSource) -> Bench {
        let (sender, frames) = frame_slot(|| {});
        let (told, events) = channel();
        let tell = Box::new(move || -> Tell {
            let told = std::sync::Mutex::new(told.clone());
            Box::new(move |number, event| drop(told.lock().unwrap().send((number, event))))
        });
        let opener = Opener { outputs: vec![sender], frame_log: None, tell };
        Bench { control: CameraControl::new(source, opener), events, frames }
    }

    impl Bench {
        /// What the session says next.
        fn next(&mut self) -> Vec<SessionEvent> {
            loop {
                let (number, event) = self.events.recv_timeout(PATIENCE).unwrap();
                let said = self.control.on_event(number, event);
                if !said.is_empty() {
                    return said;
                }
            }
        }

        async fn finish(self) {
            for closing in self.control.finish() {
                closing.await.unwrap();
            }
            assert!(self.frames.is_closed(), "every camera is closed");
        }
    }

    fn in_use(source: VideoSource) -> SessionEvent {
        SessionEvent::DeviceInUse(DeviceChoice::Camera(source))
    }

    fn clip() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("clip.y4m");
        let mut clip = b"YUV4MPEG2 W32 H16 F30:1 Ip C420jpeg\nFRAME\n".to_vec();
        clip.resize(clip.len() + 32 * 16 * 3 / 2, 128);
        std::fs::write(&path, clip).unwrap();
        (directory, path)
    }

    #[tokio::test]
    async fn pictures_never_stop_while_another_camera_takes_over() {
        let (_directory, path) = clip();
        let mut bench = bench(VideoSource::TestCard);
        bench.control.open();
        assert_eq!(bench.next(), [SessionEvent::Camera(CameraState::Open)]);
        let clip = VideoSource::File(path);
        assert_eq!(bench.control.switch(clip.clone()), None);
        assert_eq!(bench.next(), [in_use(clip), SessionEvent::Camera(CameraState::Open)]);
        let deadline = crate::clock::now() + PATIENCE;
        let mut last = crate::clock::now();
        while bench.frames.take_until(deadline).is_some_and(|frame| frame.width() != 32) {
            let now = crate::clock::now();
            assert!(now - last < Duration::from_millis(200), "the picture stood for {:?}", now - last);
            last = now;
        }
        bench.finish().await;
    }

    #[tokio::test]
    async fn a_camera_that_can_not_be_used_leaves_the_one_before() {
        let mut bench = bench(VideoSource::TestCard);
        bench.control.open();
        bench.next();
        let missing = VideoSource::Device("no such camera".to_owned());
        bench.control.switch(missing.clone());
        let said = bench.next();
        let [SessionEvent::DeviceRefused(choice, problem)] = said.as_slice() else { panic!("{said:?}") };
        assert_eq!((choice, problem.problem), (&DeviceChoice::Camera(missing), Problem::Missing));
        while bench.frames.take().is_some() {}
        let more = bench.frames.take_until(crate::clock::now() + PATIENCE);
        assert_eq!(more.map(|frame| frame.width()), Some(1280), "the test card goes on");
        bench.finish().await;
    }

    #[tokio::test]
    async fn what_is_chosen_while_the_camera_is_off_opens_when_it_is_on_again() {
        let (_directory, path) = clip();
        let mut bench = bench(VideoSource::TestCard);
        let clip = VideoSource::File(path);
        assert_eq!(bench.control.switch(clip.clone()), Some(in_use(clip)));
        bench.control.open();
        assert_eq!(bench.next(), [SessionEvent::Camera(CameraState::Open)]);
        let frame = bench.frames.take_until(crate::clock::now() + PATIENCE);
        assert_eq!(frame.map(|frame| frame.width()), Some(32));
        bench.finish().await;
    }
}
