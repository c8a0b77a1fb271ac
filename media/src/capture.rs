//! Own pictures: a camera, the test card, or a clip, in one owned thread that puts frames into slots.
//!
//! The thread named `camera` decides and paces; a device gets a second thread, `camera-device`, because a driver may
//! block for ever. The first never waits for the second for long, so that closing is quick whatever a driver does.

mod choice;
mod clip;
pub(crate) mod convert;
mod device;
mod listing;
#[cfg(target_os = "linux")]
mod negotiate;
mod test_card;

use std::{
    path::Path,
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

pub(crate) use listing::camera_nodes;
pub use listing::cameras;

use crate::{
    CameraState, DeviceKind, DeviceProblem, Frame, FrameSender, Problem, VideoSource, clock, frame::FramePool,
    frame_log::FrameLog,
};
use clip::Clip;
use device::{DeviceThread, End, Opened, Wanted};
use test_card::TestCard;

/// A device that fails is tried again this often, quietly.
const RETRY: Duration = Duration::from_secs(2);
/// One that was lost is looked for after so long, and another one takes its place if it is not there.
const RETRY_SOON: Duration = Duration::from_millis(200);
/// Cameras take their time to open and to expose a first frame.
const FIRST_FRAME_PATIENCE: Duration = Duration::from_secs(10);
/// A camera that gives nothing for this long is gone, whatever its driver says.
const STALL: Duration = Duration::from_secs(3);
/// How long a device may take to be released before it is left to itself.
const RELEASE_PATIENCE: Duration = Duration::from_millis(300);
/// A clip that is late by more (the machine slept) goes on from now instead of catching up.
const LATE: Duration = Duration::from_millis(500);

/// A source of pictures that is open. Dropping it closes it.
pub struct Camera {
    messages: SyncSender<Message>,
    thread: Option<JoinHandle<()>>,
}

/// What a camera does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CameraEvent {
    /// It gives pictures now, or no longer.
    State(CameraState),
    /// Something that the person should know.
    Problem(DeviceProblem),
    /// It is the very device that it was to replace: nothing was opened.
    IsOpen,
}

/// What the camera's thread waits for.
enum Message {
    /// The owner closes.
    Stop,
    /// The device with this number gives a picture.
    Frame(u64, Frame),
    /// The device with this number is open, and about to give pictures.
    Opened(u64, Opened),
    /// The device with this number is released.
    Ended(u64, End),
}

impl Camera {
    /// Opens on its own thread and returns at once; what comes of it is told to `on_event`, on that thread. Frames go
    /// to every output. Where [`VideoSource::Default`] finds no camera it gives the test card, and says so. A camera
    /// that fails or is unplugged is tried again until it is there; meanwhile another one takes its place.
    pub fn open(
        source: &VideoSource,
        outputs: Vec<FrameSender>,
        frame_log: Option<FrameLog>,
        on_event: impl Fn(CameraEvent) + Send + Sync + 'static,
    ) -> Self {
        Self::open_beside(source, None, outputs, frame_log, on_event)
    }

    /// As [`Camera::open`], for what is to take the place of `in_use`, which is open: no other camera takes its place
    /// before it was there itself, and it is not opened if both are the same device ([`CameraEvent::IsOpen`]).
    pub fn open_beside(
        source: &VideoSource,
        in_use: Option<&VideoSource>,
        outputs: Vec<FrameSender>,
        frame_log: Option<FrameLog>,
        on_event: impl Fn(CameraEvent) + Send + Sync + 'static,
    ) -> Self {
        // Frames that find it full are left out; the few other messages wait.
        let (messages, inbox) = mpsc::sync_channel(4);
        let worker =
            Worker { outputs, frame_log, on_event: Box::new(on_event), inbox, messages: messages.clone(), devices: 0 };
        let source = source.clone();
        let in_use = in_use.map(|source| match source {
            VideoSource::Default => Some(None),
            VideoSource::Device(id) => Some(Some(id.clone())),
            VideoSource::None | VideoSource::TestCard | VideoSource::File(_) => None,
        });
        let thread = thread::Builder::new().name("camera".to_owned()).spawn(move || worker.run(&source, in_use));
        let thread = thread.inspect_err(|error| tracing::error!(%error, "no thread for the camera")).ok();
        Self { messages, thread }
    }

    /// Releases the device and waits for it, at most for `RELEASE_PATIENCE` and a little.
    pub fn close(self) {}
}

impl Drop for Camera {
    fn drop(&mut self) {
        // A closed channel means that the thread ended by itself.
        let _ = self.messages.send(Message::Stop);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the camera's thread panicked");
        }
    }
}

impl std::fmt::Debug for Camera {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Camera")
    }
}

/// The owner closed: unwinds the worker.
struct Stopped;

