//! Pictures in memory: I420 planes in one pooled buffer, shared and never copied between threads.

use std::{sync::Arc, time::Duration};

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

    const fn luma_len(&self) -> usize {
        self.width as usize * self.height as usize
    }

    const fn chroma_len(&self) -> usize {
        (self.width as usize).div_ceil(2) * (self.height as usize).div_ceil(2)
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({} x {}, {:?})", self.width, self.height, self.captured)
    }
}
