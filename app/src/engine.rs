//! The one loop: what people, the network, media and time put in, and what comes out.
//!
//! The window and the headless app drive it alike: [`Command`]s down, a [`Snapshot`] and [`Notice`]s up. The loop owns
//! the [`CallMachine`] and carries out its effects; it decides nothing about calls itself, and it never awaits slow
//! work: sessions close, devices are listed and settings are written in a [`JoinSet`], whose results are inputs.

mod command;
mod config;
mod link;
mod media;
mod notice;
mod people;
mod quality;
mod settings_writer;
mod snapshot;

use std::{
    future::pending,
    sync::Arc,
    time::{Instant, SystemTime},
};

use parlor_media::{
    FrameReceiver, FrameSender, SessionEvent, VideoSource,
    audio::{self, Tone, Tones},
    frame_slot,
};
use parlor_net::{CallId, EventReceiver, OfflineReason, PeerId, Profile, Status};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
};
use tracing::{debug, error, info, warn};

pub use command::Command;
pub use config::{EngineConfig, Overrides, Wakes};
pub use link::EngineLink;
pub use notice::{EndReason, Notice};
pub use snapshot::{ActiveCall, CallView, Device, Devices, Me, PersonView, Quality, Sending, Snapshot};

use self::{media::ActiveMedia, people::People, settings_writer::SettingsWriter};
use crate::{
    call::{CallMachine, CallNotice, Effect, Input, Progress, State},
    name::validate_name,
    settings::Settings,
};

const MAX_COMMANDS: usize = 64;
const MAX_NOTICES: usize = 256;

/// Starts an engine on the current tokio runtime. The task ends after [`Command::Quit`], or when every sender of
/// commands is gone; by then the call is ended, devices are closed and goodbyes are said.
pub fn spawn(config: EngineConfig, wakes: Wakes) -> (EngineLink, JoinHandle<()>) {
    let (commands_in, commands) = mpsc::channel(MAX_COMMANDS);
    let (notices, notices_out) = mpsc::channel(MAX_NOTICES);
    let (preview, preview_out) = slot(&wakes.preview);
    let (remote, remote_out) = slot(&wakes.remote);

    let me = config.keypair.public().to_peer_id();
    let settings_writer = SettingsWriter::new(config.settings_file.clone());
    let mut machine = CallMachine::new(me);
    machine.set_takes_calls(!config.always_busy);
    let mut engine = Engine {
        me,
        settings: config.settings.clone(),
        machine,
        net: None,
        people: People::default(),
        media: ActiveMedia::none(),
        slots: Slots { preview, remote },
        devices: Devices::default(),
        accepted: None,
        connected_since: SystemTime::UNIX_EPOCH,
        tones: None,
        sounding: None,
        work: JoinSet::new(),
        settings_writer,
        notices,
        news: Vec::new(),
        wakes,
        config,
    };
    let (snapshot, snapshot_out) = watch::channel(Arc::new(engine.make_snapshot()));
    let link = EngineLink {
        commands: commands_in,
        snapshot: snapshot_out,
        notices: notices_out,
        preview: preview_out,
        remote: remote_out,
    };
    let task = tokio::spawn(async move { engine.run(commands, snapshot).await });
    (link, task)
}

fn slot(wake: &Arc<dyn Fn() + Send + Sync>) -> (FrameSender, FrameReceiver) {
    let wake = Arc::clone(wake);
    frame_slot(move || wake())
}

struct Engine {
    me: PeerId,
    config: EngineConfig,
    settings: Settings,
    machine: CallMachine,
    /// `None` until there is a name to announce, or when the network could not start.
    net: Option<(parlor_net::Handle, EventReceiver)>,
    people: People,
    media: ActiveMedia,
    slots: Slots,
    devices: Devices,
    /// The call that was accepted last, and when: set-up times count from here.
    accepted: Option<(CallId, Instant)>,
    /// When the media of the newest call first came up.
    connected_since: SystemTime,
    tones: Option<Tones>,
    /// The tone that plays until the state changes.
    sounding: Option<Tone>,
    work: JoinSet<Done>,
    settings_writer: SettingsWriter,
    notices: mpsc::Sender<Notice>,
    /// What happened since the last snapshot.
    news: Vec<Notice>,
    wakes: Wakes,
}

