//! A sound device that is kept open: opened on a thread of its own, watched, and opened again when it goes away.
//!
//! The [`Keeper`]'s thread owns the stream and talks to the sound server, which may block. The audio thread never
//! does: it gets its end of a ring when a stream is up, and makes do with silence until then. A chosen device that is
//! unplugged is represented by the system's default one until it is back.

#[cfg(target_os = "linux")]
mod cookie;
mod find;
mod opening;
mod outage;

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use cpal::{BufferSize, Device, ErrorKind, Host, StreamConfig, traits::StreamTrait};

use self::{
    find::{config_for, find, moves_streams, same},
    opening::Notice,
    outage::Outage,
};
use super::{Failure, clock::now};
use crate::{DeviceProblem, Problem};

pub(crate) use self::{
    find::host,
    opening::{Direction, Opening, Pulse, Wanted, for_format},
};

/// A device that gives no callback for so long is lost, whatever it says.
const SILENT_FOR: Duration = Duration::from_secs(1);

/// How often callbacks are counted, and the device is compared with the one that ought to be used: one question to the
/// sound server, which would otherwise let us listen to the wrong device for so long.
const WATCH_EVERY: Duration = Duration::from_millis(100);

/// Who is lost sooner after opening was hardly there.
const LASTED: Duration = Duration::from_secs(2);

/// How long closing may take before it is left to a thread of its own: the client of a sound server that died while a
/// stream was open may never return.
const CLOSE_WITHIN: Duration = Duration::from_millis(300);

/// Keeps one device open until it is dropped.
pub(crate) struct Keeper {
    notices: SyncSender<Notice>,
    /// Disconnected when the thread is about to end.
    done: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread. `open` builds the stream and hands the ring to the audio thread. Problems are told once, until
    /// the device has worked again.
    pub(crate) fn spawn<O, P>(direction: Direction, wanted: Wanted, open: O, on_problem: P) -> Self
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
                let notices = to_self;
                Keeping { direction, wanted, open, on_problem, notices, inbox, generation: 0, told: None }.run();
            })
            .map_err(|error| tracing::error!(%error, name, "no thread for a sound device"))
            .ok();
        Self { notices, done, thread }
    }

    /// Asks the thread to close the device, and does not wait for that.
    pub(crate) fn stop(&self) {
        // Full: a stop is among what waits, or the thread is about to read.
        let _ = self.notices.try_send(Notice::Stop);
    }

    /// Whether the device is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.done.try_recv() == Err(TryRecvError::Disconnected)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop();
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
    wanted: Wanted,
    open: O,
    on_problem: P,
    notices: SyncSender<Notice>,
    inbox: Receiver<Notice>,
    generation: u32,
    /// What was said last of a device that has not worked since.
    told: Option<Problem>,
}

/// Why a stream is of no more use.
enum Verdict {
    /// There is another device that ought to be used.
    Other,
    /// It is gone, in the system's words.
    Lost(String),
}

/// A stream that is up.
struct Held {
    stream: cpal::Stream,
    host: Host,
    device: Device,
    pulse: Pulse,
    /// The default one, in the place of the one that is wanted.
    stands_in: bool,
}

impl Held {
    fn works(&self) -> bool {
        self.pulse.0.load(Ordering::Relaxed) > 0
    }
}

