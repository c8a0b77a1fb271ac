//! Codecs: sound and pictures to packets, and back. Those of pictures are behind traits, so that pipelines don't know
//! which one was negotiated.

pub(crate) mod h264;
pub mod opus;
pub mod red;

use crate::{Frame, rate::Bitrate};

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
    /// The codec's name in SDP.
    fn name(&self) -> &'static str;

    /// Encodes one frame into `bitstream` (which is cleared), as a key frame if `key`.
    fn encode(&mut self, frame: &Frame, key: bool, bitstream: &mut Vec<u8>) -> Result<Encoded, CodecError>;

    /// Aims at another bitrate from the next frame on.
    fn set_bitrate(&mut self, bitrate: Bitrate);
}

/// Makes pictures from a bitstream. After an error it needs a key frame to go on.
pub(crate) trait VideoDecoder: Send {
    /// The codec's name in SDP.
    fn name(&self) -> &'static str;

    /// Decodes one access unit. `None`: it carried no picture.
    fn decode(&mut self, bitstream: &[u8]) -> Result<Option<Frame>, CodecError>;
}

/// What a codec says when it can't go on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CodecError(pub(crate) String);
