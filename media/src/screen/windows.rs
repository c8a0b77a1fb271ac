//! Screens and windows of Windows, through Windows.Graphics.Capture (Windows 10 1903 and newer), which draws the pointer in
//! and brings a picture whenever something has changed.

use std::{convert::Infallible, ffi::c_void, sync::Arc, time::Duration};

use windows_capture::{
    capture::{CaptureControl, Context, GraphicsCaptureApiHandler},
    frame::Frame,
    graphics_capture_api::{GraphicsCaptureApi, InternalCaptureControl},
    monitor::Monitor,
    settings::{
        ColorFormat, CursorCaptureSettings, DirtyRegionSettings, DrawBorderSettings, GraphicsCaptureItemType,
        MinimumUpdateIntervalSettings, SecondaryWindowSettings, Settings,
    },
    window::Window,
};

use super::{
    Failure, Grabbed, Grabber, ScreenInfo, ScreenProblem, ScreenSource, label,
    newest::{Newest, Order, Pixels},
};

const MAX_LISTED: usize = 48;
/// What is smaller is an icon or a tool tip.
const LEAST_SIZE: i32 = 48;
/// Windows puts what is minimised there.
const FAR_AWAY: i32 = -32_000;
/// The desktop itself, which is a window as well.
const DESKTOP: &str = "Program Manager";
/// A first picture comes within a frame or two, and from what is hidden never.
const FIRST_PICTURE: Duration = Duration::from_millis(250);
/// Pictures are asked for no more often, where Windows can be asked.
const LEAST_INTERVAL: Duration = Duration::from_millis(60);

/// What can be shared: the monitors, the main one first, then the windows, those in front first.
pub(super) fn list() -> Result<Vec<ScreenInfo>, ScreenProblem> {
    if !GraphicsCaptureApi::is_supported().unwrap_or(false) {
        return Err(ScreenProblem::Unsupported);
    }
    let mut list = monitors()?.into_iter().map(|(name, monitor)| screen_info(name, monitor)).collect::<Vec<_>>();
    let windows = Window::enumerate().map_err(failed)?;
    list.extend(windows.into_iter().filter_map(window_info).take(MAX_LISTED));
    Ok(list)
}

/// Begins with one of them, and waits a little for its first picture.
pub(super) fn open(source: &ScreenSource) -> Result<Box<dyn Grabber>, ScreenProblem> {
    let capture = match source {
        ScreenSource::Default | ScreenSource::Screen(_) => {
            let wanted = |name: &str| match source {
                ScreenSource::Screen(wanted) => wanted == name,
                ScreenSource::Default | ScreenSource::Window(_) | ScreenSource::Portal | ScreenSource::File(_) => true,
            };
            let found = monitors()?.into_iter().find(|(name, _)| wanted(name));
            let (name, monitor) = found.ok_or(ScreenProblem::Gone)?;
            Capture::begin(monitor, label(&monitor.name().unwrap_or_default(), &name))
        }
        ScreenSource::Window(number) => {
            let window = window_of(*number);
            if !window.is_valid() {
                return Err(ScreenProblem::Gone);
            }
            Capture::begin(window, label(&window.title().unwrap_or_default(), "window"))
        }
        ScreenSource::Portal => Err(ScreenProblem::NoPortal),
        ScreenSource::File(_) => Err(ScreenProblem::Failed("a file is no screen".to_owned())),
    }?;
    capture.newest.wait(FIRST_PICTURE);
    Ok(Box::new(capture))
}

