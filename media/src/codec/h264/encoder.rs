use openh264::{
    OpenH264API, Timestamp,
    encoder::{
        BitRate, Complexity, EncoderConfig, FrameRate, FrameType, Profile, RateControlMode, SpsPpsStrategy, UsageType,
        VuiConfig,
    },
    formats::YUVSource,
};
use openh264_sys2::{ENCODER_OPTION_BITRATE, ENCODER_OPTION_MAX_BITRATE, SBitrateInfo, SPATIAL_LAYER_0};

use crate::{
    Frame,
    codec::{CodecError, Content, Encoded, VideoCodec, VideoEncoder},
    rate::Bitrate,
};

/// What the rate control reckons with. Cameras that give fewer frames get fewer bits in proportion.
const FRAME_RATE_HZ: f32 = 30.0;

/// From so many bits a second for each pixel on (600 kbit/s at 1280 x 720), what stands still is encoded like the rest. With
/// less, the library's background detection leaves it as it was at first, which saves bits for what moves; with more, that
/// keeps a still room as soft as it began, however many bits there are. On a talking head at 720 lines, SSIM with it and
/// without: 0.851 and 0.826 at 300 kbit/s, 0.896 and 0.884 at 500, 0.905 and 0.930 at 800, 0.902 and 0.966 at 1,400, 0.918
/// and 0.980 at 2,200; at 360 lines 0.859 and 0.855 at 150, 0.877 and 0.944 at 300.
const RICH: f32 = 0.65;
/// From here on, and where the background is left alone, a search for motion by plain differences looks as good (SSIM differs
/// by 0.001), and saves a fifth of the work.
const RICHER: f32 = 1.2;

/// An H.264 encoder for conversations: one thread, no delay, key frames only when asked for.
pub(crate) struct Encoder {
    inner: Option<(openh264::encoder::Encoder, (usize, usize))>,
    bitrate: Bitrate,
    content: Content,
}

impl Encoder {
    pub(crate) fn new(content: Content, bitrate: Bitrate) -> Self {
        Self { inner: None, bitrate, content }
    }

    /// The encoder for this size. The library's own change of size forgets the bitrate, hence a new one each time.
    fn for_size(&mut self, size: (usize, usize)) -> Result<&mut openh264::encoder::Encoder, CodecError> {
        if self.inner.as_ref().is_none_or(|(_, inner_size)| *inner_size != size) {
            // The library takes these as they have to be, and complains on stderr if they were otherwise.
            let (usage, is_screen) = match self.content {
                Content::Camera => (UsageType::CameraVideoRealTime, false),
                Content::Screen => (UsageType::ScreenContentRealTime, true),
            };
            let bits_per_pixel = self.bitrate.as_bps() as f32 / (size.0 * size.1).max(1) as f32;
            let is_between = (RICH..RICHER).contains(&bits_per_pixel);
            let complexity = if is_screen || is_between { Complexity::Medium } else { Complexity::Low };
            let config = EncoderConfig::new()
                .bitrate(BitRate::from_bps(self.bitrate.as_bps()))
                .max_frame_rate(FrameRate::from_hz(FRAME_RATE_HZ))
                .rate_control_mode(RateControlMode::Bitrate)
                .skip_frames(true)
                .usage_type(usage)
                .complexity(complexity)
                .profile(Profile::Baseline)
                .sps_pps_strategy(SpsPpsStrategy::ConstantId)
                .scene_change_detect(is_screen)
                .adaptive_quantization(!is_screen)
                .background_detection(!is_screen && bits_per_pixel < RICH)
                .num_threads(1)
                .vui(VuiConfig::bt709());
            let encoder = openh264::encoder::Encoder::with_api_config(OpenH264API::from_source(), config)?;
            self.inner = Some((encoder, size));
        }
        let (encoder, _) = self.inner.as_mut().expect("made above");
        Ok(encoder)
    }
}

impl VideoEncoder for Encoder {
    fn codec(&self) -> VideoCodec {
        VideoCodec::H264
    }

    fn encode(&mut self, frame: &Frame, key: bool, bitstream: &mut Vec<u8>) -> Result<Encoded, CodecError> {
        bitstream.clear();
        let picture = EvenCrop(frame);
        let encoder = self.for_size(picture.dimensions())?;
        if key {
            encoder.force_intra_frame();
        }
        let encoded = encoder.encode_at(&picture, Timestamp::from_millis(frame.captured.as_micros() / 1_000))?;
        encoded.write_vec(bitstream);
        match encoded.frame_type() {
            FrameType::IDR => Ok(Encoded::Key),
            FrameType::I | FrameType::P | FrameType::IPMixed if bitstream.is_empty() => Ok(Encoded::Skipped),
            FrameType::I | FrameType::P | FrameType::IPMixed => Ok(Encoded::Delta),
            FrameType::Skip => Ok(Encoded::Skipped),
            FrameType::Invalid => Err(CodecError("the encoder made nothing".to_owned())),
        }
    }

    fn set_bitrate(&mut self, bitrate: Bitrate) {
        let raise = bitrate > self.bitrate;
        self.bitrate = bitrate;
        let Some((encoder, _)) = &mut self.inner else { return };
        // The library clips the bitrate to the maximum, so the one that makes room goes first.
        let order = [ENCODER_OPTION_MAX_BITRATE, ENCODER_OPTION_BITRATE];
        for option in if raise { order } else { [order[1], order[0]] } {
            let mut info =
                SBitrateInfo { iLayer: SPATIAL_LAYER_0, iBitrate: i32::try_from(bitrate.as_bps()).unwrap_or(i32::MAX) };
            // SAFETY: both options read one SBitrateInfo through the pointer during the call and keep nothing of it;
            // the encoder is initialised, since it is made and used for its first frame in one function. Neither the
            // size nor the layers, which the safe wrapper relies on, change.
            #[expect(unsafe_code, reason = "the safe wrapper has no way to change the bitrate")]
            let status = unsafe { encoder.raw_api().set_option(option, (&raw mut info).cast()) };
            if status != 0 {
                tracing::warn!(status, bps = bitrate.as_bps(), "the encoder refused a bitrate");
            }
        }
    }
}

impl From<openh264::Error> for CodecError {
    fn from(error: openh264::Error) -> Self {
        Self(error.to_string())
    }
}

/// A frame without the last column and row where their number is odd: 4:2:0 in H.264 has even sizes only.
struct EvenCrop<'a>(&'a Frame);

impl YUVSource for EvenCrop<'_> {
    fn dimensions(&self) -> (usize, usize) {
        (self.0.width() as usize & !1, self.0.height() as usize & !1)
    }

    fn strides(&self) -> (usize, usize, usize) {
        let (chroma_width, _) = self.0.chroma_size();
        (self.0.width() as usize, chroma_width, chroma_width)
    }

    fn y(&self) -> &[u8] {
        self.0.y()
    }

    fn u(&self) -> &[u8] {
        self.0.u()
    }

    fn v(&self) -> &[u8] {
        self.0.v()
    }
}
