//! Screens and windows of macOS (12.3 and newer), through ScreenCaptureKit, which draws the pointer in, brings pictures of
//! the size that they are sent in, and none when nothing has changed.
#![allow(unsafe_code, reason = "to its bindings, everything that an Objective-C class does is unsafe")]

use std::{
    slice,
    sync::{Arc, mpsc},
    time::Duration,
};

use block2::RcBlock;
use dispatch2::DispatchQueue;
use objc2::{
    AllocAnyThread as _, DefinedClass as _, define_class, msg_send,
    rc::Retained,
    runtime::{NSObject, NSObjectProtocol, ProtocolObject},
};
use objc2_core_foundation::CGRect;
use objc2_core_graphics::{CGPreflightScreenCaptureAccess, CGRequestScreenCaptureAccess};
use objc2_core_media::{CMSampleBuffer, CMTime};
use objc2_core_video::{
    CVPixelBufferGetBaseAddress, CVPixelBufferGetBytesPerRow, CVPixelBufferGetHeight, CVPixelBufferGetWidth,
    CVPixelBufferLockBaseAddress, CVPixelBufferLockFlags, CVPixelBufferUnlockBaseAddress, kCVReturnSuccess,
};
use objc2_foundation::{NSArray, NSError};
use objc2_screen_capture_kit::{
    SCContentFilter, SCDisplay, SCShareableContent, SCStream, SCStreamConfiguration, SCStreamDelegate, SCStreamOutput,
    SCStreamOutputType, SCWindow,
};

use super::{
    Failure, Grabbed, Grabber, ScreenInfo, ScreenProblem, ScreenSource, captured_size, label,
    newest::{Newest, Order, Pixels},
};

const MAX_LISTED: usize = 48;
/// What is smaller, in points, is an icon or a tool tip.
const LEAST_SIZE: f64 = 48.0;
/// For the system to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A first picture comes within a frame or two, and from what is hidden never.
const FIRST_PICTURE: Duration = Duration::from_millis(500);
/// Pictures a second, as many as a shared screen is looked at.
const MAX_RATE: i32 = 15;
/// The fewest pictures in flight that the system takes.
const QUEUE_DEPTH: isize = 3;
/// `kCVPixelFormatType_32BGRA`
const BGRA: u32 = u32::from_be_bytes(*b"BGRA");
/// So many looks in vain go by until it is asked whether the window is still there: nobody tells when it is closed.
const LOOK_AGAIN: u32 = 16;

/// What can be shared: the displays, then the windows, those in front first.
pub(super) fn list() -> Result<Vec<ScreenInfo>, ScreenProblem> {
    let content = content()?;
    // SAFETY: These read properties of objects that live.
    let (displays, windows) = unsafe { (content.displays(), content.windows()) };
    let mut list = displays.iter().enumerate().map(|(nth, display)| display_info(nth, &display)).collect::<Vec<_>>();
    list.extend(windows.iter().filter_map(|window| window_info(&window)).take(MAX_LISTED));
    Ok(list)
}

/// Begins with one of them, and waits a little for its first picture.
pub(super) fn open(source: &ScreenSource) -> Result<Box<dyn Grabber>, ScreenProblem> {
    let content = content()?;
    let capture = match source {
        ScreenSource::Default | ScreenSource::Screen(_) => {
            // SAFETY: It reads a property.
            let displays = unsafe { content.displays() };
            let wanted = |display: &SCDisplay| match source {
                ScreenSource::Screen(wanted) => *wanted == number_of(display),
                ScreenSource::Default | ScreenSource::Window(_) | ScreenSource::Portal | ScreenSource::File(_) => true,
            };
            let found = displays.iter().enumerate().find(|(_, display)| wanted(display));
            let (nth, display) = found.ok_or(ScreenProblem::Gone)?;
            let (alloc, none) = (SCContentFilter::alloc(), NSArray::new());
            // SAFETY: A display of this machine, less nothing.
            let filter = unsafe { SCContentFilter::initWithDisplay_excludingWindows(alloc, &display, &none) };
            // SAFETY: It reads a property.
            Capture::begin(&filter, unsafe { display.frame() }, display_name(nth), None)
        }
        ScreenSource::Window(number) => {
            let window = window_of(&content, *number).ok_or(ScreenProblem::Gone)?;
            // SAFETY: A window of this machine; and a property.
            let (filter, frame) = unsafe {
                let alloc = SCContentFilter::alloc();
                (SCContentFilter::initWithDesktopIndependentWindow(alloc, &window), window.frame())
            };
            Capture::begin(&filter, frame, title_of(&window), Some(*number))
        }
        ScreenSource::Portal => Err(ScreenProblem::NoPortal),
        ScreenSource::File(_) => Err(ScreenProblem::Failed("a file is no screen".to_owned())),
    }?;
    capture.newest.wait(FIRST_PICTURE);
    Ok(Box::new(capture))
}

