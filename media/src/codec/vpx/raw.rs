//! libvpx behind functions that can't be misused. All that is unsafe about VP8 and VP9 is in this file.
#![expect(unsafe_code, reason = "libvpx is a C library")]

use std::{
    ffi::{CStr, c_int, c_uint},
    marker::PhantomData,
    mem::MaybeUninit,
    ptr, slice,
};

use super::Vpx;
use crate::{
    Frame,
    codec::{CodecError, Encoded},
};

/// What `build.rs` made of libvpx's headers.
#[allow(
    clippy::all,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    reason = "generated"
)]
pub(super) mod ffi {
    include!(concat!(env!("OUT_DIR"), "/vpx.rs"));
}

/// Ticks of the encoder's clock in a second, and in a frame: it is told 30 frames/s, whatever comes.
const TICKS_PER_SECOND: c_int = 90_000;
const TICKS_PER_FRAME: u32 = 3_000;

/// An initialised codec, at an address that does not change.
struct Context(Box<ffi::vpx_codec_ctx_t>);

// SAFETY: a codec's state is its own, and libvpx ties none of it to a thread; whoever has the context has all of it.
unsafe impl Send for Context {}

impl Context {
    /// A context that `init` initialises and that is destroyed with its owner.
    fn new(init: impl FnOnce(*mut ffi::vpx_codec_ctx_t) -> ffi::vpx_codec_err_t) -> Result<Self, CodecError> {
        let mut context = Box::<ffi::vpx_codec_ctx_t>::new_uninit();
        // On failure it has destroyed itself.
        check(init(context.as_mut_ptr()))?;
        // SAFETY: libvpx clears the whole of it before it does anything else, and it succeeded.
        Ok(Self(unsafe { context.assume_init() }))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: it was initialised, and is destroyed once. What fails leaves nothing to be done.
        unsafe { ffi::vpx_codec_destroy(&raw mut *self.0) };
    }
}

fn check(status: ffi::vpx_codec_err_t) -> Result<(), CodecError> {
    if status == ffi::VPX_CODEC_OK {
        return Ok(());
    }
    // SAFETY: it gives a constant string for every number.
    let text = unsafe { CStr::from_ptr(ffi::vpx_codec_err_to_string(status)) };
    Err(CodecError(text.to_string_lossy().into_owned()))
}

/// What an encoder is made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) codec: Vpx,
    /// Both even.
    pub(super) size: (u32, u32),
    pub(super) kbps: u32,
    pub(super) threads: u32,
    /// How large a key frame may be, in percent of what a frame has on average.
    pub(super) key_frame_percent: u32,
}

/// An encoder of pictures of one size, for conversations: no delay, a constant bitrate, key frames when asked for.
pub(super) struct RawEncoder {
    context: Context,
    config: ffi::vpx_codec_enc_cfg_t,
    ticks: i64,
}

// SAFETY: as for the context; of the configuration's pointers, which belong to two-pass encoding, none is set.
unsafe impl Send for RawEncoder {}

impl RawEncoder {
    pub(super) fn new(settings: &Settings) -> Result<Self, CodecError> {
        // SAFETY: both only give the address of a constant.
        let interface = unsafe {
            match settings.codec {
                Vpx::Vp8 => ffi::vpx_codec_vp8_cx(),
                Vpx::Vp9 => ffi::vpx_codec_vp9_cx(),
            }
        };
        let mut config = MaybeUninit::<ffi::vpx_codec_enc_cfg_t>::uninit();
        // SAFETY: it writes a whole configuration through a valid pointer when it succeeds.
        let mut config = unsafe {
            check(ffi::vpx_codec_enc_config_default(interface, config.as_mut_ptr(), 0))?;
            config.assume_init()
        };
        (config.g_w, config.g_h) = settings.size;
        config.g_threads = settings.threads;
        config.g_timebase = ffi::vpx_rational { num: 1, den: TICKS_PER_SECOND };
        config.g_lag_in_frames = 0;
        // Whoever lacks a picture waits for its repair or asks for a key frame, and decodes nothing meanwhile: that frames
        // could be decoded all the same would cost bits for nothing.
        config.g_error_resilient = 0;
        config.kf_mode = ffi::VPX_KF_DISABLED;
        config.rc_end_usage = ffi::VPX_CBR;
        config.rc_target_bitrate = settings.kbps;
        (config.rc_min_quantizer, config.rc_max_quantizer) = (2, 56);
        // Frames may be left out when a burst has taken what was theirs.
        config.rc_dropframe_thresh = 30;
        (config.rc_buf_initial_sz, config.rc_buf_optimal_sz, config.rc_buf_sz) = (500, 600, 1_000);
        (config.rc_undershoot_pct, config.rc_overshoot_pct) = match settings.codec {
            Vpx::Vp8 => (100, 15),
            Vpx::Vp9 => (50, 50),
        };
        let context = Context::new(|context| {
            // SAFETY: `context` is room for one, `config` is whole, and the version is that of the headers they are of;
            // a library of another is refused.
            unsafe {
                ffi::vpx_codec_enc_init_ver(
                    context,
                    interface,
                    &raw const config,
                    0,
                    ffi::VPX_ENCODER_ABI_VERSION as c_int,
                )
            }
        })?;
        let mut encoder = Self { context, config, ticks: 0 };
        encoder.control(ffi::VP8E_SET_MAX_INTRA_BITRATE_PCT, settings.key_frame_percent as c_int)?;
        Ok(encoder)
    }

