//! Screens and windows that a person shares: which there are, and the thread that takes pictures of the chosen one.
//!
//! Nothing is captured before [`ScreenCapture::open`]: a list has names and sizes, and small pictures only when they are
//! asked for. X11 is what this knows; everywhere else it says in words why it can't.
#![cfg_attr(not(target_os = "linux"), allow(dead_code, unused_imports, reason = "nothing is captured there yet"))]

mod pace;
mod picture;
#[cfg(target_os = "linux")]
mod x11;

use std::{
    fmt, io,
    path::PathBuf,
    str::FromStr,
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    thread::{self, JoinHandle},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use picture::Thumbnail;

use crate::{
    Camera, CameraEvent, CameraState, Frame, FrameSender, MediaTime, ParseSourceError, VideoSource,
    capture::convert::bgra_to_i420,
    clock,
    frame::{FramePool, Scaler},
};
#[cfg(target_os = "linux")]
use pace::Pace;
use picture::Grabbed;
#[cfg(target_os = "linux")]
use picture::PointerImage;

/// What is larger is made smaller before it is sent.
const MAX_WIDTH: u32 = 1_920;
const MAX_HEIGHT: u32 = 1_080;
/// The size of small pictures to choose by.
const THUMBNAIL: (u32, u32) = (192, 108);
/// Longer names are cut.
const MAX_NAME_CHARS: usize = 80;

/// What is shared: `screen`, `screen:NAME`, `window:0xID`, or `file:CLIP.y4m`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ScreenSource {
    /// The main screen.
    #[default]
    Default,
    /// A screen by its name.
    Screen(String),
    /// A window by its number.
    Window(u32),
    /// A YUV4MPEG2 file, played in a loop as if it were a screen.
    File(PathBuf),
}

/// A screen or window that can be shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScreenInfo {
    /// How it is named to [`ScreenCapture::open`].
    pub source: ScreenSource,
    /// What the person knows it by.
    pub name: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// What it looks like, if that was asked for.
    pub thumbnail: Option<Thumbnail>,
}

/// Why nothing, or nothing more, can be shared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScreenProblem {
    /// There is no X server that this program may talk to.
    NoDisplay,
    /// The desktop is a Wayland one, whose screens are not X11's.
    Wayland,
    /// Not on this system yet.
    Unsupported,
    /// The other side's Parlor takes no screens.
    NotTaken,
    /// The window was closed, or the screen is not there any more.
    Gone,
    /// Anything else, in the system's own words.
    Failed(String),
}

/// What a capture does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScreenEvent {
    /// It gives pictures of what has this name.
    Open(String),
    /// It gives no more.
    Ended(ScreenProblem),
}

/// The screens and windows of this machine, with small pictures of them if `with_pictures`. Waits for the system: not for a
/// thread that must not.
///
/// # Errors
/// When none can be shared, and why.
pub fn screens(with_pictures: bool) -> Result<Vec<ScreenInfo>, ScreenProblem> {
    let mut list = system::list()?;
    if with_pictures {
        let mut grabbed = Grabbed::default();
        for info in &mut list {
            if system::picture_of(&info.source, &mut grabbed).is_some() {
                info.thumbnail = grabbed.shrunk(THUMBNAIL.0, THUMBNAIL.1);
            }
        }
    }
    Ok(list)
}

/// A screen or window whose pictures are taken. Dropping it stops that, and waits.
pub struct ScreenCapture {
    _stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    /// A clip that stands in for a screen.
    _clip: Option<Camera>,
}

impl ScreenCapture {
    /// Begins on its own thread and returns at once. What comes of it is told to `on_event`, on that thread.
    pub fn open(
        source: ScreenSource,
        out: FrameSender,
        on_event: impl Fn(ScreenEvent) + Send + Sync + 'static,
    ) -> Self {
        if let ScreenSource::File(path) = source {
            return Self::play(path, out, on_event);
        }
        let (stop, stopped) = mpsc::sync_channel(0);
        let worker = Worker { out, stopped, pool: FramePool::default(), scaler: Scaler::default() };
        let thread = thread::Builder::new().name("screen".to_owned()).spawn(move || worker.run(&source, &on_event));
        let thread = thread.inspect_err(|error| tracing::error!(%error, "no thread for the screen")).ok();
        Self { _stop: Some(stop), thread, _clip: None }
    }