struct Worker {
    outputs: Vec<FrameSender>,
    frame_log: Option<FrameLog>,
    on_event: Box<dyn Fn(CameraEvent) + Send + Sync>,
    inbox: Receiver<Message>,
    messages: SyncSender<Message>,
    /// Devices opened so far; the last one's number. Late messages of earlier ones are ignored.
    devices: u64,
}

impl Worker {
    /// `in_use`: what this is to replace, if anything, and the camera that it is, if it is one.
    fn run(mut self, source: &VideoSource, in_use: Option<Option<Option<String>>>) {
        let wanted = |id| Wanted { id, or_another: in_use.is_none(), but_not: in_use.flatten() };
        let Stopped = match source {
            VideoSource::None => self.wait_for_stop(),
            VideoSource::TestCard => self.play_test_card(CameraState::Open),
            VideoSource::File(path) => self.play_file(path),
            VideoSource::Device(id) => self.run_device(wanted(Some(id.clone()))),
            VideoSource::Default => self.run_device(wanted(None)),
        };
        self.outputs.iter().for_each(FrameSender::clear);
        self.state(CameraState::Closed);
    }

    /// Streams from a camera through everything that may happen to it.
    fn run_device(&mut self, mut wanted: Wanted) -> Stopped {
        let falls_back = wanted.id.is_none();
        // What is known to the person: that it can't be opened; which is no news again before it was open.
        let mut told = false;
        // What is told if no other camera takes over.
        let mut lost = None;
        loop {
            let (opened, end) = match self.stream(&wanted, &mut lost) {
                Ok(end) => end,
                Err(Stopped) => return Stopped,
            };
            if let Some(Opened { id, .. }) = &opened {
                // What replaces it is no longer there, and the first one at the start stays the one that is wanted.
                wanted = Wanted { id: wanted.id.or_else(|| Some(id.clone())), or_another: true, but_not: None };
                told = false;
            }
            let problem = match end {
                End::WantedIsBack => continue,
                End::IsOpen => {
                    (self.on_event)(CameraEvent::IsOpen);
                    return self.wait_for_stop();
                }
                End::Stopped => camera_problem(Problem::Lost, "it ended".to_owned()),
                End::Failed(problem) => problem,
            };
            let missing = problem.problem == Problem::Missing;
            if opened.is_some() {
                self.outputs.iter().for_each(FrameSender::clear);
                self.state(CameraState::Closed);
                lost = Some(problem);
                if let Err(Stopped) = self.wait_until(clock::now() + RETRY_SOON) {
                    return Stopped;
                }
                continue;
            }
            if !std::mem::replace(&mut told, true) {
                self.outputs.iter().for_each(FrameSender::clear);
                let was_there = lost.is_some();
                self.problem(lost.take().unwrap_or(problem));
                if missing && falls_back && !was_there {
                    return self.play_test_card(CameraState::TestCard);
                }
                self.state(CameraState::Closed);
            }
            if let Err(Stopped) = self.wait_until(clock::now() + RETRY) {
                return Stopped;
            }
        }
    }

