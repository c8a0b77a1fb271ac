//! VP8 and VP9 by libvpx. Their RTP payload formats are in [`super::vp8`] and [`super::vp9`].

mod decoder;
mod encoder;
#[cfg(test)]
mod fuzz;
mod raw;

use super::VideoCodec;

pub(crate) use decoder::Decoder;
pub(crate) use encoder::Encoder;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vpx {
    Vp8,
    Vp9,
}

impl Vpx {
    const fn codec(self) -> VideoCodec {
        match self {
            Self::Vp8 => VideoCodec::Vp8,
            Self::Vp9 => VideoCodec::Vp9,
        }
    }
}

#[cfg(test)]
mod tests;
