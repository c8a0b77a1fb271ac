//! The one loop: what people, the network, media and time put in, and what comes out.
//!
//! The window and the headless app drive it alike: [`Command`]s down, a [`Snapshot`] and [`Notice`]s up. The loop owns
//! the [`CallMachine`] and carries out its effects; it decides nothing about calls itself, and it never awaits slow
//! work: sessions close, devices are listed and settings are written in a [`JoinSet`], whose results are inputs.

mod address_book;
mod candidate_privacy;
mod checkup;
mod circle;
mod command;
mod commands;
mod config;
mod devices;
mod file_writer;
mod history;
mod limit;
mod link;
mod media;
mod network;
mod notice;
mod people;
mod quality;
mod rooms;
mod scanner;
mod screens;
mod snapshot;
mod sound;
mod trial;

use std::{
    collections::BTreeMap,
    future::pending,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use parlor_media::{
    FrameReceiver, FrameSender, ScreenInfo, ScreenProblem, TrialEvent,
    audio::{Tone, Tones},
    frame_slot,
};
use parlor_net::{CallId, EventReceiver, NodeLink, PeerId, Room, signalling::Body};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
};
use tracing::{debug, error, info, warn};

pub use command::Command;
pub use config::{EngineConfig, Overrides, Wakes};
pub use devices::NewDevice;
pub use history::{HISTORY_SECONDS, History, Sample};
pub use limit::{Limit, limit};
pub use link::EngineLink;
pub use notice::{EndReason, Notice};
pub use screens::Screens;
pub use snapshot::{
    ActiveCall, CallView, Checkup, Device, Devices, Me, NodeView, PersonView, Presence, Quality, RoomView, Sending,
    Snapshot,
};
pub use trial::{Heard, TrialView};

use self::{
    checkup::CheckupState,
    devices::Plugged,
    file_writer::FileWriter,
    media::ActiveMedia,
    people::People,
    rooms::Rooms,
    scanner::{ScanEvent, Scanner},
    snapshot::Acquaintance,
    trial::ActiveTrial,
};
use crate::{
    call::{CallMachine, CallNotice, Effect, Input},
    contacts::Contacts,
    doctor::Finding,
    room::RoomKey,
    settings::Settings,
};

const MAX_COMMANDS: usize = 64;
const MAX_NOTICES: usize = 256;
/// Addresses that are listened on come one by one; after a pause of this length they are all there.
const ADDRESSES_SETTLE: Duration = Duration::from_millis(30);

