//! Devices as plain data: what there is, and what is chosen.

mod watch;

use serde::Serialize;

pub use self::watch::DeviceWatch;

use crate::{AudioSink, AudioSource, DeviceKind, VideoSource, audio};

/// A device that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// What [`crate::VideoSource::Device`] and its like take; stable over restarts as far as the system allows.
    pub id: String,
    /// What people read.
    pub name: String,
}

/// The devices of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    /// Cameras.
    pub cameras: Vec<Device>,
    /// Microphones, without the monitors of loudspeakers; the default one first.
    pub microphones: Vec<Device>,
    /// Loudspeakers; the default one first.
    pub speakers: Vec<Device>,
}

impl Devices {
    /// Asks the system, which may take a while: not for a UI thread.
    pub fn list() -> Self {
        Self { cameras: crate::cameras(), microphones: audio::microphones(), speakers: audio::speakers() }
    }
}

/// A device, or what stands in for one, that is to be used from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// Where pictures come from.
    Camera(VideoSource),
    /// Where sound comes from.
    Microphone(AudioSource),
    /// Where sound goes.
    Speaker(AudioSink),
}

impl DeviceChoice {
    /// The kind of device.
    pub const fn kind(&self) -> DeviceKind {
        match self {
            Self::Camera(_) => DeviceKind::Camera,
            Self::Microphone(_) => DeviceKind::Microphone,
            Self::Speaker(_) => DeviceKind::Speaker,
        }
    }
}
