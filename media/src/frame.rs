//! Pictures in memory: I420 planes in one pooled buffer, shared and never copied between threads.

mod scale;

pub(crate) use scale::Scaler;

use std::{convert::Infallible, sync::Arc, time::Duration};

/// When something was captured or is to be shown: microseconds on the clock of whoever made it. Differences between
/// times of one stream are exact; times of different streams or machines can't be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaTime(u64);

impl MediaTime {
    /// From microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// In microseconds.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The time since `earlier`, or zero if that is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// One picture: I420 (BT.709, limited range), cheap to clone.
#[derive(Clone)]
pub struct Frame {
    /// When it was captured, on the clock of this process ([`MediaTime`] of its source).
    pub captured: MediaTime,
    /// Wall-clock time of capture in Unix microseconds, when known (local captures always; remote ones when the
    /// sender tells): comparable between machines as far as their clocks are.
    pub captured_unix_us: Option<u64>,
    width: u32,
    height: u32,
    planes: Arc<Vec<u8>>,
}

impl Frame {
    /// Wraps tightly packed planes: `width * height` bytes of Y, then two of `ceil(width/2) * ceil(height/2)`.
    ///
    /// # Panics
    /// When `planes` has another length: a bug in the caller.
    pub fn from_i420(width: u32, height: u32, planes: Arc<Vec<u8>>, captured: MediaTime) -> Self {
        assert_eq!(planes.len(), Self::i420_len(width, height), "I420 buffer of {width} x {height}");
        Self { captured, captured_unix_us: None, width, height, planes }
    }

    /// Bytes of an I420 picture of this size.
    pub const fn i420_len(width: u32, height: u32) -> usize {
        let (width, height) = (width as usize, height as usize);
        width * height + 2 * width.div_ceil(2) * height.div_ceil(2)
    }

    /// Width in pixels.
    pub const fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub const fn height(&self) -> u32 {
        self.height
    }

    /// Luma: `width * height` bytes, no padding.
    pub fn y(&self) -> &[u8] {
        &self.planes[..self.luma_len()]
    }

    /// Blue chroma: `ceil(width/2) * ceil(height/2)` bytes.
    pub fn u(&self) -> &[u8] {
        &self.planes[self.luma_len()..][..self.chroma_len()]
    }

    /// Red chroma: `ceil(width/2) * ceil(height/2)` bytes.
    pub fn v(&self) -> &[u8] {
        &self.planes[self.luma_len() + self.chroma_len()..]
    }

    /// Width and height of the chroma planes.
    pub(crate) const fn chroma_size(&self) -> (usize, usize) {
        ((self.width as usize).div_ceil(2), (self.height as usize).div_ceil(2))
    }

    const fn luma_len(&self) -> usize {
        self.width as usize * self.height as usize
    }

    const fn chroma_len(&self) -> usize {
        let (width, height) = self.chroma_size();
        width * height
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({} x {}, {:?})", self.width, self.height, self.captured)
    }
}

/// The three planes of an I420 picture, to be written.
pub(crate) struct PlanesMut<'a> {
    pub(crate) y: &'a mut [u8],
    pub(crate) u: &'a mut [u8],
    pub(crate) v: &'a mut [u8],
}

/// Buffers of one size that frames give back when the last clone is gone, so that a stream of frames allocates nothing
/// once it runs. Frames outlive their pool; a pool that is out of buffers allocates one that is not kept.
#[derive(Default)]
pub(crate) struct FramePool {
    buffers: Vec<Arc<Vec<u8>>>,
}

/// Enough for a frame in each slot, one on the screen, one in the codec, and a recorder that lags a little.
const POOLED_BUFFERS: usize = 12;

impl FramePool {
    /// A frame that `fill` draws. Its planes hold an older picture of this pool or zeros.
    pub(crate) fn frame(
        &mut self,
        width: u32,
        height: u32,
        captured: MediaTime,
        fill: impl FnOnce(PlanesMut<'_>),
    ) -> Frame {
        let filled = self.try_frame(width, height, captured, |planes| {
            fill(planes);
            Ok::<_, Infallible>(())
        });
        match filled {
            Ok(frame) => frame,
            Err(never) => match never {},
        }
    }

    /// A frame that `fill` draws, unless it fails.
    pub(crate) fn try_frame<E>(
        &mut self,
        width: u32,
        height: u32,
        captured: MediaTime,
        fill: impl FnOnce(PlanesMut<'_>) -> Result<(), E>,
    ) -> Result<Frame, E> {
        let mut buffer = self.free_buffer(Frame::i420_len(width, height));
        let planes = Arc::get_mut(&mut buffer).expect("nobody else holds a free buffer");
        let (y, chroma) = planes.split_at_mut(width as usize * height as usize);
        let (u, v) = chroma.split_at_mut(chroma.len() / 2);
        let filled = fill(PlanesMut { y, u, v });
        if self.buffers.len() < POOLED_BUFFERS {
            self.buffers.push(Arc::clone(&buffer));
        }
        filled.map(|()| Frame::from_i420(width, height, buffer, captured))
    }

    /// Takes a buffer that no frame uses out of the pool, or makes one.
    fn free_buffer(&mut self, len: usize) -> Arc<Vec<u8>> {
        self.buffers.retain(|buffer| buffer.len() == len);
        let free = self.buffers.iter_mut().position(|buffer| Arc::get_mut(buffer).is_some());
        free.map_or_else(|| Arc::new(vec![0; len]), |index| self.buffers.swap_remove(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_when_its_last_frame_is_gone_and_not_before() {
        let mut pool = FramePool::default();
        let mut draw = |value: u8| pool.frame(4, 2, MediaTime::default(), |planes| planes.y.fill(value));
        let first = draw(1);
        let address = first.y().as_ptr();
        let clone = first.clone();
        drop(first);
        let second = draw(2);
        assert_ne!(second.y().as_ptr(), address);
        assert_eq!(clone.y(), [1; 8]);
        drop(clone);
        assert_eq!(draw(3).y().as_ptr(), address);
    }

    #[test]
    fn odd_sizes_have_chroma_for_the_last_column_and_row() {
        let frame = FramePool::default().frame(3, 3, MediaTime::default(), |planes| planes.v.fill(9));
        assert_eq!((frame.y().len(), frame.u().len(), frame.v()), (9, 4, &[9; 4][..]));
    }
}
