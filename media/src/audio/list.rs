//! What there is to choose from.

use cpal::traits::{DeviceTrait, HostTrait};

use super::device::{Direction, host};
use crate::Device;

/// Microphones, the default one first. Asks the sound system, which may take a while: not for a UI thread.
pub fn microphones() -> Vec<Device> {
    list(Direction::Input)
}

/// Loudspeakers, the default one first. Asks the sound system, which may take a while: not for a UI thread.
pub fn speakers() -> Vec<Device> {
    list(Direction::Output)
}

fn list(direction: Direction) -> Vec<Device> {
    let Ok(host) = host() else { return Vec::new() };
    let default = direction.default_device(&host).and_then(|device| device.id().ok());
    let Ok(devices) = host.devices() else { return Vec::new() };
    let mut found: Vec<_> = devices
        .filter(|device| match direction {
            Direction::Input => device.supports_input(),
            Direction::Output => device.supports_output(),
        })
        .filter_map(|device| Some((device.id().ok()?, device.description().ok()?.name().to_owned())))
        // What a loudspeaker plays is no microphone.
        .filter(|(id, _)| direction == Direction::Output || !id.id().ends_with(".monitor"))
        .collect();
    // `false` sorts first: the default device.
    found.sort_by_key(|(id, _)| Some(id) != default.as_ref());
    found.into_iter().map(|(id, name)| Device { id: id.to_string(), name }).collect()
}
