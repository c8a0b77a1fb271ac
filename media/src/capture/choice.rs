//! Which of a camera's formats to use: pure.

use nokhwa::utils::{CameraFormat, FrameFormat};

/// What a call wants: more is cost without a benefit.
const PIXELS: i64 = 1280 * 720;
pub(super) const FPS: u32 = 30;
/// Slower looks broken, however sharp it is.
const SMOOTH_FPS: u32 = 20;

/// Formats that can be converted, the cheapest first.
pub(super) const FORMATS: [FrameFormat; 6] = [
    FrameFormat::NV12,
    FrameFormat::YUYV,
    FrameFormat::MJPEG,
    FrameFormat::RAWRGB,
    FrameFormat::RAWBGR,
    FrameFormat::GRAY,
];

/// The formats in the order in which they are to be tried: in colour, smooth, near 1280 x 720 and 30 frames/s, cheap.
pub(super) fn by_preference(mut formats: Vec<CameraFormat>) -> Vec<CameraFormat> {
    formats.sort_by_key(|format| {
        let pixels = i64::from(format.width()) * i64::from(format.height());
        // Too large costs conversion and encoding on top of what too small costs.
        let off = if pixels > PIXELS { 2 * (pixels - PIXELS) } else { PIXELS - pixels };
        let fps = format.frame_rate();
        let cost = FORMATS.iter().position(|candidate| *candidate == format.format());
        (format.format() == FrameFormat::GRAY, fps < SMOOTH_FPS, off, fps.abs_diff(FPS), cost)
    });
    formats.dedup();
    formats
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(formats: &[(u32, u32, FrameFormat, u32)]) -> (u32, u32, FrameFormat, u32) {
        let formats = formats.iter().map(|&(w, h, format, fps)| CameraFormat::new_from(w, h, format, fps)).collect();
        let best = by_preference(formats)[0];
        (best.width(), best.height(), best.format(), best.frame_rate())
    }

    #[test]
    fn a_usual_webcam_gives_720p_as_motion_jpeg_because_raw_is_too_slow() {
        let formats = [
            (640, 480, FrameFormat::YUYV, 30),
            (1280, 720, FrameFormat::YUYV, 10),
            (1920, 1080, FrameFormat::MJPEG, 30),
            (1280, 720, FrameFormat::MJPEG, 30),
        ];
        assert_eq!(best(&formats), (1280, 720, FrameFormat::MJPEG, 30));
    }

    #[test]
    fn the_cheapest_of_equal_formats_is_used() {
        let formats = [
            (1280, 720, FrameFormat::MJPEG, 30),
            (1280, 720, FrameFormat::GRAY, 30),
            (1280, 720, FrameFormat::NV12, 60),
            (1280, 720, FrameFormat::NV12, 30),
        ];
        assert_eq!(best(&formats), (1280, 720, FrameFormat::NV12, 30));
    }

    #[test]
    fn a_camera_without_720p_gives_what_is_nearest() {
        assert_eq!(
            best(&[
                (320, 240, FrameFormat::YUYV, 30),
                (640, 480, FrameFormat::YUYV, 15),
                (800, 600, FrameFormat::YUYV, 24)
            ]),
            (800, 600, FrameFormat::YUYV, 24)
        );
        assert_eq!(best(&[(3840, 2160, FrameFormat::MJPEG, 30)]).0, 3840);
        assert_eq!(best(&[(640, 480, FrameFormat::YUYV, 5)]).3, 5);
    }
}