    /// Opens a device and passes its frames on until it ends: what gave frames, and what happened. `lost`: what to say if
    /// it is not another camera that opens.
    fn stream(&mut self, wanted: &Wanted, lost: &mut Option<DeviceProblem>) -> Result<(Option<Opened>, End), Stopped> {
        self.devices += 1;
        let number = self.devices;
        let device = match DeviceThread::spawn(wanted.clone(), number, self.messages.clone()) {
            Ok(device) => device,
            Err(error) => return Ok((None, End::Failed(camera_problem(Problem::Failed, error.to_string())))),
        };
        let (mut found, mut opened) = (None, None);
        loop {
            let patience = if opened.is_some() { STALL } else { FIRST_FRAME_PATIENCE };
            match self.inbox.recv_timeout(patience) {
                Ok(Message::Opened(of, camera)) if of == number => found = Some(camera),
                Ok(Message::Frame(of, frame)) if of == number => {
                    self.deliver(frame);
                    if opened.is_none() {
                        opened = found.take();
                        self.state(CameraState::Open);
                        self.tell_of_the_change(opened.as_ref(), lost.take());
                    }
                }
                Ok(Message::Ended(of, end)) if of == number => {
                    device.join();
                    return Ok((opened, end));
                }
                Ok(Message::Opened(..) | Message::Frame(..) | Message::Ended(..)) => {}
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.release(device, number)?;
                    return Err(Stopped);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.release(device, number)?;
                    let detail = format!("no picture for {} s", patience.as_secs());
                    return Ok((opened, End::Failed(camera_problem(Problem::Lost, detail))));
                }
            }
        }
    }

    /// A camera opened: the one that is wanted, or another, perhaps after one was lost.
    fn tell_of_the_change(&self, opened: Option<&Opened>, lost: Option<DeviceProblem>) {
        if opened.is_some_and(|camera| camera.stands_in) {
            let detail = lost.map_or_else(|| "it is not there".to_owned(), |problem| problem.detail);
            self.problem(camera_problem(Problem::Replaced, detail));
        } else if let Some(lost) = lost {
            tracing::info!(detail = lost.detail, "the camera was away for a moment");
        }
    }

    /// Stops a device and waits for its release; a driver that hangs is left to a thread of its own.
    fn release(&mut self, device: DeviceThread, number: u64) -> Result<(), Stopped> {
        let device = device.stop();
        let deadline = clock::now() + RELEASE_PATIENCE;
        let mut stopped = Ok(());
        loop {
            match self.inbox.recv_timeout(deadline.saturating_duration_since(clock::now())) {
                Ok(Message::Ended(of, _)) if of == number => {
                    device.join();
                    return stopped;
                }
                Ok(Message::Opened(..) | Message::Frame(..) | Message::Ended(..)) => {}
                Ok(Message::Stop) => stopped = Err(Stopped),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    device.abandon();
                    return stopped;
                }
            }
        }
    }

    fn play_test_card(&mut self, state: CameraState) -> Stopped {
        let mut card = TestCard::new();
        let rate = (TestCard::FPS, 1);
        self.play(state, rate, |number, pool, _| Ok::<_, DeviceProblem>(card.frame(number, pool)))
    }

    fn play_file(&mut self, path: &Path) -> Stopped {
        match Clip::open(path) {
            Ok(mut clip) => self.play(CameraState::Open, clip.rate(), |_, pool, problem| {
                let (frame, damage) = clip.next(pool).map_err(|error| clip_problem(path, &error.to_string()))?;
                if let Some(damage) = damage {
                    problem(clip_problem(path, &damage.to_string()));
                }
                Ok(frame)
            }),
            Err(error) => {
                self.problem(clip_problem(path, &error.to_string()));
                self.state(CameraState::Closed);
                self.wait_for_stop()
            }
        }
    }

    /// Gives the frames that `next` makes, frame `k` at `start + k / rate`.
    fn play(
        &mut self,
        state: CameraState,
        (frames, seconds): (u32, u32),
        mut next: impl FnMut(u64, &mut FramePool, &dyn Fn(DeviceProblem)) -> Result<Frame, DeviceProblem>,
    ) -> Stopped {
        let mut pool = FramePool::default();
        let mut start = clock::now();
        for number in 0.. {
            // Made ahead, so that it is there on time.
            let mut frame = match next(number, &mut pool, &|problem| self.problem(problem)) {
                Ok(frame) => frame,
                Err(problem) => {
                    self.problem(problem);
                    self.outputs.iter().for_each(FrameSender::clear);
                    self.state(CameraState::Closed);
                    return self.wait_for_stop();
                }
            };
            let mut due = start + Duration::from_nanos(number * 1_000_000_000 * u64::from(seconds) / u64::from(frames));
            if let Err(Stopped) = self.wait_until(due) {
                return Stopped;
            }
            let late = clock::now() - due;
            if late > LATE {
                start += late;
                due += late;
            }
            frame.captured = clock::media_time(due);
            frame.captured_unix_us = Some(clock::unix_us_at(due));
            self.deliver(frame);
            if number == 0 {
                self.state(state);
            }
        }
        Stopped
    }

    fn deliver(&self, frame: Frame) {
        if let Some(log) = &self.frame_log {
            log.captured(&frame);
        }
        self.outputs.iter().for_each(|output| output.put(frame.clone()));
    }

    fn wait_until(&mut self, deadline: Instant) -> Result<(), Stopped> {
        loop {
            match self.inbox.recv_timeout(deadline.saturating_duration_since(clock::now())) {
                Ok(Message::Opened(..) | Message::Frame(..) | Message::Ended(..)) => {}
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return Err(Stopped),
                Err(RecvTimeoutError::Timeout) => return Ok(()),
            }
        }
    }

    fn wait_for_stop(&mut self) -> Stopped {
        while !matches!(self.inbox.recv(), Ok(Message::Stop) | Err(mpsc::RecvError)) {}
        Stopped
    }

    fn state(&self, state: CameraState) {
        (self.on_event)(CameraEvent::State(state));
    }

    fn problem(&self, problem: DeviceProblem) {
        tracing::info!(problem = ?problem.problem, detail = problem.detail, "the camera has a problem");
        (self.on_event)(CameraEvent::Problem(problem));
    }
}

fn camera_problem(problem: Problem, detail: String) -> DeviceProblem {
    DeviceProblem { device: DeviceKind::Camera, problem, detail }
}

fn clip_problem(path: &Path, detail: &str) -> DeviceProblem {
    camera_problem(Problem::BadFile, format!("{}: {detail}", path.display()))
}

#[cfg(test)]
mod tests;
