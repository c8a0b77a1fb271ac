//! Looks for a link in what the camera sees, for as long as the person wants it to.

use std::{
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parlor_media::{Camera, CameraEvent, DeviceProblem, FrameReceiver, FrameSender, VideoSource, frame_slot};
use tokio::sync::mpsc;

use super::{Done, Engine, Notice};
use crate::qr;

/// How often the thread looks whether the camera is gone when no picture comes.
const PATIENCE: Duration = Duration::from_millis(500);
/// Reading takes a third of a core at 10 pictures a second; nobody holds a code still for less.
const PAUSE: Duration = Duration::from_millis(100);
const MAX_EVENTS: usize = 8;

/// A camera that looks for codes. Dropping it releases the camera, and waits for that.
#[derive(Debug)]
pub(super) struct Scanner {
    camera: Option<Camera>,
    reader: Option<JoinHandle<()>>,
    events: mpsc::Receiver<ScanEvent>,
}

/// What it found.
#[derive(Debug, PartialEq)]
pub(super) enum ScanEvent {
    /// A `parlor:` link. There may be more.
    Link(String),
    /// Something about the camera that the person should know.
    Problem(DeviceProblem),
}

impl Scanner {
    /// Opens the camera. Its pictures go to the preview as well.
    pub(super) fn open(source: &VideoSource, preview: FrameSender) -> Self {
        let (found, events) = mpsc::channel(MAX_EVENTS);
        let (to_read, frames) = frame_slot(|| {});
        let problems = found.clone();
        let camera = Camera::open(source, vec![preview, to_read], None, move |event| match event {
            // Full: the person has enough to read.
            CameraEvent::Problem(problem) => drop(problems.try_send(ScanEvent::Problem(problem))),
            CameraEvent::State(_) | CameraEvent::IsOpen => {}
        });
        let reader = thread::Builder::new().name("qr-reader".to_owned()).spawn(move || read(&frames, &found));
        let reader = reader.inspect_err(|error| tracing::error!(%error, "no thread to read codes")).ok();
        Self { camera: Some(camera), reader, events }
    }

    pub(super) async fn next(&mut self) -> Option<ScanEvent> {
        self.events.recv().await
    }
}

impl Drop for Scanner {
    fn drop(&mut self) {
        self.events.close();
        // The camera holds the only sender of the reader's slot: the reader ends with it.
        drop(self.camera.take());
        if self.reader.take().is_some_and(|reader| reader.join().is_err()) {
            tracing::error!("the thread that reads codes panicked");
        }
    }
}

impl Engine {
    /// Only between calls: a call needs the camera itself.
    pub(super) fn start_scanning(&mut self) {
        if self.scanner.is_none() && self.machine.is_free() {
            let source = match self.camera() {
                VideoSource::None => &VideoSource::Default,
                source => source,
            };
            self.scanner = Some(Scanner::open(source, self.slots.preview.clone()));
        }
    }

    pub(super) fn stop_scanning(&mut self) {
        if let Some(scanner) = self.scanner.take() {
            self.work.spawn_blocking(move || {
                drop(scanner);
                Done::ScannerClosed
            });
        }
    }

    pub(super) fn on_scan(&mut self, event: ScanEvent) {
        match event {
            ScanEvent::Link(link) => {
                self.stop_scanning();
                self.notify(Notice::OpenLink(link));
            }
            ScanEvent::Problem(problem) => self.notify(Notice::Device(problem)),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a thread that paces itself")]
fn read(frames: &FrameReceiver, found: &mpsc::Sender<ScanEvent>) {
    while !frames.is_closed() && !found.is_closed() {
        let Some(frame) = frames.take_until(Instant::now() + PATIENCE) else { continue };
        if let Some(text) = qr::read(&frame)
            && text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("parlor:"))
            && found.blocking_send(ScanEvent::Link(text)).is_err()
        {
            return;
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::qr::Code;

    /// A clip of one picture, with a code in it.
    fn clip(code: &Code) -> tempfile::NamedTempFile {
        let (width, height, square, margin) = (640, 480, 6, 40);
        let mut luma = vec![200_u8; width * height];
        for (y, row) in code.rows().enumerate() {
            for (x, _) in row.iter().enumerate().filter(|(_, dark)| **dark) {
                for line in 0..square {
                    let start = (margin + y * square + line) * width + margin + x * square;
                    luma[start..start + square].fill(30);
                }
            }
        }
        let mut file = tempfile::Builder::new().suffix(".y4m").tempfile().unwrap();
        write!(file, "YUV4MPEG2 W{width} H{height} F30:1 Ip C420jpeg\nFRAME\n").unwrap();
        file.write_all(&luma).unwrap();
        file.write_all(&vec![128; width * height / 2]).unwrap();
        file.flush().unwrap();
        file
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_link_held_up_to_the_camera_is_read_and_the_camera_released() {
        let text = "parlor:room?name=Chess&secret=e4";
        let clip = clip(&Code::of(text).unwrap());
        let (preview, shown) = frame_slot(|| {});
        let mut scanner = Scanner::open(&VideoSource::File(clip.path().to_owned()), preview);
        let found = tokio::time::timeout(Duration::from_secs(20), scanner.next()).await.unwrap();
        assert_eq!(found, Some(ScanEvent::Link(text.to_owned())));
        drop(scanner);
        assert!(shown.is_closed() && shown.take().is_none(), "the preview is dark");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_wrong_with_the_camera_is_told() {
        let (preview, _shown) = frame_slot(|| {});
        let mut scanner = Scanner::open(&VideoSource::File("/nonexistent.y4m".into()), preview);
        let event = tokio::time::timeout(Duration::from_secs(20), scanner.next()).await.unwrap();
        assert!(matches!(event, Some(ScanEvent::Problem(_))), "{event:?}");
    }
}
