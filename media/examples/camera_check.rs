//! Tries a camera the way a call uses it, and says what it saw, one fact a line. For people with a camera that
//! misbehaves, and for tests on a machine with a camera device.
//!
//! ```text
//! camera_check [--camera SOURCE] [--frames N] [--until-lost] [--until-back]
//! ```
//!
//! Lists the cameras, opens one, takes N frames (default 60), and closes it. `--until-lost` then goes on until it is
//! unplugged, `--until-back` until it gives pictures again after that. The exit status is 0 if all of that was seen and
//! the device was closed within 500 ms.
#![expect(clippy::print_stdout, reason = "its output is what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::{
    process::ExitCode,
    sync::mpsc,
    time::{Duration, Instant},
};

use parlor_media::{Camera, CameraEvent, CameraState, FrameReceiver, Problem, VideoSource, cameras, frame_slot};

/// Emulated machines are slow.
const PATIENCE: Duration = Duration::from_secs(60);
const CLOSED_WITHIN: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut source, mut frames, mut until_lost, mut until_back) = (VideoSource::Default, 60, false, false);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()) {
            ("--camera", Some(value)) if value.parse::<VideoSource>().is_ok() => {
                source = value.parse().unwrap_or_default();
            }
            ("--frames", Some(value)) if value.parse::<u32>().is_ok() => frames = value.parse().unwrap_or(frames),
            ("--until-lost", None) => until_lost = true,
            ("--until-back", None) => (until_lost, until_back) = (true, true),
            _ => {
                println!("usage: camera_check [--camera SOURCE] [--frames N] [--until-lost | --until-back]");
                return ExitCode::from(2);
            }
        }
    }
    match check(&source, frames, until_lost, until_back) {
        Ok(()) => {
            println!("ok");
            ExitCode::SUCCESS
        }
        Err(what) => {
            println!("failed: {what}");
            ExitCode::FAILURE
        }
    }
}

fn check(source: &VideoSource, frames: u32, until_lost: bool, until_back: bool) -> Result<(), String> {
    for camera in cameras() {
        println!("camera: {} ({})", camera.id, camera.name);
    }
    let (sender, slot) = frame_slot(|| ());
    let (told, events) = mpsc::channel();
    let opened = Instant::now();
    let camera = Camera::open(source, vec![sender], None, move |event| {
        println!("event: {event:?}");
        drop(told.send(event));
    });
    take_frames(&slot, frames, opened)?;
    println!("open devices: {}", open_devices().join(" "));
    if until_lost {
        wait_for(&events, |event| matches!(event, CameraEvent::Problem(problem) if problem.problem == Problem::Lost))?;
        println!("lost; open devices: {}", open_devices().join(" "));
    }
    if until_back {
        wait_for(&events, |event| *event == CameraEvent::State(CameraState::Open))?;
        take_frames(&slot, frames, Instant::now())?;
    }
    let closing = Instant::now();
    camera.close();
    let took = closing.elapsed();
    let left = open_devices();
    println!("closed in {} ms; open devices: {}", took.as_millis(), left.join(" "));
    if !left.is_empty() {
        return Err("the device is still open".to_owned());
    }
    if took > CLOSED_WITHIN {
        return Err("closing took too long".to_owned());
    }
    Ok(())
}

fn take_frames(slot: &FrameReceiver, count: u32, opened: Instant) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    let first = slot.take_until(deadline).ok_or("no frame")?;
    println!("first frame after {} ms", opened.elapsed().as_millis());
    let mut last = first.clone();
    for number in 1..count {
        last = slot.take_until(deadline).ok_or_else(|| format!("only {number} frames"))?;
    }
    let mean = |plane: &[u8]| plane.iter().map(|pixel| u64::from(*pixel)).sum::<u64>() / plane.len().max(1) as u64;
    println!(
        "picture: {} x {}, mean Y {} U {} V {}",
        last.width(),
        last.height(),
        mean(last.y()),
        mean(last.u()),
        mean(last.v())
    );
    let seconds = last.captured.saturating_since(first.captured).as_secs_f32();
    println!("frames: {count} at {:.1} frames/s", (count.saturating_sub(1)) as f32 / seconds.max(0.001));
    Ok(())
}

fn wait_for(events: &mpsc::Receiver<CameraEvent>, wanted: impl Fn(&CameraEvent) -> bool) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let event = events.recv_timeout(left).map_err(|_| "what was waited for did not happen")?;
        if wanted(&event) {
            return Ok(());
        }
    }
}

/// Video nodes that this process has open, where the system can tell.
fn open_devices() -> Vec<String> {
    let descriptors = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.map(|target| target.display().to_string()).filter(|target| target.starts_with("/dev/video")).collect()
}
