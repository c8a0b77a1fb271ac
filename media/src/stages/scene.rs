//! Made-up pictures: a face-like shape that moves before a still room, with the noise of a sensor; and a screen of text that
//! scrolls.

use std::sync::OnceLock;

use crate::{Frame, MediaTime, frame::FramePool};

/// Frames that are made, and shown forth and back.
const FRAMES: usize = 8;
/// Between two frames.
const INTERVAL_US: u64 = 33_333;

/// A film without an end.
pub(super) struct Scene {
    frames: &'static [Frame],
    shown: u64,
    interval_us: u64,
}

impl Scene {
    /// A camera's, 1280 x 720.
    pub(super) fn camera() -> Self {
        static FILM: OnceLock<Vec<Frame>> = OnceLock::new();
        Self::of(FILM.get_or_init(|| film(1280, 720, talker)))
    }

    /// A screen's, 1920 x 1080.
    pub(super) fn screen() -> Self {
        static FILM: OnceLock<Vec<Frame>> = OnceLock::new();
        Self::of(FILM.get_or_init(|| film(1920, 1080, text)))
    }

    fn of(frames: &'static [Frame]) -> Self {
        Self { frames, shown: 0, interval_us: INTERVAL_US }
    }

    /// As slow as this, so that no machine is too slow for it.
    pub(super) fn every(self, interval_us: u64) -> Self {
        Self { interval_us, ..self }
    }

    /// The next frame.
    pub(super) fn next(&mut self) -> Frame {
        let turn = self.shown as usize % (2 * FRAMES - 2);
        let mut frame = self.frames[turn.min(2 * FRAMES - 2 - turn)].clone();
        frame.captured = MediaTime::from_micros(1_000_000 + self.shown * self.interval_us);
        self.shown += 1;
        frame
    }
}

/// Luma of a pixel in a frame.
type Painter = fn(x: u32, y: u32, number: u32) -> u8;

fn film(width: u32, height: u32, luma: Painter) -> Vec<Frame> {
    let frame = |number| {
        FramePool::default().frame(width, height, MediaTime::default(), |planes| {
            for (row, line) in (0..).zip(planes.y.chunks_exact_mut(width as usize)) {
                (0..).zip(line).for_each(|(column, pixel)| *pixel = luma(column, row, number));
            }
            planes.u.fill(120);
            planes.v.fill(136);
        })
    };
    (0..FRAMES as u32).map(frame).collect()
}

fn noise(x: u32, y: u32) -> u32 {
    let mixed = (x ^ y.rotate_left(16)).wrapping_mul(0x9e37_79b1);
    (mixed ^ mixed >> 15).wrapping_mul(0x85eb_ca6b) >> 16
}

fn talker(x: u32, y: u32, number: u32) -> u8 {
    let (left, top) = (x.abs_diff(600 + 6 * number), y.abs_diff(380 + 2 * (number % 4)));
    let is_head = left * left * 2 + top * top < 260 * 260;
    let (texture_x, texture_y) = if is_head { (x - 6 * number, y - 2 * (number % 4)) } else { (x, y) };
    let light = if is_head { 150 + left / 8 } else { 60 + x / 16 };
    (light + noise(texture_x / 3, texture_y / 3) % 14 + noise(x + 7_919 * number, y) % 3) as u8
}

fn text(x: u32, y: u32, number: u32) -> u8 {
    let y = y + 4 * number;
    let (letter, line) = (x / 12, y / 24);
    let is_ink = y % 24 < 14 && x % 12 < 9 && letter % 90 < 40 + noise(0, line) % 50;
    if is_ink && noise(noise(letter, line) % 60 + x % 12 / 3 * 64, y % 24 / 3) & 1 == 1 { 40 } else { 225 }
}
