//! How a stream is opened, and what it tells whoever keeps it open.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc::SyncSender,
    },
    time::Duration,
};

use cpal::{Device, ErrorKind, Host, SampleFormat, StreamConfig, traits::HostTrait};

use crate::DeviceKind;

/// How long opening a stream may take.
const OPEN_WITHIN: Duration = Duration::from_secs(2);

/// Which way sound flows through a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Input,
    Output,
}

impl Direction {
    pub(crate) fn kind(self) -> DeviceKind {
        match self {
            Self::Input => DeviceKind::Microphone,
            Self::Output => DeviceKind::Speaker,
        }
    }

    pub(crate) fn default_device(self, host: &Host) -> Option<Device> {
        match self {
            Self::Input => host.default_input_device(),
            Self::Output => host.default_output_device(),
        }
    }
}

/// What a stream's callbacks tell the keeper. Cheap enough for a device callback: one relaxed addition.
#[derive(Clone)]
pub(crate) struct Pulse(pub(super) Arc<AtomicU32>);

impl Pulse {
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Which device is to be kept open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// An id, or `None` for whatever the system's default is.
    pub(crate) id: Option<String>,
    /// The default may stand in for it from the first moment on. Otherwise only once it was there: who chooses a device
    /// wants to know that it can't be used.
    pub(crate) may_be_missing: bool,
}

/// How a device is to be opened, and who is told what becomes of it.
pub(crate) struct Opening<'a> {
    pub(crate) device: &'a Device,
    pub(crate) config: StreamConfig,
    pub(crate) format: SampleFormat,
    pub(crate) pulse: Pulse,
    pub(super) notices: SyncSender<Notice>,
    pub(super) generation: u32,
}

impl Opening<'_> {
    pub(crate) const TIMEOUT: Option<Duration> = Some(OPEN_WITHIN);

    /// The stream's error callback.
    pub(crate) fn on_error(&self) -> impl FnMut(cpal::Error) + Send + 'static {
        let (notices, generation, mut told) = (self.notices.clone(), self.generation, false);
        move |error| match error.kind() {
            ErrorKind::Xrun | ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied => {}
            _ if told => {}
            _ => told = notices.try_send(Notice::Failed { generation, detail: error.to_string() }).is_ok(),
        }
    }
}

/// What a keeper's thread is told.
pub(super) enum Notice {
    Stop,
    Failed { generation: u32, detail: String },
}

/// Runs `build::<T>` for the device's sample format.
macro_rules! for_format {
    ($format:expr, $build:ident($($argument:expr),*)) => {
        match $format {
            cpal::SampleFormat::F32 => $build::<f32>($($argument),*),
            cpal::SampleFormat::I16 => $build::<i16>($($argument),*),
            cpal::SampleFormat::I32 => $build::<i32>($($argument),*),
            cpal::SampleFormat::I24 => $build::<cpal::I24>($($argument),*),
            cpal::SampleFormat::U16 => $build::<u16>($($argument),*),
            cpal::SampleFormat::U8 => $build::<u8>($($argument),*),
            cpal::SampleFormat::F64 => $build::<f64>($($argument),*),
            other => Err(cpal::Error::with_message(
                cpal::ErrorKind::UnsupportedConfig,
                format!("samples of the format {other} are not supported"),
            )),
        }
    };
}
pub(crate) use for_format;
