//! What was taken of a screen: pixels as the system has them, and the pointer, which is drawn in.

use std::sync::Arc;

/// Blue, green, red and a byte without meaning, line by line, and the pointer on top.
#[derive(Default)]
pub(super) struct Grabbed {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) bgrx: Vec<u8>,
    pub(super) pointer: Option<PointerImage>,
}

/// The pointer's picture.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "it is in the picture there"))]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PointerImage {
    /// Where its left top pixel is; it may be outside of the picture.
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) width: usize,
    /// Alpha in the highest byte, which the colours are multiplied by.
    pub(super) argb: Vec<u32>,
}

/// A small picture of a screen or window, to choose by.
#[derive(Clone, PartialEq, Eq)]
pub struct Thumbnail {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Red, green and blue, line by line.
    pub rgb: Arc<[u8]>,
}

impl std::fmt::Debug for Thumbnail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Thumbnail({} x {})", self.width, self.height)
    }
}

impl Grabbed {
    /// Makes room for another size.
    pub(super) fn resize(&mut self, width: u32, height: u32) {
        (self.width, self.height) = (width, height);
        self.bgrx.resize(width as usize * height as usize * 4, 0);
    }

    /// Draws the pointer in.
    pub(super) fn draw_pointer(&mut self) {
        let Some(pointer) = self.pointer.take() else { return };
        let (width, height) = (self.width as usize, self.height as usize);
        for (row, line) in pointer.argb.chunks_exact(pointer.width.max(1)).enumerate() {
            let Some(y) = place(pointer.y, row, height) else { continue };
            for (column, &argb) in line.iter().enumerate() {
                let alpha = argb >> 24;
                let Some(x) = place(pointer.x, column, width).filter(|_| alpha > 0) else { continue };
                let pixel = &mut self.bgrx[(y * width + x) * 4..][..3];
                for (channel, below) in pixel.iter_mut().enumerate() {
                    let above = argb >> (8 * channel) & 0xFF;
                    // Premultiplied: above + below * (1 - alpha).
                    *below = (above + (u32::from(*below) * (255 - alpha) + 127) / 255).min(255) as u8;
                }
            }
        }
    }

    /// Whether the two look the same.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        (self.width, self.height) == (other.width, other.height) && self.bgrx == other.bgrx
    }

    /// A small picture, at most so large: each pixel the mean of a few.
    pub(super) fn shrunk(&self, max_width: u32, max_height: u32) -> Option<Thumbnail> {
        if self.width == 0 || self.height == 0 {
            return None;
        }
        let scale = (max_width as f32 / self.width as f32).min(max_height as f32 / self.height as f32).min(1.0);
        let size = |length: u32| ((length as f32 * scale) as u32).clamp(1, length);
        let (width, height) = (size(self.width), size(self.height));
        let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
        for row in 0..height {
            for column in 0..width {
                rgb.extend(self.mean(samples(column, width, self.width), samples(row, height, self.height)));
            }
        }
        Some(Thumbnail { width, height, rgb: rgb.into() })
    }

    fn mean(&self, columns: [usize; SAMPLES], rows: [usize; SAMPLES]) -> [u8; 3] {
        let mut sum = [0_u32; 3];
        for row in rows {
            for column in columns {
                let pixel = &self.bgrx[(row * self.width as usize + column) * 4..][..3];
                sum.iter_mut().zip(pixel).for_each(|(sum, &part)| *sum += u32::from(part));
            }
        }
        let [blue, green, red] = sum.map(|sum| (sum / (SAMPLES * SAMPLES) as u32) as u8);
        [red, green, blue]
    }
}

/// Pixels in each direction that a small pixel is the mean of.
const SAMPLES: usize = 4;

fn samples(index: u32, of: u32, from: u32) -> [usize; SAMPLES] {
    std::array::from_fn(|sample| {
        let position = (index as usize * SAMPLES + sample) * from as usize / (of as usize * SAMPLES);
        position.min(from as usize - 1)
    })
}

fn place(origin: i32, offset: usize, end: usize) -> Option<usize> {
    let place = i64::from(origin) + i64::try_from(offset).ok()?;
    usize::try_from(place).ok().filter(|place| *place < end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: u32, height: u32) -> Grabbed {
        let mut grabbed = Grabbed::default();
        grabbed.resize(width, height);
        grabbed.bgrx.fill(100);
        grabbed
    }

    fn pixel(grabbed: &Grabbed, x: usize, y: usize) -> [u8; 3] {
        let at = (y * grabbed.width as usize + x) * 4;
        [grabbed.bgrx[at], grabbed.bgrx[at + 1], grabbed.bgrx[at + 2]]
    }

    #[test]
    fn the_pointer_covers_shines_through_and_leaves_alone() {
        let mut grabbed = grey(8, 4);
        let argb = vec![0xFF_10_20_30, 0x80_40_40_40, 0x00_00_00_00];
        grabbed.pointer = Some(PointerImage { x: 2, y: 1, width: 3, argb });
        grabbed.draw_pointer();
        assert_eq!(pixel(&grabbed, 2, 1), [0x30, 0x20, 0x10]);
        assert_eq!(pixel(&grabbed, 3, 1), [0x40 + 50; 3]);
        assert_eq!(pixel(&grabbed, 4, 1), [100; 3]);
        assert_eq!(pixel(&grabbed, 2, 2), [100; 3]);
    }

    #[test]
    fn a_pointer_at_the_edge_is_cut_and_an_absurd_one_harmless() {
        for (x, y) in [(-1, -1), (7, 3), (i32::MIN, i32::MAX), (i32::MAX, 0), (-3, 0)] {
            let mut grabbed = grey(8, 4);
            grabbed.pointer = Some(PointerImage { x, y, width: 2, argb: vec![0xFF_FF_FF_FF; 4] });
            grabbed.draw_pointer();
            let white = grabbed.bgrx.chunks_exact(4).filter(|pixel| pixel[0] == 255).count();
            assert_eq!(white, usize::from([(-1, -1), (7, 3)].contains(&(x, y))), "{x}, {y}");
        }
        let mut grabbed = grey(8, 4);
        grabbed.pointer = Some(PointerImage { width: 0, argb: vec![0xFF_FF_FF_FF], ..PointerImage::default() });
        grabbed.draw_pointer();
    }

    #[test]
    fn one_pixel_is_a_change_and_none_is_not() {
        let (first, mut second) = (grey(640, 480), grey(640, 480));
        assert!(first.is_same_as(&second));
        second.bgrx[640 * 479 * 4 + 5] ^= 1;
        assert!(!first.is_same_as(&second));
        assert!(!first.is_same_as(&grey(480, 640)));
    }

    #[test]
    fn a_small_picture_keeps_proportions_and_colours() {
        let mut grabbed = grey(400, 100);
        grabbed.bgrx.chunks_exact_mut(4).for_each(|pixel| pixel.copy_from_slice(&[10, 20, 30, 0]));
        let small = grabbed.shrunk(100, 100).unwrap();
        assert_eq!((small.width, small.height, &small.rgb[..3]), (100, 25, &[30, 20, 10][..]));
        assert_eq!(small.rgb.len(), 100 * 25 * 3);
        assert_eq!(grey(2, 2).shrunk(100, 100).map(|small| (small.width, small.height)), Some((2, 2)));
        assert_eq!(Grabbed::default().shrunk(100, 100), None);
    }
}
