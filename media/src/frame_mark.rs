//! Numbers in pictures: a bar code that survives codecs, scaling and a crop to another aspect ratio, by which the delay
//! of single frames is measured.
//!
//! On a picture of 1280 x 720 there are 16 cells of 48 x 48 pixels from x = 256, at the top; a second row below is the
//! complement of the first. Cells, left to right: sync 1, sync 0, 10 bits of the number (most significant first),
//! 4 bits of check sum (sum of the number's three nibbles, plus 5, modulo 16). A cell is 1 when its centre is brighter
//! in the first row than in the second, so that reading needs no threshold. On other sizes all of this scales with the
//! height and is centred.

use crate::Frame;

/// Numbers repeat after this many.
pub const MARKS: u16 = 1 << NUMBER_BITS;

const NUMBER_BITS: usize = 10;
const CELLS: usize = 16;
const CELL: i64 = 48;
const LEFT: i64 = 256;
const SOURCE: (i64, i64) = (1280, 720);
/// Less difference than this between a cell and its complement is noise.
const CONTRAST: i32 = 40;
const WHITE: u8 = 235;
const BLACK: u8 = 16;

/// The number in a picture, if it carries one.
pub fn read(frame: &Frame) -> Option<u16> {
    read_luma(frame.y(), frame.width() as usize, frame.height() as usize)
}

fn read_luma(luma: &[u8], width: usize, height: usize) -> Option<u16> {
    let grid = Grid::new(width, height)?;
    let mut bits = 0_u16;
    for cell in 0..CELLS {
        let sample = |row: i64| {
            let (x, y) = grid.pixel(LEFT + CELL * cell as i64 + CELL / 2, CELL * row + CELL / 2)?;
            Some(i32::from(luma[y * width + x]))
        };
        let difference = sample(0)? - sample(1)?;
        if difference.abs() < CONTRAST {
            return None;
        }
        bits = bits << 1 | u16::from(difference > 0);
    }
    let number = bits >> 4 & (MARKS - 1);
    (bits == code(number)).then_some(number)
}

/// Draws a number (modulo [`MARKS`]) into the luma of a picture.
pub(crate) fn draw(luma: &mut [u8], width: usize, height: usize, number: u16) {
    let Some(grid) = Grid::new(width, height) else { return };
    let code = code(number % MARKS);
    for cell in 0..CELLS {
        let one = code >> (CELLS - 1 - cell) & 1 == 1;
        for row in 0..2_i64 {
            let value = if one == (row == 0) { WHITE } else { BLACK };
            let (x, y) = (LEFT + CELL * cell as i64, CELL * row);
            let Some((left, top)) = grid.pixel(x, y) else { continue };
            let Some((right, bottom)) = grid.pixel(x + CELL - 1, y + CELL - 1) else { continue };
            for line in luma.chunks_exact_mut(width).skip(top).take(bottom + 1 - top) {
                line[left..=right].fill(value);
            }
        }
    }
}

/// The 16 cells of a number.
const fn code(number: u16) -> u16 {
    let check = ((number >> 8) + (number >> 4 & 15) + (number & 15) + 5) & 15;
    0b10 << (NUMBER_BITS + 4) | number << 4 | check
}

/// Maps coordinates of the source picture to those of a scaled and centrally cropped one.
struct Grid {
    width: i64,
    height: i64,
}

impl Grid {
    /// `None` when a cell would be smaller than three pixels.
    fn new(width: usize, height: usize) -> Option<Self> {
        (height >= 45).then_some(Self { width: width as i64, height: height as i64 })
    }

    /// `None` when the crop cut it off.
    fn pixel(&self, x: i64, y: i64) -> Option<(usize, usize)> {
        let crop = (SOURCE.0 * self.height / SOURCE.1 - self.width) / 2;
        let x = x * self.height / SOURCE.1 - crop;
        let y = y * self.height / SOURCE.1;
        let inside = (0..self.width).contains(&x) && (0..self.height).contains(&y);
        inside.then_some((x as usize, y as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_read_back_at_any_scale_and_crop() {
        for (width, height) in [(1280, 720), (640, 360), (960, 720), (321, 181), (1920, 1080), (90, 50)] {
            for number in 0..MARKS {
                let mut luma = vec![90; width * height];
                draw(&mut luma, width, height, number);
                assert_eq!(read_luma(&luma, width, height), Some(number), "{width} x {height}");
            }
        }
    }

    #[test]
    fn a_picture_without_a_mark_or_with_a_damaged_one_has_no_number() {
        let (width, height) = (1280, 720);
        assert_eq!(read_luma(&vec![90; width * height], width, height), None);
        let mut luma = vec![90; width * height];
        draw(&mut luma, width, height, 77);
        let cell_of_a_bit = 256 + 48 * 9;
        for line in luma.chunks_exact_mut(width).take(96) {
            for pixel in &mut line[cell_of_a_bit..cell_of_a_bit + 48] {
                *pixel = 255 - *pixel;
            }
        }
        assert_eq!(read_luma(&luma, width, height), None);
    }

    #[test]
    fn a_crop_that_cuts_cells_off_has_no_number() {
        assert_eq!(read_luma(&[90; 300 * 720], 300, 720), None);
        assert_eq!(read_luma(&[90; 4], 2, 2), None);
    }
}
