//! How much to send: pure, from what the far end reports to what the encoder aims at.

mod video;

pub(crate) use video::VideoRate;

/// Bits per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bitrate(u32);

impl Bitrate {
    pub(crate) const fn from_bps(bps: u32) -> Self {
        Self(bps)
    }

    pub(crate) const fn as_bps(self) -> u32 {
        self.0
    }

    fn scaled(self, factor: f32) -> Self {
        Self((self.0 as f32 * factor) as u32)
    }
}