/// Starts an engine on the current tokio runtime. The task ends after [`Command::Quit`], or when every sender of
/// commands is gone; by then the call is ended, devices are closed and goodbyes are said.
pub fn spawn(config: EngineConfig, wakes: Wakes) -> (EngineLink, JoinHandle<()>) {
    let (commands_in, commands) = mpsc::channel(MAX_COMMANDS);
    let (notices, notices_out) = mpsc::channel(MAX_NOTICES);
    let (preview, preview_out) = slot(&wakes.preview);
    let (remote, remote_out) = slot(&wakes.remote);
    let (screen, screen_out) = slot(&wakes.screen);

    let me = config.keypair.public().to_peer_id();
    let settings_writer = FileWriter::new(config.settings_file.clone(), Settings::save, Done::SettingsSaved);
    let contacts_writer = FileWriter::new(config.contacts_file.clone(), Contacts::save, Done::ContactsSaved);
    let mut machine = CallMachine::new(me);
    machine.set_takes_calls(!config.always_busy);
    let mut engine = Engine {
        me,
        settings: config.settings.clone(),
        contacts: config.contacts.clone(),
        machine,
        net: None,
        people: People::default(),
        people_view: Vec::new(),
        people_changed: true,
        ready_at: None,
        nodes: BTreeMap::new(),
        rooms: Rooms::default(),
        ice_servers: Vec::new(),
        scanner: None,
        media: ActiveMedia::none(),
        slots: Slots { preview, remote, screen },
        screens: Screens::default(),
        plugged: Plugged::default(),
        trial: None,
        checkup: CheckupState::default(),
        accepted: None,
        connected_since: SystemTime::UNIX_EPOCH,
        tones: None,
        sounding: None,
        work: JoinSet::new(),
        settings_writer,
        contacts_writer,
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
        screen: screen_out,
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
    contacts: Contacts,
    machine: CallMachine,
    /// `None` until there is a name to announce, or when the network could not start.
    net: Option<(parlor_net::Handle, EventReceiver)>,
    people: People,
    /// What the snapshot says of people, made anew when [`Self::people_changed`].
    people_view: Vec<PersonView>,
    people_changed: bool,
    /// When the first addresses have settled and the network is said to be ready.
    ready_at: Option<Instant>,
    /// What the network said of the nodes.
    nodes: BTreeMap<PeerId, NodeLink>,
    rooms: Rooms,
    /// What the nodes offer for the media of calls.
    ice_servers: Vec<parlor_media::IceServer>,
    /// Open while the person holds a code up to the camera.
    scanner: Option<Scanner>,
    media: ActiveMedia,
    slots: Slots,
    plugged: Plugged,
    screens: Screens,
    /// Open while the person tries camera and sound.
    trial: Option<ActiveTrial>,
    checkup: CheckupState,
    /// The call that was accepted last, and when: set-up times count from here.
    accepted: Option<(CallId, Instant)>,
    /// When the media of the newest call first came up.
    connected_since: SystemTime,
    tones: Option<Tones>,
    /// The tone that plays until the state changes.
    sounding: Option<Tone>,
    work: JoinSet<Done>,
    settings_writer: FileWriter<Settings>,
    contacts_writer: FileWriter<Contacts>,
    notices: mpsc::Sender<Notice>,
    /// What happened since the last snapshot.
    news: Vec<Notice>,
    wakes: Wakes,
}

struct Slots {
    preview: FrameSender,
    remote: FrameSender,
    screen: FrameSender,
}

/// Slow work that is done.
enum Done {
    SessionClosed {
        call: CallId,
        asked: Instant,
    },
    DevicesListed(Devices),
    ScreensListed(Result<Arc<[ScreenInfo]>, ScreenProblem>),
    TrialClosed {
        after_ms: u64,
    },
    Checked(Vec<Finding>),
    SettingsSaved(Result<(), String>),
    ContactsSaved(Result<(), String>),
    RoomDerived(RoomKey, Box<Room>),
    ScannerClosed,
    /// The desktop was told about `parlor:` links, or could not be.
    UrlHandlerApplied,
}

impl Engine {
    async fn run(&mut self, mut commands: mpsc::Receiver<Command>, snapshot: watch::Sender<Arc<Snapshot>>) {
        for notice in std::mem::take(&mut self.config.notices) {
            self.notify(notice);
        }
        self.start_network();
        if self.config.watch_devices {
            self.plugged.watch();
        } else {
            self.list_devices();
        }
        self.apply_url_handler();
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
                Some(event) = next_scan(&mut self.scanner) => self.on_scan(event),
                Some(event) = next_of_trial(&mut self.trial) => self.on_trial(event),
                Some(devices) = self.plugged.changed() => self.on_devices(devices),
                () = sleep_until(self.ready_at) => self.say_ready(),
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
        self.stop_scanning();
        self.stop_trial();
        self.checkup.abort();
        self.tones = None;
        if let Some((net, _)) = self.net.take() {
            net.shutdown().await;
        }
        while let Some(done) = self.work.join_next().await {
            self.on_done(done);
        }
    }

    fn on_done(&mut self, done: Result<Done, tokio::task::JoinError>) {
        match done {
            Ok(Done::SessionClosed { call, asked }) => {
                self.notify(Notice::DevicesClosed { call, after_ms: millis_since(asked) });
            }
            Ok(Done::DevicesListed(devices)) => self.on_devices(devices),
            Ok(Done::ScreensListed(found)) => self.on_screens(found),
            Ok(Done::TrialClosed { after_ms }) => debug!(after_ms, "the trial's devices are closed"),
            Ok(Done::Checked(findings)) => self.checkup = CheckupState::Done(findings.into()),
            Ok(Done::SettingsSaved(result)) => {
                self.tell_unsaved(result);
                self.settings_writer.written(&self.settings, &mut self.work);
            }
            Ok(Done::ContactsSaved(result)) => {
                self.tell_unsaved(result);
                self.contacts_writer.written(&self.contacts, &mut self.work);
            }
            Ok(Done::RoomDerived(key, room)) => {
                self.rooms.derived(key, *room);
                self.renew_circle();
            }
            Ok(Done::ScannerClosed | Done::UrlHandlerApplied) => {}
            // Nobody waits for it any more.
            Err(error) if error.is_cancelled() => {}
            Err(panic) => {
                error!(%panic, "background work panicked");
                self.notify(Notice::Storage(format!("internal error: {panic}")));
            }
        }
    }

    fn tell_unsaved(&mut self, result: Result<(), String>) {
        if let Err(error) = result {
            warn!(error, "a file was not saved");
            self.notify(Notice::Storage(error));
        }
    }

    /// Carries out everything that the machine wants done.
    fn settle(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::Send { peer, call, body } => match (&self.net, body) {
                    (Some(_), Body::Candidate { candidate }) => self.our_candidate(call, candidate),
                    (Some((net, _)), body) => net.send(peer, call, body),
                    (None, _) => self.machine.handle(now(), Input::SignalFailed { peer, call }),
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
        if let Some((net, _)) = &self.net {
            net.vouch_for(self.machine.heard());
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
            | CallNotice::TheirScreen { .. }
            | CallNotice::Reconnecting { .. }
            | CallNotice::Reconnected { .. }
            | CallNotice::MissedWhileBusy { .. } => {}
        }
        let mut notice = Notice::from(notice);
        match &mut notice {
            Notice::Incoming { peer, name, .. }
            | Notice::Ended { peer, name, .. }
            | Notice::MissedWhileBusy { peer, name } => *name = self.known_as(*peer, std::mem::take(name)),
            _ => {}
        }
        self.notify(notice);
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

    fn make_snapshot(&mut self) -> Snapshot {
        if std::mem::take(&mut self.people_changed) {
            self.people_view = self.people.view(self.settings.name.as_deref(), &self.contacts);
        }
        let acquaintance = |call: &crate::call::Call| Acquaintance {
            borrows_name: self.contacts.borrowed_name(&call.peer, &call.name).is_some(),
            name: self.known_as(call.peer, call.name.clone()),
        };
        Snapshot {
            me: Me { peer: self.me, name: self.settings.name.clone(), online: self.people.is_ready() },
            people: self.people_view.clone(),
            nodes: self.node_views(),
            rooms: self.room_views(),
            blocked: self.contacts.blocked().map(|(peer, contact)| (peer, contact.shown_name().to_owned())).collect(),
            scanning: self.scanner.is_some(),
            call: snapshot::call_view(self.machine.state(), self.connected_since, &self.media, acquaintance),
            devices: self.plugged.devices.clone(),
            new_devices: self.plugged.offered.clone(),
            screens: self.screens.clone(),
            trial: self.trial.as_ref().map(|trial| trial.view.clone()),
            checkup: self.checkup.shown(),
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

async fn next_scan(scanner: &mut Option<Scanner>) -> Option<ScanEvent> {
    match scanner {
        Some(scanner) => scanner.next().await,
        None => pending().await,
    }
}

async fn next_of_trial(trial: &mut Option<ActiveTrial>) -> Option<TrialEvent> {
    match trial {
        Some(trial) => trial.next().await,
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
