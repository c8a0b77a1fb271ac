//! What there is to choose from.

use cpal::{
    Host,
    traits::{DeviceTrait, HostTrait},
};

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
    host().ok().and_then(|host| list_of(&host, direction)).unwrap_or_default()
}

/// Lists again and again, over one connection to the sound system.
#[derive(Default)]
pub(crate) struct SoundLister {
    host: Option<Host>,
}

impl SoundLister {
    /// Microphones and loudspeakers; `None` when the sound system does not answer.
    pub(crate) fn list(&mut self) -> Option<(Vec<Device>, Vec<Device>)> {
        let host = match self.host.take() {
            Some(host) => host,
            None => host().ok()?,
        };
        let listed = (list_of(&host, Direction::Input)?, list_of(&host, Direction::Output)?);
        self.host = Some(host);
        Some(listed)
    }
}

fn list_of(host: &Host, direction: Direction) -> Option<Vec<Device>> {
    let default = direction.default_device(host).and_then(|device| device.id().ok());
    let mut found: Vec<_> = host
        .devices()
        .ok()?
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
    Some(found.into_iter().map(|(id, name)| Device { id: id.to_string(), name }).collect())
}
