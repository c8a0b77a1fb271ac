//! Which sound devices there are, and how they are opened.

use cpal::{
    BufferSize, Device, ErrorKind, Host, HostId, SampleFormat, StreamConfig, SupportedStreamConfigRange,
    traits::{DeviceTrait, HostTrait},
};

use super::Direction;
#[cfg(target_os = "linux")]
use super::cookie;
use crate::{
    Problem,
    audio::{Failure, SAMPLE_RATE},
};

/// The sound system of this machine. Never the one of a machine without sound: the ALSA library would write pages of
/// complaints to stderr.
pub(crate) fn host() -> Result<Host, Failure> {
    #[cfg(target_os = "linux")]
    {
        let refusal = match sound_server() {
            Ok(host) => return Ok(host),
            Err(refusal) => refusal,
        };
        let cards = std::fs::read_to_string("/proc/asound/cards").unwrap_or_default();
        if !cards.lines().any(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit())) {
            return Err(Failure::new(Problem::Missing, format!("{refusal}, and there is no sound card")));
        }
        cpal::host_from_id(HostId::Alsa).map_err(Failure::from)
    }
    #[cfg(not(target_os = "linux"))]
    Ok(cpal::default_host())
}

/// PulseAudio, or PipeWire in its place. Otherwise why not, in words.
#[cfg(target_os = "linux")]
fn sound_server() -> Result<Host, String> {
    if !cpal::available_hosts().contains(&HostId::PulseAudio) {
        return Err("no sound server runs".into());
    }
    let without_cookie = cookie::make_sure().err();
    cpal::host_from_id(HostId::PulseAudio).map_err(|refusal| match without_cookie {
        Some(error) => format!("the sound server lets nobody in without a cookie, which can't be written ({error})"),
        None => format!("the sound server does not answer ({refusal})"),
    })
}

/// Whether this system moves a stream to another device without a word, when the default changes or the chosen device
/// is unplugged: to what the loudspeaker plays, of all things, when no other microphone is left.
pub(super) fn moves_streams(host: &Host) -> bool {
    #[cfg(target_os = "linux")]
    return host.id() == HostId::PulseAudio;
    #[cfg(not(target_os = "linux"))]
    return {
        let _ = host;
        false
    };
}

pub(super) fn find(host: &Host, direction: Direction, wanted: Option<&str>) -> Result<Device, Failure> {
    let missing = |words: &str| Failure::new(Problem::Missing, words);
    match wanted {
        None => {
            let device = direction.default_device(host).ok_or_else(|| missing("there is no default device"))?;
            if direction == Direction::Input && hears_the_speaker(host, &device) {
                return Err(missing("the only input is what the loudspeaker plays"));
            }
            Ok(device)
        }
        Some(id) => {
            let parsed = id.parse().map_err(|error: cpal::Error| missing(&error.to_string()))?;
            host.device_by_id(&parsed).ok_or_else(|| missing(&format!("there is no device {id}")))
        }
    }
}

/// With no microphone, PulseAudio's default input is the default loudspeaker's monitor: the far end would hear itself.
fn hears_the_speaker(host: &Host, microphone: &Device) -> bool {
    let name = |device: &Device| device.id().map(|id| id.id().to_owned()).unwrap_or_default();
    host.default_output_device().is_some_and(|speaker| name(microphone) == format!("{}.monitor", name(&speaker)))
}

/// The same device, and not unplugged in between.
pub(super) fn same(a: &Device, b: &Device) -> bool {
    matches!((a.id(), b.id()), (Ok(a), Ok(b)) if a == b) && number(a) == number(b)
}

/// The number that PulseAudio gave the device when it was plugged in. A stream stays with whatever it was moved to when
/// the device was unplugged, even if one of the same name is plugged in at once. The library compares names alone and
/// tells the number in its debug output only.
#[cfg(target_os = "linux")]
fn number(device: &Device) -> Option<u32> {
    let cpal::platform::DeviceInner::PulseAudio(device) = device.as_inner() else { return None };
    number_in(&format!("{device:?}"))
}

#[cfg(not(target_os = "linux"))]
const fn number(_: &Device) -> Option<u32> {
    None
}

#[cfg(target_os = "linux")]
fn number_in(debug_output: &str) -> Option<u32> {
    let (_, info) = debug_output.split_once("Info { index: ")?;
    info.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// 48 kHz where the device can, its own rate otherwise; floats where it can.
pub(super) fn config_for(device: &Device, direction: Direction) -> Result<(StreamConfig, SampleFormat), Failure> {
    let (default, ranges): (_, Vec<SupportedStreamConfigRange>) = match direction {
        Direction::Input => (device.default_input_config()?, device.supported_input_configs()?.collect()),
        Direction::Output => (device.default_output_config()?, device.supported_output_configs()?.collect()),
    };
    let fits = |range: &&SupportedStreamConfigRange| {
        range.channels() == default.channels()
            && (range.min_sample_rate()..=range.max_sample_rate()).contains(&SAMPLE_RATE)
    };
    let with = |format| ranges.iter().filter(fits).find(|range| range.sample_format() == format);
    let (rate, format) = if with(SampleFormat::F32).is_some() {
        (SAMPLE_RATE, SampleFormat::F32)
    } else if with(default.sample_format()).is_some() {
        (SAMPLE_RATE, default.sample_format())
    } else {
        (default.sample_rate(), default.sample_format())
    };
    let config = StreamConfig { channels: default.channels(), sample_rate: rate, buffer_size: BufferSize::Default };
    Ok((config, format))
}

impl From<cpal::Error> for Failure {
    fn from(error: cpal::Error) -> Self {
        let problem = match error.kind() {
            ErrorKind::DeviceBusy => Problem::Busy,
            ErrorKind::PermissionDenied => Problem::Denied,
            ErrorKind::DeviceNotAvailable | ErrorKind::HostUnavailable => Problem::Missing,
            ErrorKind::StreamInvalidated => Problem::Lost,
            _ => Problem::Failed,
        };
        Self::new(problem, error.to_string())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_device_is_found_in_what_the_library_prints() {
        let printed = r#"Source { client: Client(x), info: SourceInfo { index: 17, name: "mic", owner: Some(4) } }"#;
        assert_eq!(number_in(printed), Some(17));
        assert_eq!(number_in("Source { info: 17 }"), None);
    }
}
