//! Screens and windows that a person shares: which there are, and the thread that takes pictures of the chosen one.
//!
//! Nothing is captured before [`ScreenCapture::open`]: a list has names and sizes, and small pictures only when they are
//! asked for. What is particular to a system is behind [`Grabber`]: X11, the portal of Wayland desktops, Windows, macOS.
//! Where there is none, it is said in words why.

mod grabber;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(any(test, feature = "wayland-screens", target_os = "macos", target_os = "windows"))]
mod newest;
mod pace;
mod picture;
#[cfg(all(target_os = "linux", feature = "wayland-screens"))]
mod portal;
mod source;
mod system;
#[cfg(target_os = "windows")]
mod windows;
#[cfg(target_os = "linux")]
mod x11;

use std::{
    fmt, io,
    path::PathBuf,
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    thread::{self, JoinHandle},
};

use serde::Serialize;

pub use picture::Thumbnail;
pub use source::ScreenSource;

use crate::{
    Camera, CameraEvent, CameraState, Frame, FrameSender, MediaTime, VideoSource,
    capture::convert::bgra_to_i420,
    clock,
    frame::{FramePool, Scaler},
};
use grabber::{Failure, Grabber};
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
    /// The desktop is a Wayland one, and this program was built without what that takes.
    Wayland,
    /// The Wayland desktop has no portal that shares screens.
    NoPortal,
    /// The system wants to be told by the person that this program may.
    Forbidden,
    /// Not on this system, or not on one as old as this.
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
    /// It gives pictures of what has this name; none is known of what the desktop had the person choose.
    Open(String),
    /// It gives none: the person chose nothing when the desktop asked.
    Cancelled,
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
        for info in list.iter_mut().filter(|info| info.source != ScreenSource::Portal) {
            let grabber = system::open(&info.source);
            if grabber.is_ok_and(|mut grabber| grabber.grab(&mut grabbed).is_ok()) {
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

impl Worker {
    fn run(mut self, source: &ScreenSource, on_event: &dyn Fn(ScreenEvent)) {
        let failure = self.capture(source, on_event);
        self.out.clear();
        let problem = match failure {
            None | Some(Failure::Hidden) => return,
            Some(Failure::Cancelled) => return on_event(ScreenEvent::Cancelled),
            Some(Failure::Gone) => ScreenProblem::Gone,
            Some(Failure::Denied(problem)) => problem,
            Some(Failure::Broken(error)) => ScreenProblem::Failed(error),
        };
        tracing::info!(?problem, "a screen is shared no more");
        on_event(ScreenEvent::Ended(problem));
    }

    /// `None` when the owner stopped it.
    fn capture(&mut self, source: &ScreenSource, on_event: &dyn Fn(ScreenEvent)) -> Option<Failure> {
        let mut grabber = match system::open(source) {
            Ok(grabber) => grabber,
            Err(problem) => return Some(Failure::Denied(problem)),
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
                            Err(error) => return Some(Failure::Broken(error.to_string())),
                        }
                        std::mem::swap(&mut now_shown, &mut before);
                    }
                    changed
                }
                // A window in the dock keeps its last picture.
                Err(Failure::Hidden) => false,
                Err(failure) => return Some(failure),
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

/// Lines of a picture that fits into the largest that is sent.
fn fitting_height(width: u32, height: u32) -> u32 {
    let by_width = u64::from(MAX_WIDTH) * u64::from(height) / u64::from(width.max(1));
    height.min(MAX_HEIGHT).min(u32::try_from(by_width).unwrap_or(u32::MAX))
}

/// The size in pixels that is asked for, where a system makes pictures of any size, for something that takes up so many
/// points on a screen that may have two pixels a point.
#[cfg(any(test, target_os = "macos"))]
fn captured_size((width, height): (u32, u32)) -> (u32, u32) {
    let (width, height) = (f64::from(width.max(1)), f64::from(height.max(1)));
    let scale = (f64::from(MAX_WIDTH) / width).min(f64::from(MAX_HEIGHT) / height).min(2.0);
    // Chroma has half of it.
    let even = |length: f64| ((length * scale) as u32).max(2) & !1;
    (even(width), even(height))
}

/// A name that others gave, fit for a line of text; `or` when nothing is left of it.
fn label(name: &str, or: &str) -> String {
    let clean = name.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_NAME_CHARS).collect::<String>();
    let clean = clean.trim();
    if clean.is_empty() { or.to_owned() } else { clean.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn what_is_drawn_in_points_is_captured_sharp_and_not_larger_than_it_is_sent() {
        for (points, pixels) in [
            ((640, 400), (1280, 800)),
            ((1440, 900), (1728, 1080)),
            ((3840, 2160), (1920, 1080)),
            ((101, 53), (202, 106)),
            ((10_000, 1), (1920, 2)),
            ((0, 0), (2, 2)),
            ((u32::MAX, u32::MAX), (1080, 1080)),
        ] {
            assert_eq!(captured_size(points), pixels, "{points:?}");
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
