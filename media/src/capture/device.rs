//! A camera device and the thread that its driver may block.

use std::{
    convert::Infallible,
    error::Error,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{self, Receiver, Sender, SyncSender, TryRecvError},
    thread::{self, JoinHandle},
    time::Duration,
};

use nokhwa::{
    Camera, NokhwaError,
    utils::{CameraIndex, RequestedFormat, RequestedFormatType},
};

use super::{Message, camera_problem, choice, convert::Converter, listing};
use crate::{DeviceProblem, Problem, clock, frame::FramePool};

/// Damaged frames in a row that are left out before the camera counts as unusable.
const MAX_DAMAGED: u32 = 30;

/// How often a camera that is missing is looked for while another stands in for it.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A camera that was found and opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) id: String,
    pub(super) stands_in: bool,
}

/// A device in its thread, which tells what happens by [`Message`]s with this device's number.
pub(super) struct DeviceThread {
    /// Dropped to stop; nothing is ever sent.
    stop: Sender<Infallible>,
    stopping: StoppingDevice,
}

/// A device that was told to stop.
pub(super) struct StoppingDevice {
    thread: JoinHandle<()>,
}

/// Which camera to open.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// `None`: the first one.
    pub(super) id: Option<String>,
    /// Another one may take its place until it is there.
    pub(super) or_another: bool,
    /// Not if it is this one, which is open already; `Some(None)`: the first one.
    pub(super) but_not: Option<Option<String>>,
}

/// Why a device ended.
#[derive(Debug)]
pub(super) enum End {
    /// It was told to.
    Stopped,
    /// It stood in for another, which is there now.
    WantedIsBack,
    /// It is the one that is open already.
    IsOpen,
    Failed(DeviceProblem),
}

impl DeviceThread {
    pub(super) fn spawn(wanted: Wanted, number: u64, messages: SyncSender<Message>) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new().name("camera-device".to_owned()).spawn(move || {
            let streamed = catch_unwind(AssertUnwindSafe(|| stream(&wanted, number, &messages, &stopped)));
            let end = match streamed {
                Ok(Ok(end)) => end,
                Ok(Err(problem)) => End::Failed(problem),
                Err(_) => End::Failed(camera_problem(Problem::Failed, "the camera library panicked".to_owned())),
            };
            // Nobody listens any more if the device was abandoned.
            let _ = messages.send(Message::Ended(number, end));
        })?;
        Ok(Self { stop, stopping: StoppingDevice { thread } })
    }

    /// Asks the device to end. It says when it has.
    pub(super) fn stop(self) -> StoppingDevice {
        drop(self.stop);
        self.stopping
    }

    /// Waits for a device that said it ended.
    pub(super) fn join(self) {
        self.stopping.join();
    }
}

impl StoppingDevice {
    /// Waits for a device that said it ended.
    pub(super) fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the camera device's thread panicked");
        }
    }

    /// Leaves a driver that hangs to a thread that waits for it: no one can end a thread from outside.
    pub(super) fn abandon(self) {
        tracing::warn!("the camera's driver hangs: the device stays open until it returns");
        let reaper = thread::Builder::new().name("camera-reaper".to_owned()).spawn(move || {
            self.join();
            tracing::info!("the camera's driver returned: the device is released");
        });
        if let Err(error) = reaper {
            tracing::error!(%error, "no thread to wait for the camera's driver");
        }
    }
}

