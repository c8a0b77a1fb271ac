use std::{num::NonZero, thread};

use super::{
    Vpx,
    raw::{RawEncoder, Settings, ffi},
};
use crate::{
    Frame,
    codec::{CodecError, Content, Encoded, VideoCodec, VideoEncoder},
    rate::Bitrate,
};

/// An encoder of VP8 or VP9 for conversations: no delay, key frames only when asked for.
pub(crate) struct Encoder {
    codec: Vpx,
    content: Content,
    bitrate: Bitrate,
    inner: Option<(RawEncoder, (u32, u32))>,
}

impl Encoder {
    pub(crate) fn new(codec: Vpx, content: Content, bitrate: Bitrate) -> Self {
        Self { codec, content, bitrate, inner: None }
    }

    /// The encoder for this size.
    fn for_size(&mut self, size: (u32, u32)) -> Result<&mut RawEncoder, CodecError> {
        if self.inner.as_ref().is_none_or(|(_, inner_size)| *inner_size != size) {
            self.inner = Some((open(self.codec, self.content, size, self.bitrate)?, size));
        }
        let (encoder, _) = self.inner.as_mut().expect("made above");
        Ok(encoder)
    }
}

impl VideoEncoder for Encoder {
    fn codec(&self) -> VideoCodec {
        self.codec.codec()
    }

    fn encode(&mut self, frame: &Frame, key: bool, bitstream: &mut Vec<u8>) -> Result<Encoded, CodecError> {
        bitstream.clear();
        // Even sizes, as in H.264, so that another codec in the same call has the same picture.
        let size = (frame.width() & !1, frame.height() & !1);
        if size.0 == 0 || size.1 == 0 {
            return Err(CodecError("a picture of no pixels".to_owned()));
        }
        self.for_size(size)?.encode(frame, key, bitstream)
    }

    fn set_bitrate(&mut self, bitrate: Bitrate) {
        self.bitrate = bitrate;
        if let Some((encoder, _)) = &mut self.inner
            && let Err(error) = encoder.set_bitrate(kbps(bitrate))
        {
            tracing::warn!(%error, bps = bitrate.as_bps(), "the encoder refused a bitrate");
        }
    }
}

fn kbps(bitrate: Bitrate) -> u32 {
    (bitrate.as_bps() / 1_000).max(1)
}

fn open(codec: Vpx, content: Content, size: (u32, u32), bitrate: Bitrate) -> Result<RawEncoder, CodecError> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    // The bits of nine frames, so that a key frame holds up what follows for no more than 0.3 s.
    let key_frame_percent = 900;
    let settings =
        Settings { codec, size, kbps: kbps(bitrate), threads: threads(codec, size, cores), key_frame_percent };
    let mut encoder = RawEncoder::new(&settings)?;
    let is_screen = content == Content::Screen;
    match codec {
        Vpx::Vp8 => {
            encoder.control(ffi::VP8E_SET_CPUUSED, -6)?;
            encoder.control(ffi::VP8E_SET_STATIC_THRESHOLD, if is_screen { 100 } else { 1 })?;
            encoder.control(ffi::VP8E_SET_SCREEN_CONTENT_MODE, is_screen.into())?;
        }
        Vpx::Vp9 => {
            encoder.control(ffi::VP8E_SET_CPUUSED, vp9_speed(size))?;
            // Cyclic refresh: the background gets better a part at a time.
            encoder.control(ffi::VP9E_SET_AQ_MODE, 3)?;
            encoder.control(ffi::VP9E_SET_ROW_MT, 1)?;
            encoder.control(ffi::VP9E_SET_TILE_COLUMNS, tile_columns_log2(size.0))?;
            encoder.control(ffi::VP9E_SET_FRAME_PARALLEL_DECODING, 0)?;
            encoder.control(ffi::VP8E_SET_STATIC_THRESHOLD, 1)?;
            let tune = if is_screen { ffi::VP9E_CONTENT_SCREEN } else { ffi::VP9E_CONTENT_DEFAULT };
            encoder.control(ffi::VP9E_SET_TUNE_CONTENT, tune as i32)?;
        }
    }
    Ok(encoder)
}

/// On two cores VP8's threads wait for each other more than they work.
fn threads(codec: Vpx, (width, height): (u32, u32), cores: usize) -> u32 {
    let pixels = width * height;
    match codec {
        Vpx::Vp8 if cores >= 6 && pixels >= 1_280 * 720 => 2,
        Vpx::Vp8 => 1,
        Vpx::Vp9 if cores >= 6 && pixels >= 1_280 * 720 => 4,
        Vpx::Vp9 if cores >= 3 && pixels >= 640 * 360 => 2,
        Vpx::Vp9 => 1,
    }
}

/// At 180 lines and 60 kbit/s 7 is 0.7 dB better than 8, and small pictures are quick in any case; from 360 lines on they
/// are as good as each other, and 9 is 0.4 to 0.6 dB worse.
fn vp9_speed((width, height): (u32, u32)) -> i32 {
    if width * height <= 480 * 270 { 7 } else { 8 }
}

/// Columns that can be coded beside each other are at least 256 pixels wide.
fn tile_columns_log2(width: u32) -> i32 {
    (width / 256).max(1).ilog2().min(2) as i32
}