/// Displays and windows, if the person lets this program see them.
fn content() -> Result<Retained<SCShareableContent>, ScreenProblem> {
    // The second asks the person, once and for all; what is answered counts when the program starts again.
    if !CGPreflightScreenCaptureAccess() && !CGRequestScreenCaptureAccess() {
        return Err(ScreenProblem::Forbidden);
    }
    let (tell, told) = mpsc::channel();
    let handler = RcBlock::new(move |content: *mut SCShareableContent, error: *mut NSError| {
        // SAFETY: Each is null or an object that lives as long as this runs; the first is never changed any more.
        let answer = unsafe { Retained::retain(content).ok_or_else(|| words(error.as_ref())) };
        drop(tell.send(answer));
    });
    // SAFETY: The handler takes what this gives.
    unsafe {
        SCShareableContent::getShareableContentExcludingDesktopWindows_onScreenWindowsOnly_completionHandler(
            true, true, &handler,
        );
    }
    let answer = told.recv_timeout(PATIENCE).unwrap_or_else(|_| Err("the system does not answer".to_owned()));
    answer.map_err(ScreenProblem::Failed)
}

fn display_info(nth: usize, display: &SCDisplay) -> ScreenInfo {
    // SAFETY: It reads a property.
    let (width, height) = points(unsafe { display.frame() });
    let source = ScreenSource::Screen(number_of(display));
    ScreenInfo { source, name: display_name(nth), width, height, thumbnail: None }
}

fn number_of(display: &SCDisplay) -> String {
    // SAFETY: It reads a property.
    unsafe { display.displayID() }.to_string()
}

fn display_name(nth: usize) -> String {
    format!("Display {}", nth + 1)
}

/// A window that a person would know: not ours, not a menu, not the dock.
fn window_info(window: &SCWindow) -> Option<ScreenInfo> {
    // SAFETY: These read properties.
    let (number, frame, layer, owner) =
        unsafe { (window.windowID(), window.frame(), window.windowLayer(), window.owningApplication()) };
    // SAFETY: It reads a property.
    let pid = owner.map(|owner| unsafe { owner.processID() });
    let is_ours = pid.is_some_and(|pid| u32::try_from(pid) == Ok(std::process::id()));
    let name = title_of(window);
    let is_small = frame.size.width < LEAST_SIZE || frame.size.height < LEAST_SIZE;
    if layer != 0 || is_ours || is_small || name.is_empty() {
        return None;
    }
    let (width, height) = points(frame);
    Some(ScreenInfo { source: ScreenSource::Window(number), name, width, height, thumbnail: None })
}

fn window_of(content: &SCShareableContent, number: u32) -> Option<Retained<SCWindow>> {
    // SAFETY: These read properties.
    unsafe { content.windows().iter().find(|window| window.windowID() == number) }
}

fn title_of(window: &SCWindow) -> String {
    // SAFETY: It reads a property.
    let title = unsafe { window.title() };
    label(&title.map(|title| title.to_string()).unwrap_or_default(), "")
}

/// What is negative or no number is 0.
fn points(frame: CGRect) -> (u32, u32) {
    (frame.size.width as u32, frame.size.height as u32)
}

/// Pictures of one display or window, which come on a queue of the system's.
struct Capture {
    stream: Retained<SCStream>,
    /// The stream does not keep them.
    _reader: Retained<Reader>,
    newest: Arc<Newest>,
    name: String,
    /// The window's number, if it is one.
    window: Option<u32>,
    looks_in_vain: u32,
}

impl Capture {
    fn begin(
        filter: &SCContentFilter,
        frame: CGRect,
        name: String,
        window: Option<u32>,
    ) -> Result<Self, ScreenProblem> {
        let newest = Arc::new(Newest::default());
        let reader = Reader::new(Arc::clone(&newest));
        let (width, height) = captured_size(points(frame));
        let queue = DispatchQueue::new("parlor.screen", None);
        // SAFETY: Each is called as its documentation says, with objects that live; the stream keeps the queue.
        let stream = unsafe {
            let configuration = SCStreamConfiguration::new();
            configuration.setWidth(width as usize);
            configuration.setHeight(height as usize);
            configuration.setPixelFormat(BGRA);
            configuration.setMinimumFrameInterval(CMTime::new(1, MAX_RATE));
            configuration.setQueueDepth(QUEUE_DEPTH);
            configuration.setShowsCursor(true);
            configuration.setScalesToFit(true);
            let delegate = ProtocolObject::from_ref(&*reader);
            let alloc = SCStream::alloc();
            let stream = SCStream::initWithFilter_configuration_delegate(alloc, filter, &configuration, Some(delegate));
            let output = ProtocolObject::from_ref(&*reader);
            let screen = SCStreamOutputType::Screen;
            let added = stream.addStreamOutput_type_sampleHandlerQueue_error(output, screen, Some(&queue));
            added.map_err(|error| ScreenProblem::Failed(words(Some(&error))))?;
            stream
        };
        let told = Arc::clone(&newest);
        let begun = RcBlock::new(move |error: *mut NSError| {
            // SAFETY: It is null or lives as long as this runs.
            if let Some(error) = unsafe { error.as_ref() } {
                told.end(Failure::Broken(words(Some(error))));
            }
        });
        // SAFETY: The handler takes what this gives.
        unsafe { stream.startCaptureWithCompletionHandler(Some(&begun)) };
        Ok(Self { stream, _reader: reader, newest, name, window, looks_in_vain: 0 })
    }
}

