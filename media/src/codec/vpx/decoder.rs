use super::{
    Vpx,
    raw::{Image, RawDecoder},
};
use crate::{
    Frame, MediaTime,
    codec::{CodecError, VideoCodec, VideoDecoder, vp8, vp9},
    frame::FramePool,
};

/// Larger pictures are refused before the decoder takes memory for them: 4096 x 2304.
const MAX_PIXELS: u64 = 4_096 * 2_304;
const MAX_SIDE: u32 = 8_192;

/// A decoder of VP8 or VP9.
pub(crate) struct Decoder {
    codec: Vpx,
    inner: RawDecoder,
    pool: FramePool,
    /// A frame of VP9 with its index.
    indexed: Vec<u8>,
}

impl Decoder {
    pub(crate) fn new(codec: Vpx) -> Result<Self, CodecError> {
        Ok(Self { codec, inner: RawDecoder::new(codec)?, pool: FramePool::default(), indexed: Vec::new() })
    }

    fn decode_vp8(&mut self, frame: &[u8]) -> Result<Option<Frame>, CodecError> {
        if frame.is_empty() {
            // The library would take it for a lost one.
            return Err(CodecError("an empty frame".to_owned()));
        }
        if vp8::is_key_frame(frame) {
            check_size(vp8::declared_size(frame).ok_or_else(|| CodecError("not a key frame".to_owned()))?)?;
        }
        Ok(self.inner.decode(frame)?.map(|image| copied(&mut self.pool, &image)))
    }

    /// Each frame of a picture for itself, so that the library sees none that was not looked at here.
    fn decode_vp9(&mut self, picture: &[u8]) -> Result<Option<Frame>, CodecError> {
        let mut shown = None;
        let mut frames = vp9::frames(picture).peekable();
        if frames.peek().is_none() {
            return Err(CodecError("an empty picture".to_owned()));
        }
        for frame in frames {
            let header = vp9::read_frame(frame).ok_or_else(|| CodecError("not a frame of profile 0".to_owned()))?;
            header.size.map_or(Ok(()), check_size)?;
            self.indexed.clear();
            self.indexed.extend_from_slice(frame);
            vp9::index_of_one(frame, &mut self.indexed);
            if let Some(image) = self.inner.decode(&self.indexed)? {
                shown = Some(copied(&mut self.pool, &image));
            }
        }
        Ok(shown)
    }
}

impl VideoDecoder for Decoder {
    fn codec(&self) -> VideoCodec {
        self.codec.codec()
    }

    fn decode(&mut self, bitstream: &[u8]) -> Result<Option<Frame>, CodecError> {
        let decoded = match self.codec {
            Vpx::Vp8 => self.decode_vp8(bitstream),
            Vpx::Vp9 => self.decode_vp9(bitstream),
        };
        if decoded.is_err() {
            // What is left of damaged pictures must not reach into the next ones.
            self.inner = RawDecoder::new(self.codec)?;
        }
        decoded
    }
}

fn check_size((width, height): (u32, u32)) -> Result<(), CodecError> {
    let is_bounded = width.max(height) <= MAX_SIDE && u64::from(width) * u64::from(height) <= MAX_PIXELS;
    if width > 0 && height > 0 && is_bounded {
        Ok(())
    } else {
        Err(CodecError(format!("a picture of {width} x {height}")))
    }
}

fn copied(pool: &mut FramePool, image: &Image<'_>) -> Frame {
    let (width, height) = image.size();
    pool.frame(width, height, MediaTime::default(), |planes| {
        for (index, plane) in [planes.y, planes.u, planes.v].into_iter().enumerate() {
            let width = if index == 0 { width } else { width.div_ceil(2) };
            for (from, to) in image.rows(index).zip(plane.chunks_exact_mut(width as usize)) {
                to.copy_from_slice(from);
            }
        }
    })
}