    fn play(path: PathBuf, out: FrameSender, on_event: impl Fn(ScreenEvent) + Send + Sync + 'static) -> Self {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let name = label(&name, "file");
        let clip = Camera::open(&VideoSource::File(path), vec![out], None, move |event| match event {
            CameraEvent::State(CameraState::Open | CameraState::TestCard) => on_event(ScreenEvent::Open(name.clone())),
            CameraEvent::Problem(problem) => on_event(ScreenEvent::Ended(ScreenProblem::Failed(problem.detail))),
            CameraEvent::State(CameraState::Closed) | CameraEvent::IsOpen => {}
        });
        Self { _stop: None, thread: None, _clip: Some(clip) }
    }
}

impl Drop for ScreenCapture {
    fn drop(&mut self) {
        self._stop = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the screen's thread panicked");
        }
    }
}

impl fmt::Debug for ScreenCapture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScreenCapture")
    }
}

struct Worker {
    out: FrameSender,
    /// Closed when the owner stops.
    stopped: Receiver<()>,
    pool: FramePool,
    scaler: Scaler,
}

impl Worker {
    /// Puts what was taken into the slot, small enough, with its time.
    fn frame(&mut self, grabbed: &Grabbed) -> io::Result<Frame> {
        let size = (grabbed.width, grabbed.height);
        let converted = self.pool.try_frame(size.0, size.1, MediaTime::default(), |planes| {
            bgra_to_i420(&grabbed.bgrx, size, planes).map_err(io::Error::other)
        })?;
        Ok(self.scaler.resize(&converted, fitting_height(size.0, size.1)))
    }

    fn put(&self, frame: &Frame) {
        let now = clock::now();
        let mut frame = frame.clone();
        frame.captured = clock::media_time(now);
        frame.captured_unix_us = Some(clock::unix_us_at(now));
        self.out.put(frame);
    }
}

#[cfg(target_os = "linux")]
impl Worker {
    fn run(mut self, source: &ScreenSource, on_event: &dyn Fn(ScreenEvent)) {
        let problem = self.capture(source, on_event);
        self.out.clear();
        if let Some(problem) = problem {
            tracing::info!(?problem, "a screen is shared no more");
            on_event(ScreenEvent::Ended(problem));
        }
    }