impl Grabber for Capture {
    fn name(&self) -> &str {
        &self.name
    }

    fn grab(&mut self, grabbed: &mut Grabbed) -> Result<(), Failure> {
        let taken = self.newest.take(grabbed);
        self.looks_in_vain = if taken.is_ok() { 0 } else { self.looks_in_vain + 1 };
        if self.looks_in_vain == LOOK_AGAIN {
            self.looks_in_vain = 0;
            let is_gone = |number| content().is_ok_and(|content| window_of(&content, number).is_none());
            if self.window.is_some_and(is_gone) {
                return Err(Failure::Gone);
            }
        }
        taken
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let (tell, told) = mpsc::channel();
        let ended = RcBlock::new(move |_: *mut NSError| {
            // Nobody waits for ever.
            let _waiting = tell.send(());
        });
        // SAFETY: The handler takes what this gives.
        unsafe { self.stream.stopCaptureWithCompletionHandler(Some(&ended)) };
        if told.recv_timeout(PATIENCE).is_err() {
            tracing::warn!("the capture of a screen did not end as it should");
        }
    }
}

define_class!(
    // SAFETY: NSObject asks nothing of its subclasses, and this one has no Drop of its own.
    #[unsafe(super(NSObject))]
    #[name = "ParlorScreenReader"]
    #[ivars = Arc<Newest>]
    struct Reader;

    // SAFETY: NSObject has what the protocol asks for.
    unsafe impl NSObjectProtocol for Reader {}

    // SAFETY: The method has the protocol's arguments.
    unsafe impl SCStreamOutput for Reader {
        #[unsafe(method(stream:didOutputSampleBuffer:ofType:))]
        fn did_output(&self, _stream: &SCStream, sample: &CMSampleBuffer, kind: SCStreamOutputType) {
            if kind == SCStreamOutputType::Screen {
                read(sample, self.ivars());
            }
        }
    }

    // SAFETY: The method has the protocol's arguments.
    unsafe impl SCStreamDelegate for Reader {
        /// The person has stopped it in the menu bar, or the display is gone.
        #[unsafe(method(stream:didStopWithError:))]
        fn did_stop(&self, _stream: &SCStream, error: &NSError) {
            tracing::info!(error = %words(Some(error)), "the system has ended the capture of a screen");
            self.ivars().end(Failure::Gone);
        }
    }
);

impl Reader {
    fn new(newest: Arc<Newest>) -> Retained<Self> {
        let this = Self::alloc().set_ivars(newest);
        // SAFETY: NSObject's init takes nothing.
        unsafe { msg_send![super(this), init] }
    }
}

/// Copies the picture, if there is one: what has not changed comes without.
fn read(sample: &CMSampleBuffer, newest: &Newest) {
    // SAFETY: It reads a property.
    let Some(image) = (unsafe { sample.image_buffer() }) else { return };
    // SAFETY: It is unlocked below.
    if unsafe { CVPixelBufferLockBaseAddress(&image, CVPixelBufferLockFlags::ReadOnly) } != kCVReturnSuccess {
        return;
    }
    let (width, height) = (CVPixelBufferGetWidth(&image), CVPixelBufferGetHeight(&image));
    let (stride, base) = (CVPixelBufferGetBytesPerRow(&image), CVPixelBufferGetBaseAddress(&image));
    if let (false, Ok(width), Ok(height)) = (base.is_null(), u32::try_from(width), u32::try_from(height)) {
        // SAFETY: So long is what lies there while it is locked.
        let bytes = unsafe { slice::from_raw_parts(base.cast_const().cast::<u8>(), stride * height as usize) };
        newest.put(&Pixels { width, height, stride, order: Order::Bgrx, bytes });
    }
    // SAFETY: It was locked like this.
    unsafe { CVPixelBufferUnlockBaseAddress(&image, CVPixelBufferLockFlags::ReadOnly) };
}

fn words(error: Option<&NSError>) -> String {
    error.map_or_else(|| "no reason given".to_owned(), |error| error.localizedDescription().to_string())
}