    /// Sets one of the controls that take an integer, by its number in `vp8cx.h`.
    pub(super) fn control(&mut self, id: c_uint, value: c_int) -> Result<(), CodecError> {
        // SAFETY: the encoder is initialised, and all that callers name takes an `int`, or an `unsigned int` that is
        // passed alike, through the variable arguments. A number that the codec doesn't know is refused.
        check(unsafe { ffi::vpx_codec_control_(&raw mut *self.context.0, id as c_int, value) })
    }

    /// Aims at another bitrate from the next frame on.
    pub(super) fn set_bitrate(&mut self, kbps: u32) -> Result<(), CodecError> {
        self.config.rc_target_bitrate = kbps;
        // SAFETY: both are initialised, and the size is the one that it began with.
        check(unsafe { ffi::vpx_codec_enc_config_set(&raw mut *self.context.0, &raw const self.config) })
    }

    /// Encodes a picture that is at least as large as this encoder's, and adds what it makes to `bitstream`.
    pub(super) fn encode(&mut self, frame: &Frame, key: bool, bitstream: &mut Vec<u8>) -> Result<Encoded, CodecError> {
        let (width, height) = (self.config.g_w, self.config.g_h);
        if frame.width() < width || frame.height() < height {
            return Err(CodecError("a picture that is too small".to_owned()));
        }
        let mut image = MaybeUninit::<ffi::vpx_image_t>::uninit();
        // SAFETY: with memory given, it fills in the description and allocates nothing; the planes are put right below,
        // before anybody follows them.
        let wrapped = unsafe {
            let memory = frame.y().as_ptr().cast_mut();
            ffi::vpx_img_wrap(image.as_mut_ptr(), ffi::VPX_IMG_FMT_I420, width, height, 1, memory)
        };
        if wrapped.is_null() {
            return Err(CodecError("a picture of no possible size".to_owned()));
        }
        // SAFETY: it was filled in.
        let mut image = unsafe { image.assume_init() };
        let (chroma_width, _) = frame.chroma_size();
        for (index, (plane, stride)) in
            [(frame.y(), frame.width() as usize), (frame.u(), chroma_width), (frame.v(), chroma_width)]
                .into_iter()
                .enumerate()
        {
            image.planes[index] = plane.as_ptr().cast_mut();
            image.stride[index] = stride as c_int;
        }
        let flags = if key { ffi::VPX_EFLAG_FORCE_KF } else { 0 };
        // SAFETY: the image's planes are those of `frame`, which outlives the call, which only reads them; they have at
        // least the size that the encoder was made for, which was checked.
        check(unsafe {
            ffi::vpx_codec_encode(
                &raw mut *self.context.0,
                &raw const image,
                self.ticks,
                TICKS_PER_FRAME.into(),
                flags.into(),
                ffi::VPX_DL_REALTIME.into(),
            )
        })?;
        self.ticks += i64::from(TICKS_PER_FRAME);
        Ok(self.collect(bitstream))
    }