/// Opens the device and sends frames until it fails or is stopped; released on return.
fn stream(
    wanted: &Wanted,
    number: u64,
    messages: &SyncSender<Message>,
    stopped: &Receiver<Infallible>,
) -> Result<End, DeviceProblem> {
    let is_stopped = || matches!(stopped.try_recv(), Err(TryRecvError::Disconnected));
    let id = wanted.id.as_deref();
    let missing =
        || camera_problem(Problem::Missing, format!("no camera {}", id.unwrap_or_default()).trim_end().into());
    let found = listing::choose(id, wanted.or_another).ok_or_else(missing)?;
    if let Some(open) = &wanted.but_not
        && listing::choose(open.as_deref(), false).is_some_and(|open| open.index == found.index)
    {
        return Ok(End::IsOpen);
    }
    let mut camera = open(found.index)?;
    // Nobody listens any more if the device was abandoned.
    let _ = messages.send(Message::Opened(number, Opened { id: found.id, stands_in: found.stands_in }));
    let mut look_at = clock::now() + LOOK_EVERY;
    let format = camera.camera_format();
    let size = (format.width(), format.height());
    tracing::info!(camera = camera.info().human_name(), %format, "camera opened");
    let (mut pool, mut converter, mut damaged) = (FramePool::default(), Converter::default(), 0);
    while !is_stopped() {
        let data = camera.frame_raw().map_err(|error| lost(&error))?;
        // Drivers' own timestamps mean start of frame here and end of frame there; arrival means the same everywhere.
        let now = clock::now();
        if is_stopped() {
            break;
        }
        if found.stands_in && now >= look_at {
            look_at = now + LOOK_EVERY;
            if listing::choose(id, false).is_some() {
                return Ok(End::WantedIsBack);
            }
        }
        let captured = clock::media_time(now);
        let frame =
            pool.try_frame(size.0, size.1, captured, |planes| converter.convert(format.format(), size, &data, planes));
        match frame {
            Ok(mut frame) => {
                damaged = 0;
                frame.captured_unix_us = Some(clock::unix_us_at(now));
                // Latest wins further on; here a full channel means that nobody has time for this one.
                let _ = messages.try_send(Message::Frame(number, frame));
            }
            Err(error) if damaged < MAX_DAMAGED => {
                tracing::debug!(%error, "a damaged frame from the camera is left out");
                damaged += 1;
            }
            Err(error) => return Err(camera_problem(Problem::Failed, error.to_string())),
        }
    }
    Ok(End::Stopped)
}

/// Opens the camera with the best of its formats that works.
fn open(index: CameraIndex) -> Result<Camera, DeviceProblem> {
    let mut camera = open_with_format(index).map_err(|error| classify(error.to_string()))?;
    camera.open_stream().map_err(|error| classify(error.to_string()))?;
    Ok(camera)
}

#[cfg(target_os = "linux")]
fn open_with_format(index: CameraIndex) -> Result<Camera, Box<dyn Error>> {
    let format = super::negotiate::set_best_format(index.as_index()? as usize)?;
    let format = format.ok_or("it has no format that can be used")?;
    let exactly = RequestedFormat::with_formats(RequestedFormatType::Exact(format), &choice::FORMATS);
    Ok(Camera::new(index, exactly)?)
}

#[cfg(not(target_os = "linux"))]
fn open_with_format(index: CameraIndex) -> Result<Camera, Box<dyn Error>> {
    let any = RequestedFormat::with_formats(RequestedFormatType::None, &choice::FORMATS);
    let mut camera = Camera::new(index, any)?;
    let formats = choice::by_preference(camera.compatible_camera_formats()?);
    // Whatever it opened with remains if it refuses the best.
    if let Some(&best) = formats.first() {
        let exactly = RequestedFormat::with_formats(RequestedFormatType::Exact(best), &choice::FORMATS);
        let set = camera.set_camera_requset(exactly);
        tracing::debug!(?set, "format of the camera");
    }
    Ok(camera)
}

/// What keeps a camera from opening. The library passes the system's error on as text alone.
fn classify(detail: String) -> DeviceProblem {
    let problem = match os_error(&detail) {
        // EPERM, EACCES
        Some(1 | 13) => Problem::Denied,
        // ENOENT, ENXIO, ENODEV
        Some(2 | 6 | 19) => Problem::Missing,
        // EBUSY
        Some(16) => Problem::Busy,
        _ => Problem::Failed,
    };
    camera_problem(problem, detail)
}

/// A camera that gave frames fails by being unplugged, as a rule.
fn lost(error: &NokhwaError) -> DeviceProblem {
    let problem = classify(error.to_string());
    match problem.problem {
        Problem::Busy | Problem::Denied => problem,
        Problem::Missing | Problem::Lost | Problem::Replaced | Problem::BadFile | Problem::Failed => {
            camera_problem(Problem::Lost, problem.detail)
        }
    }
}

/// The number in a text such as `Device or resource busy (os error 16)`.
fn os_error(text: &str) -> Option<i32> {
    let (_, rest) = text.split_once("(os error ")?;
    rest.split_once(')')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_becomes_what_a_person_can_act_on() {
        let open = |text: &str| classify(format!("Could not open device 0: V4L2 Error: {text}")).problem;
        assert_eq!(open("Permission denied (os error 13)"), Problem::Denied);
        assert_eq!(open("No such file or directory (os error 2)"), Problem::Missing);
        assert_eq!(open("Device or resource busy (os error 16)"), Problem::Busy);
        assert_eq!(open("something else"), Problem::Failed);
        let read = lost(&NokhwaError::ReadFrameError("No such device (os error 19)".into()));
        assert_eq!(read.problem, Problem::Lost);
    }
}