impl<O, P> Keeping<O, P>
where
    O: FnMut(&Opening<'_>) -> Result<cpal::Stream, cpal::Error>,
    P: Fn(DeviceProblem),
{
    fn run(mut self) {
        let mut outage: Option<Outage> = None;
        loop {
            let others = self.wanted.may_be_missing && outage.as_ref().is_none_or(|outage| outage.others_may(now()));
            match self.open_device(others) {
                Ok(held) => {
                    self.wanted.may_be_missing = true;
                    if held.stands_in {
                        let failure = Failure::new(Problem::Replaced, format!("{} is used", held.device));
                        self.tell(failure);
                    }
                    let opened = now();
                    let verdict = self.watch(&held);
                    if held.works() && !held.stands_in {
                        self.told = None;
                    }
                    let lasted = held.works() && now().saturating_duration_since(opened) >= LASTED;
                    let works = held.works();
                    dispose(held);
                    match verdict {
                        ControlFlow::Break(()) => return,
                        ControlFlow::Continue(Verdict::Other) => {
                            outage = Some(Outage::new(now(), "it is gone".to_owned()))
                        }
                        ControlFlow::Continue(Verdict::Lost(detail)) => {
                            if !works {
                                self.tell(Failure::new(Problem::Lost, detail.clone()));
                            }
                            outage = outage.filter(|_| !lasted).or_else(|| Some(Outage::new(now(), detail)));
                        }
                    }
                }
                Err(failure) => {
                    let (now, detail) = (now(), failure.detail.clone());
                    match &outage {
                        None => self.tell(failure),
                        Some(outage) if outage.counts(now) => {
                            let failure = Failure::new(Problem::Lost, outage.detail());
                            self.tell(failure);
                        }
                        Some(_) => {}
                    }
                    outage.get_or_insert_with(|| Outage::from_the_start(now, detail));
                }
            }
            let wait = outage.as_ref().map_or(Duration::ZERO, |outage| outage.wait(now()));
            if self.wait(wait).is_break() {
                return;
            }
        }
    }

    /// Says it, unless it is no news.
    fn tell(&mut self, failure: Failure) {
        let gone = |problem| matches!(problem, Problem::Lost | Problem::Missing);
        let known = self.told.is_some_and(|told| told == failure.problem || gone(told) && gone(failure.problem));
        self.told = Some(failure.problem);
        if !known {
            (self.on_problem)(failure.of(self.direction.kind()));
        }
    }

    fn open_device(&mut self, others: bool) -> Result<Held, Failure> {
        let host = host()?;
        let wanted = self.wanted.id.as_deref();
        let (device, stands_in) = match find(&host, self.direction, wanted) {
            Ok(device) => (device, false),
            Err(failure) if wanted.is_none() || !others => return Err(failure),
            Err(failure) => match find(&host, self.direction, None) {
                Ok(device) => (device, true),
                Err(_) => return Err(failure),
            },
        };
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
                    let held = Held { stream, host, device, pulse, stands_in };
                    return match held.stream.play() {
                        Ok(()) => {
                            let kind = self.direction.kind();
                            tracing::info!(device = %held.device, ?kind, stands_in, ?config, "opened");
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

    /// Returns when the stream is of no more use, or broken off by a stop.
    fn watch(&mut self, held: &Held) -> ControlFlow<(), Verdict> {
        let looks = held.stands_in || moves_streams(&held.host);
        let mut beats = 0;
        // The first callback may take longer: sound servers wake their hardware for it.
        let mut beaten_at = now() + SILENT_FOR;
        loop {
            match self.inbox.recv_timeout(WATCH_EVERY) {
                Ok(Notice::Stop) | Err(RecvTimeoutError::Disconnected) => return ControlFlow::Break(()),
                Ok(Notice::Failed { generation, detail }) if generation == self.generation => {
                    return ControlFlow::Continue(Verdict::Lost(detail));
                }
                Ok(Notice::Failed { .. }) | Err(RecvTimeoutError::Timeout) => {}
            }
            let (now, counted) = (now(), held.pulse.0.load(Ordering::Relaxed));
            if std::mem::replace(&mut beats, counted) != counted {
                beaten_at = now;
            } else if now.saturating_duration_since(beaten_at) >= SILENT_FOR {
                return ControlFlow::Continue(Verdict::Lost("it gave no sign of life for a second".to_owned()));
            }
            if looks && let Some(verdict) = self.look(held) {
                return ControlFlow::Continue(verdict);
            }
        }
    }

    /// Compares the device with the one that ought to be used.
    fn look(&self, held: &Held) -> Option<Verdict> {
        let wanted = self.wanted.id.as_deref();
        let found = match (wanted, held.stands_in) {
            (None, _) => self.direction.default_device(&held.host),
            (Some(_), false) => match find(&held.host, self.direction, wanted) {
                Ok(device) => Some(device),
                Err(failure) => return Some(Verdict::Lost(failure.detail)),
            },
            (Some(_), true) => {
                let found = find(&held.host, self.direction, wanted);
                found.ok().or_else(|| self.direction.default_device(&held.host))
            }
        };
        found.filter(|device| !same(device, &held.device)).map(|_| Verdict::Other)
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
