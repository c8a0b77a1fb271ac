use std::{fs, path::PathBuf};

use super::*;
use crate::{FrameReceiver, MediaTime, frame_mark, frame_slot, y4m};

const PATIENCE: Duration = Duration::from_secs(20);

struct Bench {
    camera: Camera,
    frames: FrameReceiver,
    events: Receiver<CameraEvent>,
}

fn open(source: &VideoSource) -> Bench {
    let (sender, frames) = frame_slot(|| ());
    let (told, events) = mpsc::channel();
    let camera = Camera::open(source, vec![sender], None, move |event| drop(told.send(event)));
    Bench { camera, frames, events }
}

impl Bench {
    fn event(&self) -> CameraEvent {
        self.events.recv_timeout(PATIENCE).unwrap()
    }

    fn problem(&self) -> (Problem, String) {
        match self.event() {
            CameraEvent::Problem(DeviceProblem { device: DeviceKind::Camera, problem, detail }) => (problem, detail),
            other => panic!("{other:?} is no problem of the camera"),
        }
    }

    fn frame(&self) -> Frame {
        self.frames.take_until(clock::now() + PATIENCE).unwrap()
    }
}

/// A clip of frames with the marks 0, 1, 2, ..., cut off after so many bytes.
fn clip(directory: &tempfile::TempDir, frames: u16, cut: usize) -> PathBuf {
    let mut content = Vec::new();
    let mut writer = y4m::Writer::new(&mut content, 161, 91, 100).unwrap();
    for mark in 0..frames {
        let draw = |planes: crate::frame::PlanesMut<'_>| frame_mark::draw(planes.y, 161, 91, mark);
        writer.write(&FramePool::default().frame(161, 91, MediaTime::default(), draw)).unwrap();
    }
    content.truncate(content.len() - cut);
    let path = directory.path().join("clip.y4m");
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn the_test_card_moves_in_real_time_and_its_thread_ends_on_close() {
    let bench = open(&VideoSource::TestCard);
    let first = bench.frame();
    assert_eq!(bench.event(), CameraEvent::State(CameraState::Open));
    assert_eq!((first.width(), first.height()), (1280, 720));
    let later = (1..9).fold(bench.frame(), |_, _| bench.frame());
    let marks = frame_mark::read(&later).unwrap() - frame_mark::read(&first).unwrap();
    assert!(marks >= 9);
    // Capture times are those of the frames, however late this thread saw them.
    let apart = later.captured.saturating_since(first.captured);
    assert_eq!(apart.as_millis(), u128::from(marks) * 1_000 / 30);
    let unix_apart = later.captured_unix_us.unwrap() - first.captured_unix_us.unwrap();
    assert!(unix_apart.abs_diff(apart.as_micros() as u64) < 20_000);
    bench.camera.close();
    assert!(bench.frames.is_closed());
    assert_eq!(bench.events.iter().last(), Some(CameraEvent::State(CameraState::Closed)));
}

#[test]
fn a_clip_is_played_in_a_loop() {
    let directory = tempfile::tempdir().unwrap();
    let bench = open(&VideoSource::File(clip(&directory, 3, 0)));
    let mut seen = Vec::new();
    while seen.iter().filter(|mark| **mark == 0).count() < 3 {
        seen.push(frame_mark::read(&bench.frame()).unwrap());
    }
    assert!(seen.iter().all(|mark| *mark < 3));
    assert_eq!(bench.event(), CameraEvent::State(CameraState::Open));
}

#[test]
fn a_clip_with_a_torn_end_is_played_without_it_and_reported_once() {
    let directory = tempfile::tempdir().unwrap();
    let bench = open(&VideoSource::File(clip(&directory, 3, 1_000)));
    let marks: Vec<_> = (0..12).map(|_| frame_mark::read(&bench.frame()).unwrap()).collect();
    assert!(marks.iter().all(|mark| *mark < 2), "{marks:?}");
    assert_eq!(bench.event(), CameraEvent::State(CameraState::Open));
    let (problem, detail) = bench.problem();
    assert_eq!(problem, Problem::BadFile);
    assert!(detail.ends_with("the file ends in the middle of frame 2"), "{detail}");
    drop(bench.camera);
    assert_eq!(bench.events.iter().collect::<Vec<_>>(), [CameraEvent::State(CameraState::Closed)]);
}

#[test]
fn a_clip_that_cannot_be_played_says_why_and_gives_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.y4m");
    fs::write(&empty, "YUV4MPEG2 W64 H64 F30:1\n").unwrap();
    let cases = [
        (directory.path().join("nothing.y4m"), "No such file or directory"),
        (directory.path().to_owned(), "not a YUV4MPEG2 file"),
        (empty, "the file ends before its first frame is complete"),
    ];
    for (path, words) in cases {
        let bench = open(&VideoSource::File(path));
        let (problem, detail) = bench.problem();
        assert_eq!(problem, Problem::BadFile);
        assert!(detail.contains(words), "{detail}");
        assert_eq!(bench.event(), CameraEvent::State(CameraState::Closed));
        assert!(bench.frames.take().is_none());
    }
}

#[test]
fn a_camera_that_is_not_there_is_missing() {
    let bench = open(&VideoSource::Device("no such camera".to_owned()));
    assert_eq!(bench.problem(), (Problem::Missing, "no camera no such camera".to_owned()));
    assert_eq!(bench.event(), CameraEvent::State(CameraState::Closed));
    bench.camera.close();
    assert_eq!(bench.events.iter().collect::<Vec<_>>(), [CameraEvent::State(CameraState::Closed)]);
}

#[test]
fn no_source_gives_no_picture() {
    let bench = open(&VideoSource::None);
    bench.camera.close();
    assert_eq!(bench.events.iter().collect::<Vec<_>>(), [CameraEvent::State(CameraState::Closed)]);
    assert!(bench.frames.take().is_none());
}
