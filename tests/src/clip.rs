//! A camera clip whose every frame carries its number as a bar code, so that delays and losses of frames can be read at
//! the far end: of a picture that moves, has texture and noise, and loops without a jump.
//!
//! The code: 16 cells, each 48/1280 of the width, from a fifth of the width on, at the top, in two rows; a cell is 1 when
//! its first row is brighter than its second. Sync 1 0, ten bits of the number, four bits of check sum.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

/// Frames a second.
pub const FPS: u32 = 30;
/// Width of the clip that benchmarks use, in pixels.
pub const WIDTH: usize = 1280;
/// Its height.
pub const HEIGHT: usize = 720;
/// Its length, in frames: 8 s.
pub const FRAMES: u16 = 240;

const CELLS: usize = 16;

/// Writes a clip of `frames` (at most 1024) frames as YUV4MPEG2.
///
/// # Errors
/// When the file can't be written.
pub fn write(path: &Path, width: usize, height: usize, frames: u16) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "YUV4MPEG2 W{width} H{height} F{FPS}:1 Ip A1:1 C420jpeg")?;
    let mut picture = Picture::new(width, height);
    for number in 0..frames {
        picture.draw(number, frames);
        writeln!(file, "FRAME")?;
        file.write_all(&picture.luma)?;
        file.write_all(&picture.chroma)?;
    }
    file.flush()
}

struct Picture {
    width: usize,
    height: usize,
    /// A textured wall, the same in every frame.
    wall: Vec<u8>,
    luma: Vec<u8>,
    /// Both chroma planes: warm above, cool below.
    chroma: Vec<u8>,
    random: u32,
}

impl Picture {
    fn new(width: usize, height: usize) -> Self {
        let mut random = 1;
        let grain: Vec<i32> = (0..64 * 64).map(|_| i32::from(noise(&mut random) % 24)).collect();
        let wall = (0..width * height)
            .map(|i| {
                let (x, y) = (i % width, i / width);
                let shade = 90 + (60 * x / width) as i32 + (20 * y / height) as i32;
                (shade + grain[(y / 3 % 64) * 64 + x / 3 % 64]).clamp(16, 235) as u8
            })
            .collect();
        let quarter = width.div_ceil(2) * height.div_ceil(2);
        let chroma = [vec![118; quarter], vec![140; quarter]].concat();
        Self { width, height, wall, luma: vec![0; width * height], chroma, random }
    }

    fn draw(&mut self, number: u16, frames: u16) {
        self.luma.copy_from_slice(&self.wall);
        self.draw_head(f64::from(number) / f64::from(frames) * std::f64::consts::TAU);
        for sample in self.luma.iter_mut().step_by(3) {
            *sample = sample.saturating_add(noise(&mut self.random) % 5);
        }
        self.draw_code(number);
    }

    /// A head that sways and nods, once and four times a loop.
    fn draw_head(&mut self, phase: f64) {
        let (width, height) = (self.width as f64, self.height as f64);
        let (centre_x, centre_y) = (width * (0.5 + 0.06 * phase.sin()), height * (0.5 + 0.02 * (4.0 * phase).sin()));
        let (radius_x, radius_y) = (width * 0.1, height * 0.24);
        for y in (centre_y - radius_y) as usize..(centre_y + radius_y) as usize {
            let across = radius_x * (1.0 - ((y as f64 - centre_y) / radius_y).powi(2)).max(0.0).sqrt();
            for x in (centre_x - across) as usize..(centre_x + across) as usize {
                let (u, v) = ((x as f64 - centre_x) / radius_x, (y as f64 - centre_y) / radius_y);
                let mouth = u.abs() < 0.4 && (v - 0.45).abs() < 0.08 * (1.1 + (16.0 * phase).sin());
                let skin = 165.0 + 40.0 * u + 8.0 * (v * 19.0).sin() * (u * 17.0).cos();
                self.luma[y * self.width + x] = if mouth { 50 } else { skin as u8 };
            }
        }
    }

    fn draw_code(&mut self, number: u16) {
        let cell = self.width * 48 / 1280;
        let left = self.width / 5;
        for (index, bit) in bits(number).into_iter().enumerate() {
            for row in 0..2 * cell {
                let start = row * self.width + left + index * cell;
                self.luma[start..start + cell].fill(if bit == (row < cell) { 235 } else { 16 });
            }
        }
    }
}

/// The cells from left to right.
#[must_use]
pub fn bits(number: u16) -> [bool; CELLS] {
    let check = ((number >> 8) + (number >> 4 & 15) + (number & 15) + 5) & 15;
    let code = 0b10 << 14 | (number & 1023) << 4 | check;
    std::array::from_fn(|cell| code >> (CELLS - 1 - cell) & 1 == 1)
}

fn noise(state: &mut u32) -> u8 {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    (*state >> 24) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_sync_number_and_check_sum() {
        let text: String = bits(77).iter().map(|bit| if *bit { '1' } else { '0' }).collect();
        // 77 = 0x04D: 0 + 4 + 13 + 5 = 22 = 6 mod 16.
        assert_eq!(text, "10_0001001101_0110".replace('_', ""));
    }

    #[test]
    fn a_clip_has_as_many_frames_as_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clip.y4m");
        write(&path, 320, 180, 3).unwrap();
        let frame = b"FRAME\n".len() + 320 * 180 * 3 / 2;
        let header = b"YUV4MPEG2 W320 H180 F30:1 Ip A1:1 C420jpeg\n".len();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), (header + 3 * frame) as u64);
    }
}
