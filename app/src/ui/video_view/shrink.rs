//! Makes a picture smaller before it goes to the GPU. A small view of a large picture then costs a fraction of the
//! upload, and no shimmering: where the GPU is a program (remote desktops, virtual machines) that is most of the cost.

use parlor_media::Frame;

/// The planes of a picture, one after another, and their size.
#[derive(Debug, Default)]
pub(super) struct Planes {
    bytes: Vec<u8>,
    width: u32,
    height: u32,
}

impl Planes {
    /// Width and height of the luma plane.
    pub(super) const fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Luma, blue and red chroma.
    pub(super) fn split(&self) -> [&[u8]; 3] {
        let luma = self.width as usize * self.height as usize;
        let chroma = (self.bytes.len() - luma) / 2;
        let (y, uv) = self.bytes.split_at(luma);
        let (u, v) = uv.split_at(chroma);
        [y, u, v]
    }

    /// Takes a picture `factor` times smaller in both directions. The buffer is used again.
    pub(super) fn shrink_from(&mut self, frame: &Frame, factor: u32) {
        match factor {
            0..=2 => self.shrink::<2>(frame),
            3 => self.shrink::<3>(frame),
            4 => self.shrink::<4>(frame),
            5 => self.shrink::<5>(frame),
            6..=7 => self.shrink::<6>(frame),
            8.. => self.shrink::<8>(frame),
        }
    }

    fn shrink<const N: usize>(&mut self, frame: &Frame) {
        let (width, height) = (frame.width() as usize, frame.height() as usize);
        // Even, so that the chroma planes fit exactly.
        let (small_width, small_height) = ((width / N) & !1, (height / N) & !1);
        self.bytes.clear();
        shrink_plane::<N>(frame.y(), width, small_width, small_height, &mut self.bytes);
        for chroma in [frame.u(), frame.v()] {
            shrink_plane::<N>(chroma, width.div_ceil(2), small_width / 2, small_height / 2, &mut self.bytes);
        }
        (self.width, self.height) = (small_width as u32, small_height as u32);
    }
}

/// Every sample becomes the mean of `N` columns of two rows of its `N` x `N` square: nearly as smooth as the whole
/// square, at a fraction of the reading.
fn shrink_plane<const N: usize>(plane: &[u8], stride: usize, width: usize, height: usize, out: &mut Vec<u8>) {
    for y in 0..height {
        let row = |offset: usize| &plane[(y * N + offset) * stride..][..width * N];
        let (upper, lower) = (row(N / 4), row(N - 1 - N / 4));
        out.extend(upper.chunks_exact(N).zip(lower.chunks_exact(N)).map(|(upper, lower)| {
            let sum: u32 = upper.iter().chain(lower).map(|&sample| u32::from(sample)).sum();
            // The mean of bytes is a byte.
            ((sum + N as u32) / (2 * N as u32)) as u8
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parlor_media::MediaTime;

    use super::*;

    fn frame(width: u32, height: u32, luma: impl Fn(u32, u32) -> u8) -> Frame {
        let mut planes: Vec<u8> =
            (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| luma(x, y)).collect();
        planes.resize(Frame::i420_len(width, height), 128);
        Frame::from_i420(width, height, Arc::new(planes), MediaTime::default())
    }

    #[test]
    fn a_flat_picture_keeps_its_colour_at_every_factor_and_size() {
        for factor in 0..12 {
            for (width, height) in [(1280, 720), (641, 363), (17, 23), (2, 2), (1, 1)] {
                let mut planes = Planes::default();
                planes.shrink_from(&frame(width, height, |_, _| 77), factor);
                let [y, u, v] = planes.split();
                let (small_width, small_height) = planes.size();
                assert_eq!(y.len() as u32, small_width * small_height, "{width} x {height} / {factor}");
                assert_eq!((u.len() * 4, v.len() * 4), (y.len(), y.len()));
                assert!(y.iter().all(|&sample| sample == 77) && u.iter().chain(v).all(|&sample| sample == 128));
            }
        }
    }

    #[test]
    fn fine_stripes_become_their_mean_instead_of_shimmering() {
        let mut planes = Planes::default();
        planes.shrink_from(&frame(64, 64, |x, _| if x % 2 == 0 { 0 } else { 200 }), 4);
        assert!(planes.split()[0].iter().all(|&sample| sample == 100));
    }
}
