use openh264::{
    OpenH264API,
    decoder::{DecoderConfig, Flush},
    formats::YUVSource,
};

use crate::{
    Frame, MediaTime,
    codec::{CodecError, VideoCodec, VideoDecoder},
    frame::FramePool,
};

/// An H.264 decoder. Error concealment is off: a picture that lacks what it refers to is an error, which asks for a key
/// frame, instead of a smear.
pub(crate) struct Decoder {
    inner: openh264::decoder::Decoder,
    pool: FramePool,
}

impl Decoder {
    pub(crate) fn new() -> Result<Self, CodecError> {
        Ok(Self { inner: new_inner()?, pool: FramePool::default() })
    }

    fn decode_unit(&mut self, bitstream: &[u8]) -> Result<Option<Frame>, CodecError> {
        let Some(picture) = self.inner.decode(bitstream)? else { return Ok(None) };
        let (width, height) = picture.dimensions();
        let (y_stride, u_stride, v_stride) = picture.strides();
        let (chroma_width, chroma_height) = (width.div_ceil(2), height.div_ceil(2));
        let frame = self.pool.frame(width as u32, height as u32, MediaTime::default(), |planes| {
            copy_plane(picture.y(), y_stride, planes.y, width, height);
            copy_plane(picture.u(), u_stride, planes.u, chroma_width, chroma_height);
            copy_plane(picture.v(), v_stride, planes.v, chroma_width, chroma_height);
        });
        Ok(Some(frame))
    }
}

impl VideoDecoder for Decoder {
    fn codec(&self) -> VideoCodec {
        VideoCodec::H264
    }

    fn decode(&mut self, bitstream: &[u8]) -> Result<Option<Frame>, CodecError> {
        let decoded = self.decode_unit(bitstream);
        if decoded.is_err() {
            // What is left of damaged pictures must not reach into the next ones.
            self.inner = new_inner()?;
        }
        decoded
    }
}

fn new_inner() -> Result<openh264::decoder::Decoder, CodecError> {
    let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
    Ok(openh264::decoder::Decoder::with_api_config(OpenH264API::from_source(), config)?)
}

fn copy_plane(from: &[u8], stride: usize, to: &mut [u8], width: usize, height: usize) {
    for (from, to) in from.chunks(stride).zip(to.chunks_exact_mut(width)).take(height) {
        to.copy_from_slice(&from[..width]);
    }
}
