//! The moving picture of a machine without a camera: colour bars, a clock hand, a time of play, and a bar code with the
//! number of each frame ([`crate::frame_mark`]).

use crate::{
    Frame, MediaTime,
    frame::{FramePool, PlanesMut},
    frame_mark,
};

const WIDTH: usize = 1280;
const HEIGHT: usize = 720;

/// Draws the test card. What stands still is drawn once; a frame is a copy of it and a few small rectangles.
pub(super) struct TestCard {
    still: Vec<u8>,
}

/// A colour as Y, Cb, Cr (BT.709, limited range).
type Colour = [u8; 3];

const BACKGROUND: Colour = [34, 134, 124];
const GRID: Colour = [52, 133, 125];
const PALE: Colour = [205, 128, 128];
const DARK: Colour = [22, 131, 126];
const ACCENT: Colour = [150, 78, 150];
/// White, yellow, cyan, green, magenta, red, blue at 75 % (SMPTE RP 219).
const BARS: [Colour; 7] =
    [[180, 128, 128], [168, 44, 136], [145, 147, 44], [133, 63, 52], [63, 193, 204], [51, 109, 212], [28, 212, 120]];

const BARS_TOP: usize = 128;
const BARS_HEIGHT: usize = 368;
const BARS_LEFT: usize = 80;
const BAR_WIDTH: usize = 160;
const RAMP_TOP: usize = 512;
const RAMP_HEIGHT: usize = 48;
const CLOCK: (usize, usize) = (WIDTH / 2, BARS_TOP + BARS_HEIGHT / 2);
const CLOCK_RADIUS: usize = 144;
const TEXT_TOP: usize = 600;
const TEXT_SCALE: usize = 10;

impl TestCard {
    /// Frames per second.
    pub(super) const FPS: u32 = 30;

    pub(super) fn new() -> Self {
        let mut still = vec![0; Frame::i420_len(WIDTH as u32, HEIGHT as u32)];
        let (y, chroma) = still.split_at_mut(WIDTH * HEIGHT);
        let (u, v) = chroma.split_at_mut(WIDTH * HEIGHT / 4);
        draw_still(&mut Canvas(PlanesMut { y, u, v }));
        Self { still }
    }

    /// The frame with this number.
    pub(super) fn frame(&mut self, number: u64, pool: &mut FramePool) -> Frame {
        pool.frame(WIDTH as u32, HEIGHT as u32, MediaTime::default(), |planes| {
            let (y, chroma) = self.still.split_at(WIDTH * HEIGHT);
            let (u, v) = chroma.split_at(WIDTH * HEIGHT / 4);
            planes.y.copy_from_slice(y);
            planes.u.copy_from_slice(u);
            planes.v.copy_from_slice(v);
            draw_moving(&mut Canvas(planes), number);
        })
    }
}

fn draw_still(canvas: &mut Canvas<'_>) {
    canvas.rectangle(0, 0, WIDTH, HEIGHT, BACKGROUND);
    for x in (0..WIDTH).step_by(80) {
        canvas.rectangle(x, 0, 2, HEIGHT, GRID);
    }
    for y in (0..HEIGHT).step_by(80) {
        canvas.rectangle(0, y, WIDTH, 2, GRID);
    }
    for (index, colour) in BARS.into_iter().enumerate() {
        canvas.rectangle(BARS_LEFT + index * BAR_WIDTH, BARS_TOP, BAR_WIDTH, BARS_HEIGHT, colour);
    }
    canvas.disc(CLOCK, CLOCK_RADIUS, PALE);
    canvas.disc(CLOCK, CLOCK_RADIUS - 6, DARK);
    for hour in 0..12 {
        canvas.spoke(hour as f32 / 12.0, CLOCK_RADIUS - 28..CLOCK_RADIUS - 14, 4, PALE);
    }
    for x in (0..BAR_WIDTH * 7).step_by(2) {
        let grey = 16 + (x * 219 / (BAR_WIDTH * 7)) as u8;
        canvas.rectangle(BARS_LEFT + x, RAMP_TOP, 2, RAMP_HEIGHT, [grey, 128, 128]);
    }
    canvas.text(BARS_LEFT, "PARLOR", PALE);
}

