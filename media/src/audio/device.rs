//! A sound device that is kept open: opened on a thread of its own, watched, and opened again when it goes away.
//!
//! The [`Keeper`]'s thread owns the stream and talks to the sound server, which may block. The audio thread never
//! does: it gets its end of a ring when a stream is up, and makes do with silence until then.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use cpal::{
    BufferSize, Device, ErrorKind, Host, HostId, SampleFormat, StreamConfig, SupportedStreamConfigRange,
    traits::{DeviceTrait, HostTrait, StreamTrait},
};

use super::{Failure, SAMPLE_RATE, clock::now};
use crate::{DeviceKind, DeviceProblem, Problem};

/// A device that gives no callback for so long is lost, whatever it says.
const SILENT_FOR: Duration = Duration::from_secs(1);

/// How often a device that is missing is looked for, and whether the default has become another, or the chosen one is
/// gone.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often callbacks are counted.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// How long opening a stream may take.
const OPEN_WITHIN: Duration = Duration::from_secs(2);

/// How long closing may take before it is left to a thread of its own: the client of a sound server that died while a
/// stream was open may never return.
const CLOSE_WITHIN: Duration = Duration::from_millis(300);

/// Which way sound flows through a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Input,
    Output,
}

impl Direction {
    fn kind(self) -> DeviceKind {
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
pub(crate) struct Pulse(Arc<AtomicU32>);

impl Pulse {
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// How a device is to be opened, and who is told what becomes of it.
pub(crate) struct Opening<'a> {
    pub(crate) device: &'a Device,
    pub(crate) config: StreamConfig,
    pub(crate) format: SampleFormat,
    pub(crate) pulse: Pulse,
    notices: SyncSender<Notice>,
    generation: u32,
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

enum Notice {
    Stop,
    Failed { generation: u32, detail: String },
}

/// Keeps one device open until it is dropped.
pub(crate) struct Keeper {
    notices: SyncSender<Notice>,
    /// Disconnected when the thread is about to end.
    done: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread. `wanted` is an id, or `None` for whatever the system's default is; `open` builds the stream
    /// and hands the ring to the audio thread. Problems are told once, until the device has worked again.
    pub(crate) fn spawn<O, P>(direction: Direction, wanted: Option<String>, open: O, on_problem: P) -> Self
    where
        O: FnMut(&Opening<'_>) -> Result<cpal::Stream, cpal::Error> + Send + 'static,
        P: Fn(DeviceProblem) + Send + 'static,
    {
        // Each stream sends at most one notice, and the keeper reads between streams.
        let (notices, inbox) = sync_channel(16);
        let (alive, done) = sync_channel(1);
        let to_self = notices.clone();
        let name = match direction {
            Direction::Input => "microphone",
            Direction::Output => "speaker",
        };
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _alive: SyncSender<()> = alive;
                Keeping { direction, wanted, open, on_problem, notices: to_self, inbox, generation: 0 }.run();
            })
            .map_err(|error| tracing::error!(%error, name, "no thread for a sound device"))
            .ok();
        Self { notices, done, thread }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.notices.try_send(Notice::Stop);
        let Some(thread) = self.thread.take() else { return };
        match self.done.recv_timeout(2 * CLOSE_WITHIN) {
            // A panic there was already logged by the panic hook, and the device is gone either way.
            Err(RecvTimeoutError::Disconnected) => drop(thread.join()),
            Ok(()) | Err(RecvTimeoutError::Timeout) => {
                tracing::warn!("a sound server does not answer; its thread is left behind");
            }
        }
    }
}

struct Keeping<O, P> {
    direction: Direction,
    wanted: Option<String>,
    open: O,
    on_problem: P,
    notices: SyncSender<Notice>,
    inbox: Receiver<Notice>,
    generation: u32,
}

/// A stream that is up.
struct Held {
    stream: cpal::Stream,
    host: Host,
    device: Device,
    pulse: Pulse,
}

impl<O, P> Keeping<O, P>
where
    O: FnMut(&Opening<'_>) -> Result<cpal::Stream, cpal::Error>,
    P: Fn(DeviceProblem),
{
    fn run(mut self) {
        let mut told = false;
        loop {
            let wait = match self.open_device() {
                Ok(held) => {
                    let verdict = self.watch(&held);
                    // One that opens and then gives nothing has not worked: it would be told of every second.
                    told &= held.pulse.0.load(Ordering::Relaxed) == 0;
                    dispose(held);
                    match verdict {
                        ControlFlow::Break(()) => return,
                        ControlFlow::Continue(None) => Duration::ZERO,
                        ControlFlow::Continue(Some(detail)) => {
                            self.tell(Failure::new(Problem::Lost, detail), &mut told);
                            // What takes its place may need a moment to become the default.
                            WATCH_EVERY
                        }
                    }
                }
                Err(failure) => {
                    self.tell(failure, &mut told);
                    LOOK_EVERY
                }
            };
            if self.wait(wait).is_break() {
                return;
            }
        }
    }

    fn tell(&self, failure: Failure, told: &mut bool) {
        if !std::mem::replace(told, true) {
            (self.on_problem)(failure.of(self.direction.kind()));
        }
    }

    fn open_device(&mut self) -> Result<Held, Failure> {
        let host = host()?;
        let device = find(&host, self.direction, self.wanted.as_deref())?;
        let pulse = Pulse(Arc::default());
        self.generation += 1;
        let (config, format) = config_for(&device, self.direction)?;
        // Fixed sizes first: left to itself, a sound server may buffer two seconds.
        let ten_ms = config.sample_rate / 100;
        let sizes = [BufferSize::Fixed(ten_ms), BufferSize::Fixed(2 * ten_ms), BufferSize::Default];
        let mut refused = None;
        for buffer_size in sizes {
            let opening = Opening {
                device: &device,
                config: StreamConfig { buffer_size, ..config },
                format,
                pulse: pulse.clone(),
                notices: self.notices.clone(),
                generation: self.generation,
            };
            match (self.open)(&opening) {
                Ok(stream) => {
                    let held = Held { stream, host, device, pulse };
                    return match held.stream.play() {
                        Ok(()) => {
                            tracing::info!(device = %held.device, kind = ?self.direction.kind(), ?config, "opened");
                            Ok(held)
                        }
                        Err(error) => {
                            dispose(held);
                            Err(error.into())
                        }
                    };
                }
                Err(error) if matches!(error.kind(), ErrorKind::UnsupportedConfig | ErrorKind::InvalidInput) => {
                    refused = Some(error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(refused.map_or_else(|| Failure::new(Problem::Failed, "no usable configuration"), Into::into))
    }

    /// Returns when the stream is of no more use: broken off by a stop, or with the reason, `None` when the system's
    /// default has become another device.
    fn watch(&mut self, held: &Held) -> ControlFlow<(), Option<String>> {
        let moves = moves_streams(&held.host);
        let mut look_at = now() + LOOK_EVERY;
        let mut beats = 0;
        // The first callback may take longer: sound servers wake their hardware for it.
        let mut beaten_at = now() + SILENT_FOR;
        loop {
            match self.inbox.recv_timeout(WATCH_EVERY) {
                Ok(Notice::Stop) | Err(RecvTimeoutError::Disconnected) => return ControlFlow::Break(()),
                Ok(Notice::Failed { generation, detail }) if generation == self.generation => {
                    return ControlFlow::Continue(Some(detail));
                }
                Ok(Notice::Failed { .. }) | Err(RecvTimeoutError::Timeout) => {}
            }
            let (now, counted) = (now(), held.pulse.0.load(Ordering::Relaxed));
            if std::mem::replace(&mut beats, counted) != counted {
                beaten_at = now;
            } else if now.saturating_duration_since(beaten_at) >= SILENT_FOR {
                return ControlFlow::Continue(Some("it gave no sign of life for a second".to_owned()));
            }
            if moves && now >= look_at {
                look_at = now + LOOK_EVERY;
                match self.wanted.as_deref() {
                    None => {
                        let default = self.direction.default_device(&held.host);
                        if default.as_ref().is_some_and(|default| !same(default, &held.device)) {
                            return ControlFlow::Continue(None);
                        }
                    }
                    Some(_) => {
                        if let Err(failure) = find(&held.host, self.direction, self.wanted.as_deref()) {
                            return ControlFlow::Continue(Some(failure.detail));
                        }
                    }
                }
            }
        }
    }

    /// Waits, or breaks at a stop.
    fn wait(&self, duration: Duration) -> ControlFlow<()> {
        let until = now() + duration;
        loop {
            match self.inbox.recv_timeout(until.saturating_duration_since(now())) {
                Ok(Notice::Stop) | Err(RecvTimeoutError::Disconnected) => return ControlFlow::Break(()),
                Ok(Notice::Failed { .. }) => {}
                Err(RecvTimeoutError::Timeout) => return ControlFlow::Continue(()),
            }
        }
    }
}

/// Closes a stream on a disposable thread, and waits as long as it takes on a healthy machine.
fn dispose(held: Held) {
    let (alive, closed) = sync_channel::<()>(1);
    let closing = thread::Builder::new().name("sound-close".to_owned()).spawn(move || {
        drop(held);
        drop(alive);
    });
    if closing.is_ok() && closed.recv_timeout(CLOSE_WITHIN) == Err(RecvTimeoutError::Timeout) {
        tracing::warn!("a sound device does not close");
    }
}

/// The sound system of this machine. Never the one of a machine without sound: the ALSA library would write pages of
/// complaints to stderr.
pub(crate) fn host() -> Result<Host, Failure> {
    #[cfg(target_os = "linux")]
    {
        if cpal::available_hosts().contains(&HostId::PulseAudio)
            && let Ok(host) = cpal::host_from_id(HostId::PulseAudio)
        {
            return Ok(host);
        }
        let cards = std::fs::read_to_string("/proc/asound/cards").unwrap_or_default();
        if !cards.lines().any(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit())) {
            return Err(Failure::new(Problem::Missing, "no sound server runs, and there is no sound card"));
        }
        cpal::host_from_id(HostId::Alsa).map_err(Failure::from)
    }
    #[cfg(not(target_os = "linux"))]
    Ok(cpal::default_host())
}

/// Whether this system moves a stream to another device without a word, when the default changes or the chosen device
/// is unplugged: to what the loudspeaker plays, of all things, when no other microphone is left.
fn moves_streams(host: &Host) -> bool {
    #[cfg(target_os = "linux")]
    return host.id() == HostId::PulseAudio;
    #[cfg(not(target_os = "linux"))]
    return {
        let _ = host;
        false
    };
}

fn find(host: &Host, direction: Direction, wanted: Option<&str>) -> Result<Device, Failure> {
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

fn same(a: &Device, b: &Device) -> bool {
    matches!((a.id(), b.id()), (Ok(a), Ok(b)) if a == b)
}

/// 48 kHz where the device can, its own rate otherwise; floats where it can.
fn config_for(device: &Device, direction: Direction) -> Result<(StreamConfig, SampleFormat), Failure> {
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
