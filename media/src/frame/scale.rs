//! Pictures of another size: halved as often as possible, each pixel the mean of four, and then to size by linear
//! interpolation.

use super::{Frame, FramePool};

/// Makes pictures smaller or larger, in pooled buffers.
#[derive(Default)]
pub(crate) struct Scaler {
    pool: FramePool,
    halves: [Vec<u8>; 2],
    columns: Vec<(usize, u16)>,
    blended: Vec<u16>,
}

impl Scaler {
    /// The picture with so many lines, and columns in proportion, both even; as it is, when it has no more.
    pub(crate) fn resize(&mut self, frame: &Frame, height: u32) -> Frame {
        let height = (height & !1).max(2);
        if height >= frame.height() & !1 {
            return frame.clone();
        }
        let width = u64::from(frame.width()) * u64::from(height) / u64::from(frame.height().max(1));
        self.stretch(frame, ((width as u32 + 1) & !1).max(2), height)
    }

    /// The picture with so many columns and lines, whatever that does to its proportions.
    pub(crate) fn stretch(&mut self, frame: &Frame, width: u32, height: u32) -> Frame {
        let Self { pool, halves, columns, blended } = self;
        let scratch = &mut (columns, blended);
        let (chroma_width, chroma_height) = frame.chroma_size();
        let luma = (frame.width() as usize, frame.height() as usize);
        let mut scaled = pool.frame(width, height, frame.captured, |planes| {
            let (to, half) =
                ((width as usize, height as usize), (width.div_ceil(2) as usize, height.div_ceil(2) as usize));
            plane(frame.y(), luma, planes.y, to, halves, scratch);
            plane(frame.u(), (chroma_width, chroma_height), planes.u, half, halves, scratch);
            plane(frame.v(), (chroma_width, chroma_height), planes.v, half, halves, scratch);
        });
        scaled.captured_unix_us = frame.captured_unix_us;
        scaled
    }
}

type Size = (usize, usize);
/// Where columns come from, and two lines blended into one.
type Scratch<'a> = (&'a mut Vec<(usize, u16)>, &'a mut Vec<u16>);

fn plane(
    source: &[u8],
    from: Size,
    out: &mut [u8],
    to: Size,
    [halved, spare]: &mut [Vec<u8>; 2],
    scratch: &mut Scratch<'_>,
) {
    let mut size = from;
    let mut is_halved = false;
    while size.0 >= 2 * to.0 && size.1 >= 2 * to.1 {
        let input = if is_halved { &halved[..] } else { source };
        halve(input, size, spare);
        std::mem::swap(halved, spare);
        size = (size.0 / 2, size.1 / 2);
        is_halved = true;
    }
    let input = if is_halved { &halved[..] } else { source };
    if size == to {
        out.copy_from_slice(&input[..out.len()]);
    } else {
        interpolate(input, size, out, to, scratch);
    }
}

fn halve(input: &[u8], (width, height): Size, out: &mut Vec<u8>) {
    out.clear();
    for rows in input.chunks_exact(2 * width).take(height / 2) {
        let (upper, lower) = rows.split_at(width);
        out.extend(upper.chunks_exact(2).zip(lower.chunks_exact(2)).map(|(a, b)| {
            let sum = u16::from(a[0]) + u16::from(a[1]) + u16::from(b[0]) + u16::from(b[1]);
            ((sum + 2) / 4) as u8
        }));
    }
}

/// Where the centre of pixel `index` of `to` lies among `from`: the pixel before it, and 256ths of the way to the next.
fn position(index: usize, from: usize, to: usize) -> (usize, u16) {
    let centre = ((2 * index + 1) * from * 128 / to).saturating_sub(128);
    let (pixel, part) = (centre / 256, (centre % 256) as u16);
    if pixel + 1 >= from { (from.saturating_sub(2), if from > 1 { 256 } else { 0 }) } else { (pixel, part) }
}

fn interpolate(input: &[u8], from: Size, out: &mut [u8], to: Size, (columns, blended): &mut Scratch<'_>) {
    columns.clear();
    columns.extend((0..to.0).map(|column| position(column, from.0, to.0)));
    for (row, out) in out.chunks_exact_mut(to.0).enumerate() {
        let (line, down) = position(row, from.1, to.1);
        let upper = &input[line * from.0..][..from.0];
        let lower = &input[(line + 1).min(from.1 - 1) * from.0..][..from.0];
        // Lines first: neighbours in memory, which the machine blends many at a time. 255 * 256 fits.
        blended.clear();
        blended.extend(upper.iter().zip(lower).map(|(&a, &b)| u16::from(a) * (256 - down) + u16::from(b) * down));
        // For the last column, where there is nothing to the right.
        blended.extend(blended.last().copied());
        for (out, &(column, right)) in out.iter_mut().zip(&**columns) {
            let [left, next] = [blended[column], blended[column + 1]].map(u32::from);
            *out = ((left * u32::from(256 - right) + next * u32::from(right) + (1 << 15)) >> 16) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MediaTime;

    fn ramp(width: u32, height: u32) -> Frame {
        FramePool::default().frame(width, height, MediaTime::default(), |planes| {
            for (index, pixel) in planes.y.iter_mut().enumerate() {
                *pixel = (index % width as usize * 255 / width as usize) as u8;
            }
            planes.u.fill(90);
            planes.v.fill(160);
        })
    }

    #[test]
    fn sizes_are_in_proportion_and_even_and_never_larger() {
        let mut scaler = Scaler::default();
        for ((width, height), to, expected) in [
            ((1280, 720), 540, (960, 540)),
            ((1280, 720), 360, (640, 360)),
            ((1280, 720), 270, (480, 270)),
            ((1280, 720), 180, (320, 180)),
            ((1280, 720), 1080, (1280, 720)),
            ((641, 481), 180, (240, 180)),
            ((5, 3), 2, (5, 3)),
            ((3, 1), 180, (3, 1)),
        ] {
            let scaled = scaler.resize(&ramp(width, height), to);
            assert_eq!((scaled.width(), scaled.height()), expected);
        }
    }

    #[test]
    fn the_picture_stays_what_it_was() {
        let mut scaler = Scaler::default();
        for to in [540, 360, 270, 180] {
            let scaled = scaler.resize(&ramp(1280, 720), to);
            assert_is_ramp(&scaled, to);
        }
        for (width, height) in [(1280, 720), (321, 181), (1920, 1080), (960, 181)] {
            let from = ramp(640, 360);
            assert_is_ramp(&scaler.stretch(&from, width, height), height);
        }
    }

    fn assert_is_ramp(scaled: &Frame, to: u32) {
        let width = scaled.width() as usize;
        for (column, &pixel) in scaled.y()[width * 7..][..width].iter().enumerate() {
            let expected = column * 255 / width;
            assert!(usize::from(pixel).abs_diff(expected) <= 2, "{to}: {column} is {pixel}, not {expected}");
        }
        assert!(scaled.u().iter().all(|&pixel| pixel == 90) && scaled.v().iter().all(|&pixel| pixel == 160));
    }
}
