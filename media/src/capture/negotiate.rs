//! Setting a camera's format on Linux, before the library opens it.
//!
//! The library's own way ends in an error where the driver's current frame rate is no whole number or changes along
//! with the size. It takes a format that is already set as it finds it; so it finds the right one.

use std::io;

use nokhwa::utils::{CameraFormat, FrameFormat};
use v4l::{
    Device, Format, FourCC, Fraction,
    frameinterval::FrameIntervalEnum,
    framesize::FrameSizeEnum,
    video::{Capture as _, capture::Parameters},
};

use super::choice;

/// Sizes that are looked for where a driver offers any.
const SIZES: [(u32, u32); 3] = [(1280, 720), (640, 480), (640, 360)];
/// Formats that are tried before the camera counts as unusable.
const ATTEMPTS: usize = 6;

/// Sets the best of a camera's formats that works. `None`: it has none that can be converted.
pub(super) fn set_best_format(number: usize) -> io::Result<Option<CameraFormat>> {
    let device = Device::new(number)?;
    let mut refused = None;
    for format in choice::by_preference(formats(&device)?).into_iter().take(ATTEMPTS) {
        match set(&device, format) {
            Ok(true) => return Ok(Some(format)),
            Ok(false) => tracing::debug!(%format, "the camera sets another format than the one it offers"),
            Err(error) => refused = Some(error),
        }
    }
    refused.map_or(Ok(None), Err)
}

/// Sets a format and reads back whether it was taken.
fn set(device: &Device, wanted: CameraFormat) -> io::Result<bool> {
    let (width, height, fourcc) = (wanted.width(), wanted.height(), four_cc(wanted.format()));
    let format = device.set_format(&Format::new(width, height, fourcc))?;
    let interval = device.set_params(&Parameters::with_fps(wanted.frame_rate()))?.interval;
    let size_taken = (format.width, format.height, format.fourcc) == (width, height, fourcc);
    Ok(size_taken && whole_fps(interval) == Some(wanted.frame_rate()))
}

/// What the camera offers, as far as it can be converted.
fn formats(device: &Device) -> io::Result<Vec<CameraFormat>> {
    let mut formats = Vec::new();
    for description in device.enum_formats()? {
        let Some(format) = choice::FORMATS.into_iter().find(|format| four_cc(*format) == description.fourcc) else {
            continue;
        };
        for (width, height) in sizes(device, description.fourcc) {
            let rates = rates(device, description.fourcc, width, height);
            formats.extend(rates.into_iter().map(|fps| CameraFormat::new_from(width, height, format, fps)));
        }
    }
    Ok(formats)
}

fn sizes(device: &Device, fourcc: FourCC) -> Vec<(u32, u32)> {
    let sizes = device.enum_framesizes(fourcc).unwrap_or_default();
    let of = |size| match size {
        FrameSizeEnum::Discrete(size) => vec![(size.width, size.height)],
        FrameSizeEnum::Stepwise(range) => SIZES
            .into_iter()
            .filter(|(width, height)| {
                (range.min_width..=range.max_width).contains(width)
                    && (range.min_height..=range.max_height).contains(height)
            })
            .collect(),
    };
    sizes.into_iter().flat_map(|size| of(size.size)).collect()
}

/// Whole frame rates; others the library can't read back.
fn rates(device: &Device, fourcc: FourCC, width: u32, height: u32) -> Vec<u32> {
    let intervals = device.enum_frameintervals(fourcc, width, height).unwrap_or_default();
    let rates: Vec<_> = intervals
        .into_iter()
        .filter_map(|interval| match interval.interval {
            FrameIntervalEnum::Discrete(interval) => whole_fps(interval),
            FrameIntervalEnum::Stepwise(_) => Some(choice::FPS),
        })
        .collect();
    // Virtual cameras tell none.
    if rates.is_empty() { vec![choice::FPS] } else { rates }
}

/// The frame rate of an interval that the library can read back.
fn whole_fps(interval: Fraction) -> Option<u32> {
    (interval.numerator == 1).then_some(interval.denominator)
}

/// How V4L2 writes the library's formats, and the library looks for them.
fn four_cc(format: FrameFormat) -> FourCC {
    FourCC::new(match format {
        FrameFormat::MJPEG => b"MJPG",
        FrameFormat::YUYV => b"YUYV",
        FrameFormat::NV12 => b"NV12",
        FrameFormat::GRAY => b"GRAY",
        FrameFormat::RAWRGB => b"RGB3",
        FrameFormat::RAWBGR => b"BGR3",
    })
}