    /// `None` when the owner stopped it.
    fn capture(&mut self, source: &ScreenSource, on_event: &dyn Fn(ScreenEvent)) -> Option<ScreenProblem> {
        let mut grabber = match x11::Grabber::open(source) {
            Ok(grabber) => grabber,
            Err(problem) => return Some(problem),
        };
        let (mut now_shown, mut before) = (Grabbed::default(), Grabbed::default());
        let mut pace = Pace::default();
        let mut newest: Option<Frame> = None;
        loop {
            let looked = clock::now();
            let changed = match grabber.grab(&mut now_shown) {
                Ok(()) => {
                    now_shown.draw_pointer();
                    let changed = newest.is_none() || !now_shown.is_same_as(&before);
                    if changed {
                        match self.frame(&now_shown) {
                            Ok(frame) => {
                                if newest.replace(frame).is_none() {
                                    on_event(ScreenEvent::Open(grabber.name().to_owned()));
                                }
                            }
                            Err(error) => return Some(ScreenProblem::Failed(error.to_string())),
                        }
                        std::mem::swap(&mut now_shown, &mut before);
                    }
                    changed
                }
                // A window in the dock keeps its last picture.
                Err(x11::Failure::Hidden) => false,
                Err(x11::Failure::Gone) => return Some(ScreenProblem::Gone),
                Err(x11::Failure::Broken(error)) => return Some(ScreenProblem::Failed(error)),
            };
            if let Some(frame) = newest.as_ref().filter(|_| pace.is_due(looked, changed)) {
                self.put(frame);
            }
            let wait = pace.next(looked).saturating_duration_since(clock::now());
            match self.stopped.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Worker {
    fn run(self, _source: &ScreenSource, on_event: &dyn Fn(ScreenEvent)) {
        on_event(ScreenEvent::Ended(ScreenProblem::Unsupported));
    }
}

/// The system's screens.
#[cfg(target_os = "linux")]
mod system {
    use super::{Grabbed, ScreenInfo, ScreenProblem, ScreenSource, x11};

    pub(super) fn list() -> Result<Vec<ScreenInfo>, ScreenProblem> {
        x11::X11::connect()?.list()
    }

    pub(super) fn picture_of(source: &ScreenSource, into: &mut Grabbed) -> Option<()> {
        let mut grabber = x11::Grabber::open(source).ok()?;
        grabber.grab(into).ok()
    }
}

/// The system's screens.
#[cfg(not(target_os = "linux"))]
mod system {
    use super::{Grabbed, ScreenInfo, ScreenProblem, ScreenSource};

    pub(super) fn list() -> Result<Vec<ScreenInfo>, ScreenProblem> {
        Err(ScreenProblem::Unsupported)
    }

    pub(super) fn picture_of(_source: &ScreenSource, _into: &mut Grabbed) -> Option<()> {
        None
    }
}

/// Lines of a picture that fits into the largest that is sent.
fn fitting_height(width: u32, height: u32) -> u32 {
    let by_width = u64::from(MAX_WIDTH) * u64::from(height) / u64::from(width.max(1));
    height.min(MAX_HEIGHT).min(u32::try_from(by_width).unwrap_or(u32::MAX))
}

/// A name that others gave, fit for a line of text; `or` when nothing is left of it.
fn label(name: &str, or: &str) -> String {
    let clean = name.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_NAME_CHARS).collect::<String>();
    let clean = clean.trim();
    if clean.is_empty() { or.to_owned() } else { clean.to_owned() }
}

impl FromStr for ScreenSource {
    type Err = ParseSourceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        };
        let parsed = match text.split_once(':') {
            None if text == "screen" => Some(Self::Default),
            Some(("screen", name)) if !name.is_empty() => Some(Self::Screen(name.to_owned())),
            Some(("window", id)) => number(id).map(Self::Window),
            Some(("file", path)) if !path.is_empty() => Some(Self::File(path.into())),
            Some(_) | None => None,
        };
        parsed.ok_or_else(|| ParseSourceError::new(text, "screen, screen:NAME, window:0xID or file:CLIP.y4m"))
    }
}

impl fmt::Display for ScreenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("screen"),
            Self::Screen(name) => write!(f, "screen:{name}"),
            Self::Window(id) => write!(f, "window:{id:#x}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl Serialize for ScreenSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ScreenSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_what_it_was_written_from() {
        for text in ["screen", "screen:HDMI-1", "screen:a:b", "window:0x1c00003", "file:/a/b.y4m"] {
            assert_eq!(text.parse::<ScreenSource>().unwrap().to_string(), text);
        }
        assert_eq!("window:17".parse(), Ok(ScreenSource::Window(17)));
        for wrong in ["", "screens", "screen:", "window:", "window:0xyz", "window:-1", "window:0x1ffffffff", "file:"] {
            assert!(wrong.parse::<ScreenSource>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn large_screens_are_made_to_fit_and_small_ones_left_alone() {
        for ((width, height), lines) in [
            ((1920, 1080), 1080),
            ((1280, 720), 720),
            ((3840, 2160), 1080),
            ((3840, 1080), 540),
            ((1080, 1920), 1080),
            ((5120, 1440), 540),
            ((1, 1), 1),
            ((0, 0), 0),
        ] {
            assert_eq!(fitting_height(width, height), lines, "{width} x {height}");
        }
    }

    #[test]
    fn names_are_one_clean_line() {
        assert_eq!(label("  a\nb\u{7}c ", "screen"), "a b c");
        assert_eq!(label("\n\t", "screen"), "screen");
        assert_eq!(label(&"长".repeat(500), "screen").chars().count(), MAX_NAME_CHARS);
    }

    #[test]
    fn a_clip_that_is_not_there_is_said_to_be() {
        let (out, _frames) = crate::frame_slot(|| {});
        let (told, events) = mpsc::channel();
        let told = std::sync::Mutex::new(told);
        let capture = ScreenCapture::open(ScreenSource::File("/nowhere.y4m".into()), out, move |event| {
            drop(told.lock().unwrap().send(event));
        });
        let event = events.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
        assert!(matches!(event, ScreenEvent::Ended(ScreenProblem::Failed(_))), "{event:?}");
        drop(capture);
    }
}