struct Slots {
    preview: FrameSender,
    remote: FrameSender,
}

/// Slow work that is done.
enum Done {
    SessionClosed { call: CallId, asked: Instant },
    DevicesListed(Devices),
    SettingsSaved(Result<(), String>),
}

impl Engine {
    async fn run(&mut self, mut commands: mpsc::Receiver<Command>, snapshot: watch::Sender<Arc<Snapshot>>) {
        for notice in std::mem::take(&mut self.config.notices) {
            self.notify(notice);
        }
        self.start_network();
        self.list_devices();
        loop {
            self.settle();
            self.publish(&snapshot);

            let deadline = self.machine.poll_timeout();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Quit) | None => break,
                    Some(command) => self.on_command(command),
                },
                event = next_net_event(&mut self.net) => match event {
                    Some(event) => self.on_net_event(event),
                    None => self.on_network_stopped(),
                },
                Some((call, event)) = self.media.next_event() => self.on_media_event(call, event),
                Some(done) = self.work.join_next() => self.on_done(done),
                () = sleep_until(deadline) => self.machine.handle_timeout(now()),
            }
        }
        self.shut_down().await;
        self.publish(&snapshot);
    }

    async fn shut_down(&mut self) {
        info!("quitting");
        self.machine.handle(now(), Input::Shutdown);
        self.settle();
        self.tones = None;
        if let Some((net, _)) = self.net.take() {
            net.shutdown().await;
        }
        while let Some(done) = self.work.join_next().await {
            self.on_done(done);
        }
    }

    fn on_command(&mut self, command: Command) {
        debug!(?command, "command");
        let input = match command {
            Command::SetName(name) => return self.set_name(&name),
            Command::SetSettings(settings) => return self.set_settings(*settings),
            Command::RefreshDevices => return self.list_devices(),
            Command::Quit => return,
            Command::Call { peer, kind } => {
                let Some(my_name) = self.settings.name.clone() else { return };
                let name = self.people.name_of(peer);
                let call = CallId::from_bits(rand::random());
                self.machine.handle(now(), Input::Call { call, peer, name, my_name, kind });
                return self.say_that_there_is_no_camera();
            }
            Command::Accept => {
                self.say_that_there_is_no_camera();
                Input::Accept
            }
            Command::Decline => Input::Decline,
            Command::HangUp => Input::HangUp,
            Command::SetCamera(on) => Input::SetCamera(on),
            Command::SetMicrophone(on) => Input::SetMicrophone(on),
        };
        self.machine.handle(now(), input);
    }

    /// Who chose to have no camera sends no picture; the other side is told, and shows a name.
    fn say_that_there_is_no_camera(&mut self) {
        if *self.camera() == VideoSource::None {
            self.machine.handle(now(), Input::SetCamera(false));
        }
    }

    fn set_name(&mut self, name: &str) {
        match validate_name(name) {
            Ok(name) => self.set_settings(Settings { name: Some(name), ..self.settings.clone() }),
            Err(error) => warn!(%error, "a name was refused"),
        }
    }

    fn set_settings(&mut self, settings: Settings) {
        let renamed = settings.name != self.settings.name;
        let speaker_changed = settings.speaker != self.settings.speaker;
        self.settings = settings;
        self.settings_writer.save(&self.settings, &mut self.work);
        if speaker_changed {
            self.tones = None;
            self.sounding = None;
        }
        if renamed {
            match &self.net {
                Some(_) => self.announce(),
                None => self.start_network(),
            }
        }
    }

    /// Nobody is announced without a name.
    fn profile(&self) -> Option<Profile> {
        let name = self.settings.name.clone()?;
        let status = if self.machine.is_free() && !self.config.always_busy { Status::Free } else { Status::InCall };
        Some(Profile { name, status })
    }

    fn announce(&self) {
        if let (Some((net, _)), Some(profile)) = (&self.net, self.profile()) {
            net.set_profile(profile);
        }
    }

    fn start_network(&mut self) {
        let Some(profile) = self.profile() else { return };
        let started = parlor_net::spawn(parlor_net::Config {
            keypair: self.config.keypair.clone(),
            profile,
            lan: self.config.lan,
            listen: self.config.listen.clone(),
            circle: parlor_net::Circle::default(),
        });
        match started {
            Ok((net, events)) => {
                for address in &self.config.dial {
                    net.dial(address.clone());
                }
                self.net = Some((net, events));
            }
            Err(error) => {
                error!(%error, "the network did not start");
                self.notify(Notice::Network(error.to_string()));
            }
        }
    }

    fn on_net_event(&mut self, event: parlor_net::Event) {
        use parlor_net::Event;
        match event {
            Event::Listening { address } => {
                if let Some(listen) = self.people.listening(address) {
                    self.notify(Notice::Ready { listen });
                }
            }
            Event::PeerOnline(person) => {
                let (peer, via) = (person.peer, person.via);
                self.people.put(person);
                self.notify(Notice::PeerOnline { peer, name: self.people.name_of(peer), via });
                self.machine.handle(now(), Input::PeerOnline { peer });
            }
            Event::PeerChanged(person) => self.people.put(person),
            Event::PeerOffline { peer, reason } => self.on_peer_offline(peer, reason),
            Event::Signal { peer, call, body } => self.machine.handle(now(), Input::Signal { peer, call, body }),
            Event::Node(_) | Event::IceServers(_) | Event::NetworkChanged => {}
            Event::SignalFailed { peer, call, error } => {
                info!(%peer, %call, error, "signalling failed");
                self.machine.handle(now(), Input::SignalFailed { peer, call });
            }
        }
    }

    fn on_peer_offline(&mut self, peer: PeerId, reason: OfflineReason) {
        let name = self.people.name_of(peer);
        if self.people.remove(peer) {
            self.notify(Notice::PeerOffline { peer, name, reason });
        }
        self.machine.handle(now(), Input::PeerOffline { peer, reason });
    }

    fn on_network_stopped(&mut self) {
        error!("the network stopped");
        self.net = None;
        self.notify(Notice::Network("the network stopped; restart Parlor".to_owned()));
        for peer in self.people.clear() {
            self.machine.handle(now(), Input::PeerOffline { peer, reason: OfflineReason::Lost });
        }
    }

    fn on_media_event(&mut self, call: CallId, event: SessionEvent) {
        match event {
            SessionEvent::FirstVideoFrame => {
                let since_accept_ms = self.since_accept_ms(call);
                self.notify(Notice::FirstVideoFrame { call, since_accept_ms });
            }
            SessionEvent::FirstAudio => {
                let since_accept_ms = self.since_accept_ms(call);
                self.notify(Notice::FirstAudio { call, since_accept_ms });
            }
            SessionEvent::Device(problem) => {
                warn!(%call, ?problem, "device");
                self.notify(Notice::Device(problem));
            }
            SessionEvent::Stats(stats) => self.media.stats = stats,
            event => {
                if let Some(event) = media::to_machine(event) {
                    self.machine.handle(now(), Input::Media { call, event });
                }
            }
        }
    }

    fn since_accept_ms(&self, call: CallId) -> u64 {
        match self.accepted {
            Some((accepted, at)) if accepted == call => millis_since(at),
            Some(_) | None => 0,
        }
    }

    fn on_done(&mut self, done: Result<Done, tokio::task::JoinError>) {
        match done {
            Ok(Done::SessionClosed { call, asked }) => {
                self.notify(Notice::DevicesClosed { call, after_ms: millis_since(asked) });
            }
            Ok(Done::DevicesListed(devices)) => self.devices = devices,
            Ok(Done::SettingsSaved(result)) => {
                if let Err(error) = result {
                    warn!(error, "settings were not saved");
                    self.notify(Notice::Storage(error));
                }
                self.settings_writer.done(&self.settings, &mut self.work);
            }
            Err(panic) => {
                error!(%panic, "background work panicked");
                self.notify(Notice::Storage(format!("internal error: {panic}")));
            }
        }
    }

    fn list_devices(&mut self) {
        self.work.spawn_blocking(|| {
            Done::DevicesListed(Devices {
                cameras: parlor_media::cameras(),
                microphones: audio::microphones(),
                speakers: audio::speakers(),
            })
        });
    }

    /// Carries out everything that the machine wants done.
    fn settle(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::Send { peer, call, body } => match &self.net {
                    Some((net, _)) => net.send(peer, call, body),
                    None => self.machine.handle(now(), Input::SignalFailed { peer, call }),
                },
                Effect::CloseSignal { peer, call } => {
                    if let Some((net, _)) = &self.net {
                        net.close_call(peer, call);
                    }
                }
                Effect::Media { call, command } => self.on_media_command(call, command),
                Effect::StatusChanged(_) => self.announce(),
                Effect::Notice(notice) => self.on_call_notice(notice),
            }
        }
        self.sound();
    }

    fn on_call_notice(&mut self, notice: CallNotice) {
        match &notice {
            CallNotice::Accepted { call, .. } => self.accepted = Some((*call, now())),
            CallNotice::Connected { .. } => self.connected_since = wall_clock(),
            CallNotice::Ended { reason: EndReason::Busy, .. } => self.play_once(Tone::Busy),
            CallNotice::Ended { .. } => self.play_once(Tone::Ended),
            CallNotice::Inviting { .. }
            | CallNotice::RingingThere { .. }
            | CallNotice::Incoming { .. }
            | CallNotice::Reconnecting { .. }
            | CallNotice::Reconnected { .. }
            | CallNotice::MissedWhileBusy { .. } => {}
        }
        self.notify(notice.into());
    }

    /// Plays what the state calls for, until the state changes.
    fn sound(&mut self) {
        let wanted = match self.machine.state() {
            State::Ringing(_) => Some(Tone::Ring),
            State::Inviting(inviting) => {
                matches!(inviting.progress, Progress::RingingThere { .. }).then_some(Tone::Ringback)
            }
            State::Idle
            | State::Answering(_)
            | State::Negotiating(_)
            | State::Connected(_)
            | State::Reconnecting(_) => None,
        };
        if wanted == self.sounding || !self.config.tones {
            return;
        }
        self.sounding = wanted;
        match wanted {
            Some(tone) => self.tones().play(tone),
            None => self.tones().stop(),
        }
    }

    fn play_once(&mut self, tone: Tone) {
        if self.config.tones {
            self.sounding = None;
            self.tones().play(tone);
        }
    }

    fn tones(&mut self) -> &Tones {
        let speaker = self.config.overrides.speaker.as_ref().unwrap_or(&self.settings.speaker);
        self.tones.get_or_insert_with(|| Tones::open(speaker))
    }

    fn notify(&mut self, notice: Notice) {
        self.news.push(notice);
    }

    /// What is, before what happened: whoever hears of somebody also finds them.
    fn publish(&mut self, snapshot: &watch::Sender<Arc<Snapshot>>) {
        let new = self.make_snapshot();
        let changed = snapshot.send_if_modified(|current| {
            let changed = **current != new;
            if changed {
                *current = Arc::new(new);
            }
            changed
        });
        let has_news = !self.news.is_empty();
        for notice in self.news.drain(..) {
            if let Err(error) = self.notices.try_send(notice) {
                debug!(%error, "nobody reads the news");
            }
        }
        if changed || has_news {
            (self.wakes.changed)();
        }
    }

    fn make_snapshot(&self) -> Snapshot {
        Snapshot {
            me: Me { peer: self.me, name: self.settings.name.clone(), online: self.people.is_ready() },
            people: self.people.view(self.settings.name.as_deref()),
            call: snapshot::call_view(self.machine.state(), self.connected_since, &self.media.stats),
            devices: self.devices.clone(),
            settings: self.settings.clone(),
        }
    }
}

async fn next_net_event(net: &mut Option<(parlor_net::Handle, EventReceiver)>) -> Option<parlor_net::Event> {
    match net {
        Some((_, events)) => events.recv().await,
        None => pending().await,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

#[expect(clippy::disallowed_methods, reason = "the engine's loop is where time comes from")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the engine's loop is where time comes from")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

fn millis_since(earlier: Instant) -> u64 {
    now().saturating_duration_since(earlier).as_millis().try_into().unwrap_or(u64::MAX)
}