fn draw_moving(canvas: &mut Canvas<'_>, number: u64) {
    let fps = u64::from(TestCard::FPS);
    // A turn in four seconds, and from one end to the other in the same time.
    let turn = (number % (4 * fps)) as f32 / (4 * fps) as f32;
    canvas.spoke(turn, 0..CLOCK_RADIUS - 34, 8, ACCENT);
    canvas.disc(CLOCK, 12, PALE);
    let way = (BAR_WIDTH * 7 - RAMP_HEIGHT) as f32;
    let there_and_back = 1.0 - (2.0 * turn - 1.0).abs();
    canvas.rectangle(BARS_LEFT + (way * there_and_back) as usize, RAMP_TOP, RAMP_HEIGHT, RAMP_HEIGHT, ACCENT);
    let seconds = number / fps;
    let time = format!("{:02}:{:02}:{:02}", seconds / 60 % 100, seconds % 60, number % fps);
    canvas.text(WIDTH - BARS_LEFT - 8 * 6 * TEXT_SCALE, &time, PALE);
    frame_mark::draw(canvas.0.y, WIDTH, HEIGHT, (number % u64::from(frame_mark::MARKS)) as u16);
}

/// Draws on the planes; positions and sizes are rounded down to even ones, so that chroma fits.
struct Canvas<'a>(PlanesMut<'a>);

impl Canvas<'_> {
    fn rectangle(&mut self, x: usize, y: usize, width: usize, height: usize, [luma, blue, red]: Colour) {
        let (x, y) = (x & !1, y & !1);
        let planes = &mut self.0;
        for line in planes.y.chunks_exact_mut(WIDTH).skip(y).take(height) {
            line[x..x + width].fill(luma);
        }
        for (plane, value) in [(&mut *planes.u, blue), (&mut *planes.v, red)] {
            for line in plane.chunks_exact_mut(WIDTH / 2).skip(y / 2).take(height / 2) {
                line[x / 2..(x + width) / 2].fill(value);
            }
        }
    }

    fn disc(&mut self, (x, y): (usize, usize), radius: usize, colour: Colour) {
        for line in (0..2 * radius).step_by(2) {
            let off = radius.abs_diff(line) as f32;
            let half = ((radius * radius) as f32 - off * off).max(0.0).sqrt() as usize & !1;
            self.rectangle(x - half, y - radius + line, 2 * half, 2, colour);
        }
    }

    /// Part of a line from the centre of the clock; `turn` is 0 at the top and goes round to 1.
    fn spoke(&mut self, turn: f32, along: std::ops::Range<usize>, width: usize, colour: Colour) {
        let (sin, cos) = (turn * std::f32::consts::TAU).sin_cos();
        for distance in along.step_by(2) {
            let x = CLOCK.0 as f32 + sin * distance as f32 - width as f32 / 2.0;
            let y = CLOCK.1 as f32 - cos * distance as f32 - width as f32 / 2.0;
            self.rectangle(x as usize, y as usize, width, width, colour);
        }
    }

    fn text(&mut self, x: usize, text: &str, colour: Colour) {
        for (index, character) in text.chars().enumerate() {
            for (row, bits) in glyph(character).into_iter().enumerate() {
                for column in (0..5).filter(|column| bits >> (4 - column) & 1 == 1) {
                    let left = x + (index * 6 + column) * TEXT_SCALE;
                    self.rectangle(left, TEXT_TOP + row * TEXT_SCALE, TEXT_SCALE, TEXT_SCALE, colour);
                }
            }
        }
    }
}

/// The few characters that the card needs, as seven rows of five bits.
const fn glyph(character: char) -> [u8; 7] {
    match character {
        '0' => [0x0e, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0e],
        '1' => [0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e],
        '2' => [0x0e, 0x11, 0x01, 0x06, 0x08, 0x10, 0x1f],
        '3' => [0x0e, 0x11, 0x01, 0x06, 0x01, 0x11, 0x0e],
        '4' => [0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02],
        '5' => [0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e],
        '6' => [0x06, 0x08, 0x10, 0x1e, 0x11, 0x11, 0x0e],
        '7' => [0x1f, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08],
        '8' => [0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e],
        '9' => [0x0e, 0x11, 0x11, 0x0f, 0x01, 0x02, 0x0c],
        ':' => [0x00, 0x04, 0x04, 0x00, 0x04, 0x04, 0x00],
        'P' => [0x1e, 0x11, 0x11, 0x1e, 0x10, 0x10, 0x10],
        'A' => [0x0e, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11],
        'R' => [0x1e, 0x11, 0x11, 0x1e, 0x14, 0x12, 0x11],
        'L' => [0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x1f],
        'O' => [0x0e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e],
        _ => [0; 7],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_differ_and_carry_their_number() {
        let (mut card, mut pool) = (TestCard::new(), FramePool::default());
        let mut before = Vec::new();
        for number in (0..300).chain([u64::from(frame_mark::MARKS) * 7 + 3]) {
            let frame = card.frame(number, &mut pool);
            assert_eq!(frame_mark::read(&frame), Some((number % u64::from(frame_mark::MARKS)) as u16));
            assert_ne!(before, frame.y());
            before = frame.y().to_vec();
        }
    }
}