    fn collect(&mut self, bitstream: &mut Vec<u8>) -> Encoded {
        let mut encoded = Encoded::Skipped;
        let mut iterator = ptr::null();
        loop {
            // SAFETY: the encoder is initialised; the packet it gives, if any, stands until it is called again.
            let Some(packet) =
                (unsafe { ffi::vpx_codec_get_cx_data(&raw mut *self.context.0, &raw mut iterator).as_ref() })
            else {
                return encoded;
            };
            if packet.kind != ffi::VPX_CODEC_CX_FRAME_PKT {
                continue;
            }
            // SAFETY: the kind says which of the union's fields it is, and that has `sz` bytes at `buf`.
            let (bytes, flags) = unsafe {
                let frame = packet.data.frame;
                (slice::from_raw_parts(frame.buf.cast::<u8>(), frame.sz), frame.flags)
            };
            bitstream.extend_from_slice(bytes);
            let is_key = flags & ffi::VPX_FRAME_IS_KEY != 0;
            encoded = if is_key { Encoded::Key } else { Encoded::Delta };
        }
    }
}

/// A decoder; after an error it is of no use.
pub(super) struct RawDecoder(Context);

impl RawDecoder {
    pub(super) fn new(codec: Vpx) -> Result<Self, CodecError> {
        // SAFETY: both only give the address of a constant.
        let interface = unsafe {
            match codec {
                Vpx::Vp8 => ffi::vpx_codec_vp8_dx(),
                Vpx::Vp9 => ffi::vpx_codec_vp9_dx(),
            }
        };
        let config = ffi::vpx_codec_dec_cfg_t { threads: 1, w: 0, h: 0 };
        Context::new(|context| {
            // SAFETY: as for the encoder.
            unsafe {
                ffi::vpx_codec_dec_init_ver(
                    context,
                    interface,
                    &raw const config,
                    0,
                    ffi::VPX_DECODER_ABI_VERSION as c_int,
                )
            }
        })
        .map(Self)
    }

    /// Decodes one frame. Gives the last picture that came of it.
    pub(super) fn decode(&mut self, frame: &[u8]) -> Result<Option<Image<'_>>, CodecError> {
        let size = c_uint::try_from(frame.len()).map_err(|error| CodecError(error.to_string()))?;
        // SAFETY: the decoder is initialised, and it reads `size` bytes during the call.
        check(unsafe { ffi::vpx_codec_decode(&raw mut *self.0.0, frame.as_ptr(), size, ptr::null_mut(), 0) })?;
        let mut iterator = ptr::null();
        let mut last = None;
        loop {
            // SAFETY: the decoder is initialised; an image it gives stands until it is called again to decode.
            let image = unsafe { ffi::vpx_codec_get_frame(&raw mut *self.0.0, &raw mut iterator).as_ref() };
            match image {
                Some(image) => last = Some(image),
                None => return last.map(Image::new).transpose(),
            }
        }
    }
}

/// A picture in the memory of a decoder, which it borrows.
pub(super) struct Image<'a> {
    image: ffi::vpx_image_t,
    decoder: PhantomData<&'a mut RawDecoder>,
}

impl Image<'_> {
    fn new(image: &ffi::vpx_image_t) -> Result<Self, CodecError> {
        if image.fmt != ffi::VPX_IMG_FMT_I420 || image.stride[..3].iter().any(|&stride| stride <= 0) {
            return Err(CodecError("a picture that is not 4:2:0 with 8 bits".to_owned()));
        }
        Ok(Self { image: *image, decoder: PhantomData })
    }

    pub(super) fn size(&self) -> (u32, u32) {
        (self.image.d_w, self.image.d_h)
    }

    /// The rows of a plane (Y, U, V), at least as long as they are wide.
    pub(super) fn rows(&self, plane: usize) -> impl Iterator<Item = &[u8]> {
        let (width, height) = self.size();
        let (width, height) = if plane == 0 { (width, height) } else { (width.div_ceil(2), height.div_ceil(2)) };
        let (start, stride) = (self.image.planes[plane], self.image.stride[plane] as usize);
        // SAFETY: the decoder's planes have so many rows of so many bytes, a positive stride apart, and stand as long as
        // the decoder is borrowed.
        (0..height as usize).map(move |row| unsafe { slice::from_raw_parts(start.add(row * stride), width as usize) })
    }
}