/// The monitors by the names that Windows gives them (`DISPLAY1`), the main one first.
fn monitors() -> Result<Vec<(String, Monitor)>, ScreenProblem> {
    let main = Monitor::primary().ok();
    let mut monitors = Monitor::enumerate().map_err(failed)?;
    monitors.sort_by_key(|monitor| Some(*monitor) != main);
    let named = monitors.into_iter().filter_map(|monitor| {
        let name = monitor.device_name().ok()?;
        Some((label(name.trim_start_matches(r"\\.\"), "screen"), monitor))
    });
    Ok(named.collect())
}

fn screen_info(name: String, monitor: Monitor) -> ScreenInfo {
    let (width, height) = (monitor.width().unwrap_or(0), monitor.height().unwrap_or(0));
    let shown = label(&monitor.name().unwrap_or_default(), &name);
    ScreenInfo { source: ScreenSource::Screen(name), name: shown, width, height, thumbnail: None }
}

/// A window that a person would know: not ours, not hidden, not the desktop.
fn window_info(window: Window) -> Option<ScreenInfo> {
    // Asked for first: our own window would be asked for its title, and may wait for us.
    if window.process_id().ok()? == std::process::id() {
        return None;
    }
    let name = label(&window.title().ok()?, "");
    let place = window.rect().ok()?;
    let (width, height) = (place.right - place.left, place.bottom - place.top);
    let is_hidden = place.left <= FAR_AWAY || width < LEAST_SIZE || height < LEAST_SIZE;
    if name.is_empty() || name == DESKTOP || is_hidden {
        return None;
    }
    let (width, height) = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    Some(ScreenInfo { source: ScreenSource::Window(number_of(window)), name, width, height, thumbnail: None })
}

/// Of a handle to a window, 32 bits count, whatever the width of pointers.
fn number_of(window: Window) -> u32 {
    window.as_raw_hwnd() as usize as u32
}

fn window_of(number: u32) -> Window {
    // They are extended by their sign.
    Window::from_raw_hwnd(number as i32 as isize as *mut c_void)
}

/// Pictures of one monitor or window, taken on a thread of the library's.
struct Capture {
    newest: Arc<Newest>,
    name: String,
    control: Option<CaptureControl<Reader, Infallible>>,
}

impl Capture {
    fn begin(
        item: impl TryInto<GraphicsCaptureItemType> + Send + 'static,
        name: String,
    ) -> Result<Self, ScreenProblem> {
        // Each of these fails where Windows is too old for it.
        let border = match GraphicsCaptureApi::is_border_settings_supported() {
            Ok(true) => DrawBorderSettings::WithoutBorder,
            Ok(false) | Err(_) => DrawBorderSettings::Default,
        };
        let pointer = match GraphicsCaptureApi::is_cursor_settings_supported() {
            Ok(true) => CursorCaptureSettings::WithCursor,
            Ok(false) | Err(_) => CursorCaptureSettings::Default,
        };
        let interval = match GraphicsCaptureApi::is_minimum_update_interval_supported() {
            Ok(true) => MinimumUpdateIntervalSettings::Custom(LEAST_INTERVAL),
            Ok(false) | Err(_) => MinimumUpdateIntervalSettings::Default,
        };
        let newest = Arc::new(Newest::default());
        let settings = Settings::new(
            item,
            pointer,
            border,
            SecondaryWindowSettings::Default,
            interval,
            DirtyRegionSettings::Default,
            ColorFormat::Bgra8,
            Arc::clone(&newest),
        );
        let control = Reader::start_free_threaded(settings).map_err(failed)?;
        Ok(Self { newest, name, control: Some(control) })
    }
}

impl Grabber for Capture {
    fn name(&self) -> &str {
        &self.name
    }

    fn grab(&mut self, grabbed: &mut Grabbed) -> Result<(), Failure> {
        self.newest.take(grabbed)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.control.take().map(CaptureControl::stop) {
            tracing::warn!(%error, "the capture of a screen did not end as it should");
        }
    }
}

struct Reader(Arc<Newest>);

impl GraphicsCaptureApiHandler for Reader {
    type Flags = Arc<Newest>;
    type Error = Infallible;

    fn new(context: Context<Self::Flags>) -> Result<Self, Self::Error> {
        Ok(Self(context.flags))
    }

    fn on_frame_arrived(&mut self, frame: &mut Frame<'_>, _control: InternalCaptureControl) -> Result<(), Self::Error> {
        match frame.buffer() {
            Ok(mut buffer) => {
                let (width, height, stride) = (buffer.width(), buffer.height(), buffer.row_pitch() as usize);
                self.0.put(&Pixels { width, height, stride, order: Order::Bgrx, bytes: buffer.as_raw_buffer() });
            }
            Err(error) => self.0.end(Failure::Broken(error.to_string())),
        }
        Ok(())
    }

    /// The window was closed, or the monitor is off.
    fn on_closed(&mut self) -> Result<(), Self::Error> {
        self.0.end(Failure::Gone);
        Ok(())
    }
}

fn failed(error: impl std::fmt::Display) -> ScreenProblem {
    ScreenProblem::Failed(error.to_string())
}
