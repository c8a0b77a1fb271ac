//! Codecs: sound and pictures to packets, and back. Those of pictures are behind traits, so that pipelines don't know
//! which one was negotiated.

pub(crate) mod h264;
pub mod opus;
pub(crate) mod payload;
pub mod red;
#[cfg_attr(not(feature = "vpx"), allow(dead_code, reason = "decoders look into frames"))]
pub(crate) mod vp8;
#[cfg_attr(not(feature = "vpx"), allow(dead_code, reason = "decoders look into frames"))]
pub(crate) mod vp9;
#[cfg(feature = "vpx")]
pub(crate) mod vpx;

#[cfg(test)]
mod bench;

use serde::{Deserialize, Serialize};

use crate::{Frame, rate::Bitrate};

/// A codec of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VideoCodec {
    /// H.264, constrained baseline: the least work.
    H264,
    /// VP8.
    Vp8,
    /// VP9: the best picture for the bits, for twice the work.
    Vp9,
}

impl VideoCodec {
    /// Those that this program was built with, in the order in which they are offered.
    pub const BUILT: &'static [Self] =
        if cfg!(feature = "vpx") { &[Self::H264, Self::Vp9, Self::Vp8] } else { &[Self::H264] };

    /// This codec and no other.
    pub(crate) const fn alone(self) -> &'static [Self] {
        match self {
            Self::H264 => &[Self::H264],
            Self::Vp8 => &[Self::Vp8],
            Self::Vp9 => &[Self::Vp9],
        }
    }

    /// The name in SDP.
    pub const fn name(self) -> &'static str {
        match self {
            Self::H264 => "H264",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
        }
    }

    /// The codec with this name in SDP, in upper or lower case, if it was built.
    pub fn named(name: &str) -> Option<Self> {
        Self::BUILT.iter().copied().find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    pub(crate) fn encoder(self, content: Content, bitrate: Bitrate) -> Result<Box<dyn VideoEncoder>, CodecError> {
        match self {
            Self::H264 => Ok(Box::new(h264::Encoder::new(content, bitrate))),
            #[cfg(feature = "vpx")]
            Self::Vp8 => Ok(Box::new(vpx::Encoder::new(vpx::Vpx::Vp8, content, bitrate))),
            #[cfg(feature = "vpx")]
            Self::Vp9 => Ok(Box::new(vpx::Encoder::new(vpx::Vpx::Vp9, content, bitrate))),
            #[cfg(not(feature = "vpx"))]
            Self::Vp8 | Self::Vp9 => Err(CodecError(format!("{} was not built for {content:?}", self.name()))),
        }
    }

    pub(crate) fn decoder(self) -> Result<Box<dyn VideoDecoder>, CodecError> {
        match self {
            Self::H264 => Ok(Box::new(h264::Decoder::new()?)),
            #[cfg(feature = "vpx")]
            Self::Vp8 => Ok(Box::new(vpx::Decoder::new(vpx::Vpx::Vp8)?)),
            #[cfg(feature = "vpx")]
            Self::Vp9 => Ok(Box::new(vpx::Decoder::new(vpx::Vpx::Vp9)?)),
            #[cfg(not(feature = "vpx"))]
            Self::Vp8 | Self::Vp9 => Err(CodecError(format!("{} was not built", self.name()))),
        }
    }
}

/// What pictures show, as far as it decides how they are encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Content {
    /// The world.
    #[default]
    Camera,
    /// Text, lines and plain areas.
    Screen,
}

/// What came of encoding a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoded {
    /// A picture that needs no other.
    Key,
    /// A picture that needs those before it.
    Delta,
    /// Nothing: the rate control left this frame out.
    Skipped,
}

/// Makes a bitstream from pictures. A change of size is allowed at any frame and makes that one a key frame.
pub(crate) trait VideoEncoder: Send {
    /// What it is.
    fn codec(&self) -> VideoCodec;

    /// Encodes one frame into `bitstream` (which is cleared), as a key frame if `key`.
    fn encode(&mut self, frame: &Frame, key: bool, bitstream: &mut Vec<u8>) -> Result<Encoded, CodecError>;

    /// Aims at another bitrate from the next frame on.
    fn set_bitrate(&mut self, bitrate: Bitrate);
}

/// Makes pictures from a bitstream. After an error it needs a key frame to go on.
pub(crate) trait VideoDecoder: Send {
    /// What it is.
    fn codec(&self) -> VideoCodec;

    /// Decodes one access unit. `None`: it carried no picture.
    fn decode(&mut self, bitstream: &[u8]) -> Result<Option<Frame>, CodecError>;
}

/// What a codec says when it can't go on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CodecError(pub(crate) String);
