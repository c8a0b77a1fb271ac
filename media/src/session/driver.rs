//! The task of one session: it owns the peer connection, the devices and the pipelines, and carries commands and events
//! between them and whoever drives the session.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc,
    time::{Instant as TokioInstant, Interval, MissedTickBehavior},
};

use super::{
    CameraState, Interfaces, SessionConfig, SessionEvent, Sharing, Stats,
    candidates::Candidates,
    link::Link,
    media::{Media, MediaEvent},
};
use crate::{
    DeviceChoice, Ice, IceServer, ScreenProblem, ScreenSource, clock,
    codec::VideoCodec,
    peer::{Error, Feedback, Incoming, Kind, PayloadTypes, Peer, PeerEvent, PeerOutput, offers_camera},
    rtp::{IncomingPacket, Network},
};

/// A call that does not connect in this time fails, if nobody gave it up before.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);
/// The far end's key frames are large: they are asked for no more often.
const KEY_FRAME_INTERVAL: Duration = Duration::from_millis(250);
/// How often figures are told.
const STATS_INTERVAL: Duration = Duration::from_secs(1);
/// Room for events that is kept free of figures.
const RESERVED_EVENTS: usize = 128;

/// What a session is told to do.
#[derive(Debug)]
pub(super) enum Command {
    CreateOffer,
    AcceptOffer(String),
    AcceptAnswer(String),
    AddCandidate(String),
    RestartIce,
    SetIce(Ice),
    StartPreview,
    Start,
    SetCamera(bool),
    SetMicrophone(bool),
    UseDevice(DeviceChoice),
    Share(ScreenSource),
    StopSharing,
}

/// The task of one session.
pub(super) struct Driver {
    events: mpsc::Sender<SessionEvent>,
    media: Media,
    media_events: mpsc::Receiver<MediaEvent>,
    connection: Option<Connection>,
    candidates: Candidates,
    interfaces: Interfaces,
    ice: Ice,
    with_video: bool,
    /// Screens may be shared: both ends have a codec of pictures, as far as is known.
    with_screen: bool,
    /// The packets of the other's screen, until the first of them.
    screen_incoming: Option<std::sync::mpsc::Receiver<IncomingPacket>>,
    /// Of pictures, the preferred first.
    codecs: &'static [VideoCodec],
    /// Whether the preview runs, or the call.
    activity: Activity,
    link: Link,
    /// A restart of ICE is under way: the path may be another one afterwards.
    restarting: bool,
    camera_state: CameraState,
    /// Of the camera's pictures, and of the screen's.
    key_frame_asked: [Option<Instant>; 2],
    ticks: Interval,
    rates: Rates,
}

/// What the person agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Activity {
    /// Nothing: devices stay closed.
    None,
    /// To see the own picture.
    Preview,
    /// To the call.
    Call,
}

/// The connection, once there is an offer.
struct Connection {
    peer: Peer,
    output: PeerOutput,
    /// By both ends.
    described: bool,
}

impl Driver {
    pub(super) fn new(mut config: SessionConfig, events: mpsc::Sender<SessionEvent>) -> Self {
        let (interfaces, with_video) = (config.interfaces, config.with_video);
        let codecs = config.video_codec.map_or(VideoCodec::BUILT, VideoCodec::alone);
        let ice = std::mem::take(&mut config.ice);
        let (media, media_events) = Media::new(config);
        let mut ticks = tokio::time::interval(STATS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            events,
            media,
            media_events,
            connection: None,
            candidates: Candidates::default(),
            interfaces,
            ice,
            with_video,
            with_screen: true,
            screen_incoming: None,
            codecs,
            activity: Activity::None,
            link: Link::Idle,
            restarting: false,
            camera_state: CameraState::Closed,
            key_frame_asked: [None; 2],
            ticks,
            rates: Rates::default(),
        }
    }
}

/// What wakes the task.
enum Wake {
    Command(Command),
    Peer(PeerEvent),
    Feedback(Feedback),
    Media(MediaEvent),
    DeviceClosed,
    Tick,
    LinkDue,
    /// The session's owner is gone.
    Dropped,
}

impl Driver {
    /// Runs until the owner of `commands` is gone, then closes everything.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            match self.wait(&mut commands).await {
                Wake::Command(command) => self.obey(command).await,
                Wake::Peer(event) => self.on_peer(event).await,
                Wake::Feedback(Feedback::KeyFrameRequest(kind)) => self.media.key_frame_requested(kind),
                Wake::Feedback(Feedback::ScreenComes) => self.receive_screen(),
                Wake::Feedback(Feedback::PictureLost) => self.media.begin_picture_anew(),
                Wake::Feedback(Feedback::Report(kind, report)) => {
                    // Of pictures it says what was lost and not repaired by then; packets' own fates are told otherwise.
                    if self.rates.network.available_bps == 0 && (kind == Kind::Video || !self.with_video) {
                        self.rates.send_loss = report.loss;
                    }
                    self.media.report(kind, report);
                }
                Wake::Feedback(Feedback::Network(network)) => {
                    self.rates.network = network;
                    self.rates.send_loss = network.loss;
                    self.media.adapt(network);
                }
                Wake::Media(event) => self.on_media(event).await,
                Wake::DeviceClosed => {}
                Wake::Tick => self.tell_stats(),
                Wake::LinkDue => self.judge_link().await,
                Wake::Dropped => break,
            }
        }
        self.close().await;
    }

    async fn wait(&mut self, commands: &mut mpsc::Receiver<Command>) -> Wake {
        let link_due = self.link.due();
        tokio::select! {
            biased;
            command = commands.recv() => command.map_or(Wake::Dropped, Wake::Command),
            wake = from_connection(&mut self.connection) => wake,
            Some(event) = self.media_events.recv() => Wake::Media(event),
            () = self.media.camera_closed() => Wake::DeviceClosed,
            () = link_due => Wake::LinkDue,
            _ = self.ticks.tick() => Wake::Tick,
        }
    }

    async fn obey(&mut self, command: Command) {
        tracing::trace!(?command);
        match command {
            Command::CreateOffer => self.create_offer(false).await,
            Command::RestartIce => {
                self.candidates.restarting();
                self.restarting = true;
                self.create_offer(true).await;
            }
            Command::SetIce(ice) => self.set_servers(ice.servers).await,
            Command::AcceptOffer(sdp) => self.accept_offer(sdp).await,
            Command::AcceptAnswer(sdp) => self.accept_answer(sdp).await,
            Command::AddCandidate(json) => {
                if let Some(json) = self.candidates.offer(json) {
                    self.add_candidate(&json).await;
                }
            }
            Command::StartPreview => {
                self.activity = self.activity.max(Activity::Preview);
                if self.with_video {
                    self.media.open_camera();
                }
            }
            Command::Start => {
                self.activity = Activity::Call;
                if self.with_video {
                    self.media.open_camera();
                }
                self.wire().await;
            }
            Command::SetCamera(on) => {
                let chosen = self.media.set_camera(on, self.with_video && self.activity != Activity::None);
                self.tell_all(chosen);
            }
            Command::SetMicrophone(on) => self.media.set_microphone(on),
            Command::UseDevice(choice) => {
                let known = self.media.use_device(choice, self.with_video && self.activity != Activity::None);
                self.tell_all(known);
            }
            Command::Share(source) => self.share(source).await,
            Command::StopSharing => {
                let over = self.media.stop_sharing();
                self.tell_all(over);
            }
        }
    }

    /// A screen is captured only when both people agreed to the call, and the far end takes its pictures.
    async fn share(&mut self, source: ScreenSource) {
        let over = |problem| SessionEvent::Sharing(Sharing::Over(Some(problem)));
        let is_wired = self.screen_incoming.is_some() || self.media.receives_screen();
        let Some(connection) = self.connection.as_mut().filter(|_| self.activity == Activity::Call && is_wired) else {
            return self.tell(over(ScreenProblem::Failed("there is no call yet".to_owned())));
        };
        if !connection.peer.takes_screen() {
            return self.tell(over(ScreenProblem::NotTaken));
        }
        match self.media.share(source, connection.peer.meter()) {
            Ok(Some(packets)) => connection.peer.send(Kind::Screen, packets).await,
            Ok(None) => {}
            Err(error) => self.tell(over(ScreenProblem::Failed(error.to_string()))),
        }
    }

    /// The far end shares a screen for the first time: a decoder for it.
    fn receive_screen(&mut self) {
        if let Some(incoming) = self.screen_incoming.take()
            && let Err(error) = self.media.receive_screen(incoming)
        {
            tracing::error!(%error, "no thread for the other's screen");
        }
    }

    async fn create_offer(&mut self, restart: bool) {
        let offer = match self.connect().await {
            Ok(connection) => connection.peer.create_offer(restart).await,
            Err(error) => Err(error),
        };
        match offer {
            Ok(sdp) => self.tell(SessionEvent::OfferReady(sdp)),
            Err(error) => self.fail(error.to_string()),
        }
    }

    /// For the next restart, or for a connection that is not made yet. The policy stays what people agreed to.
    async fn set_servers(&mut self, servers: Vec<IceServer>) {
        self.ice.servers = servers;
        if let Some(connection) = &mut self.connection
            && let Err(error) = connection.peer.set_servers(&self.ice).await
        {
            tracing::warn!(%error, "goes on with the servers from before");
        }
    }

    async fn accept_offer(&mut self, sdp: String) {
        self.restarting = self.connection.is_some();
        if self.connection.is_none() {
            self.with_screen = speaks_any(&sdp, self.codecs);
            self.with_video = offers_camera(&sdp) && self.with_screen;
        }
        let answer = match self.connect().await {
            Ok(connection) => connection.peer.accept_offer(sdp).await,
            Err(error) => return self.fail(error.to_string()),
        };
        match answer {
            Ok(sdp) => {
                self.tell(SessionEvent::AnswerReady(sdp));
                self.described().await;
            }
            Err(error) => self.tell(SessionEvent::DescriptionRefused(error.to_string())),
        }
    }

    async fn accept_answer(&mut self, sdp: String) {
        let Some(connection) = &mut self.connection else {
            return self.tell(SessionEvent::DescriptionRefused("an answer to no offer".to_owned()));
        };
        match connection.peer.accept_answer(sdp).await {
            Ok(()) => self.described().await,
            Err(error) => self.tell(SessionEvent::DescriptionRefused(error.to_string())),
        }
    }

    /// The peer connection, made when it is first needed.
    async fn connect(&mut self) -> Result<&mut Connection, Error> {
        if self.connection.is_none() {
            let (peer, output) =
                Peer::new(self.with_video, self.with_screen, self.codecs, self.interfaces, &self.ice).await?;
            self.connection = Some(Connection { peer, output, described: false });
        }
        Ok(self.connection.as_mut().expect("it was just made"))
    }

    /// Both ends are described.
    async fn described(&mut self) {
        for json in self.candidates.described() {
            self.add_candidate(&json).await;
        }
        if let Some(connection) = &mut self.connection {
            connection.described = true;
        }
        self.wire().await;
    }

    async fn add_candidate(&mut self, json: &str) {
        if let Some(connection) = &mut self.connection
            && let Err(error) = connection.peer.add_candidate(json).await
        {
            tracing::debug!(%error, "dropped a candidate");
        }
    }

    /// Connects devices and screen to the connection, when the person agreed and both ends are described. What is made
    /// before the connection is up waits at the peer's gate.
    async fn wire(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        if self.activity != Activity::Call || !connection.described {
            return;
        }
        let Some(Incoming { audio, video, screen }) = connection.output.incoming.take() else { return };
        self.screen_incoming = Some(screen);
        connection.peer.send(Kind::Audio, self.media.start_voice(audio)).await;
        if self.with_video {
            match self.media.start_video(video, connection.peer.meter()) {
                Ok(packets) => connection.peer.send(Kind::Video, packets).await,
                Err(error) => return self.fail(error.to_string()),
            }
        }
        match self.link {
            Link::Idle => self.link = Link::Connecting(TokioInstant::now() + CONNECT_PATIENCE),
            Link::Up(_) | Link::Doubtful(_) => connection.peer.open_gate(),
            Link::Connecting(_) | Link::Broken(_) | Link::Failed => {}
        }
    }

    async fn on_peer(&mut self, event: PeerEvent) {
        match event {
            PeerEvent::Candidate(json) => self.tell(SessionEvent::LocalCandidate(json)),
            PeerEvent::Connected => {
                let restarted = std::mem::take(&mut self.restarting);
                if let Some(connection) = self.connection.as_ref().filter(|_| restarted) {
                    connection.peer.meter().new_path.store(true, Ordering::Relaxed);
                }
                self.link_works(self.link.is_broken() || restarted).await;
            }
            PeerEvent::Disconnected => {
                if matches!(self.link, Link::Up(_)) {
                    self.link = Link::doubt(self.arrived());
                }
            }
            PeerEvent::Failed(reason) => self.fail(reason),
        }
    }

    async fn on_media(&mut self, event: MediaEvent) {
        match event {
            MediaEvent::Camera(number, event) => {
                let said = self.media.on_camera(number, event);
                self.tell_all(said);
            }
            MediaEvent::Problem(problem) => self.tell(SessionEvent::Device(problem)),
            MediaEvent::InUse(choice) => self.tell(SessionEvent::DeviceInUse(choice)),
            MediaEvent::Refused(choice, problem) => self.tell(SessionEvent::DeviceRefused(choice, problem)),
            MediaEvent::FirstVideoFrame => self.tell(SessionEvent::FirstVideoFrame),
            MediaEvent::FirstAudio => self.tell(SessionEvent::FirstAudio),
            MediaEvent::Screen(number, event) => {
                let said = self.media.on_screen(number, event);
                self.tell_all(said);
            }
            MediaEvent::FirstScreenFrame => self.tell(SessionEvent::FirstScreenFrame),
            MediaEvent::KeyFrameNeeded(kind) => {
                let now = clock::now();
                let asked = &mut self.key_frame_asked[usize::from(kind == Kind::Screen)];
                let asked_lately = asked.is_some_and(|asked| now < asked + KEY_FRAME_INTERVAL);
                if let Some(connection) = self.connection.as_mut().filter(|_| !asked_lately) {
                    *asked = Some(now);
                    connection.peer.request_key_frame(kind).await;
                }
            }
        }
    }

    /// Tells what devices do. The state of the camera is told when it changes.
    fn tell_all(&mut self, events: impl IntoIterator<Item = SessionEvent>) {
        for event in events {
            match event {
                SessionEvent::Camera(state) if state == self.camera_state => {}
                SessionEvent::Camera(state) => {
                    self.camera_state = state;
                    self.tell(SessionEvent::Camera(state));
                }
                event => self.tell(event),
            }
        }
    }

    /// Media gets through, from now on or still; `again`: it did not.
    async fn link_works(&mut self, again: bool) {
        if again {
            self.media.request_key_frames();
        }
        self.link = Link::up(self.arrived());
        let Some(connection) = &mut self.connection else { return };
        if connection.output.incoming.is_none() {
            connection.peer.open_gate();
        }
        if let Some(path) = connection.peer.settle().await {
            self.tell(SessionEvent::Connected(path));
        }
    }

    async fn judge_link(&mut self) {
        if let Link::Connecting(_) = self.link {
            return self.fail(format!("no connection within {} s", CONNECT_PATIENCE.as_secs()));
        }
        let was_broken = self.link.is_broken();
        self.link = self.link.look(self.arrived(), self.restarting);
        match (was_broken, self.link.is_broken()) {
            (false, true) => self.tell(SessionEvent::Disconnected),
            (true, false) => self.link_works(true).await,
            (true, true) | (false, false) => {}
        }
    }

    /// Packets of media and reports, so far.
    fn arrived(&self) -> u64 {
        let meter = self.connection.as_ref().map(|connection| connection.peer.meter());
        meter.map_or(0, |meter| meter.arrived.load(Ordering::Relaxed))
    }

    fn tell_stats(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let meter = connection.peer.meter();
        let mut stats = self.rates.take(
            clock::now(),
            meter.sent_bytes.load(Ordering::Relaxed),
            meter.received_bytes.load(Ordering::Relaxed),
        );
        stats.pacer_ms = meter.pacer_us.load(Ordering::Relaxed) as f32 / 1e3;
        stats.rtt_ms = meter.rtt().map(|rtt| rtt.as_secs_f32() * 1e3);
        stats.recv_loss = meter.loss();
        self.media.fill(&mut stats, &connection.peer);
        stats.video_recv.nacks = meter.nacks.load(Ordering::Relaxed);
        stats.video_recv.recovered = meter.recovered.load(Ordering::Relaxed);
        if self.link.is_up() && self.events.capacity() > RESERVED_EVENTS {
            self.tell(SessionEvent::Stats(Box::new(stats)));
        }
    }

    fn fail(&mut self, reason: String) {
        if self.link != Link::Failed {
            self.link = Link::Failed;
            self.tell(SessionEvent::Failed(reason));
        }
    }

    fn tell(&self, event: SessionEvent) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.events.try_send(event) {
            tracing::error!("nobody reads the session's events: the newest is lost");
        }
    }

    async fn close(self) {
        let connection = async {
            if let Some(connection) = self.connection {
                connection.peer.close().await;
            }
        };
        tokio::join!(self.media.close(), connection);
    }
}

/// What the connection has to say; nothing ever, while there is none.
async fn from_connection(connection: &mut Option<Connection>) -> Wake {
    let Some(Connection { output, .. }) = connection else { return std::future::pending().await };
    tokio::select! {
        biased;
        Some(event) = output.events.recv() => Wake::Peer(event),
        Some(feedback) = output.feedback.recv() => Wake::Feedback(feedback),
        else => std::future::pending().await,
    }
}

/// Whether a description has a codec of pictures that we have.
fn speaks_any(sdp: &str, codecs: &[VideoCodec]) -> bool {
    !PayloadTypes::parse(sdp, codecs).codecs().is_empty()
}

/// Turns counters into rates.
#[derive(Debug, Default)]
struct Rates {
    taken: Option<Instant>,
    sent_bytes: u64,
    received_bytes: u64,
    send_loss: f32,
    network: Network,
}

impl Rates {
    fn take(&mut self, now: Instant, sent_bytes: u64, received_bytes: u64) -> Stats {
        let elapsed = self.taken.replace(now).map_or(STATS_INTERVAL, |taken| now.saturating_duration_since(taken));
        let bps = |bytes: u64| (bytes as f64 * 8.0 / elapsed.as_secs_f64().max(1e-3)) as u32;
        let send_bps = bps(sent_bytes - std::mem::replace(&mut self.sent_bytes, sent_bytes));
        let recv_bps = bps(received_bytes - std::mem::replace(&mut self.received_bytes, received_bytes));
        Stats {
            send_bps,
            recv_bps,
            send_loss: self.send_loss,
            available_bps: self.network.available_bps,
            queue_ms: self.network.queue_ms,
            ..Stats::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_over_the_time_since_the_last_figures() {
        let (mut rates, start) = (Rates::default(), clock::now());
        rates.take(start, 1000, 500);
        let stats = rates.take(start + Duration::from_secs(2), 3000, 500);
        assert_eq!((stats.send_bps, stats.recv_bps), (8000, 0));
    }

    #[test]
    fn an_offer_tells_whether_its_pictures_can_be_understood() {
        let offer = |section: &str| {
            let codec = "a=rtpmap:102 H264/90000\r\na=fmtp:102 packetization-mode=1\r\n";
            format!("v=0\r\nm=audio 9 RTP 111\r\n{section}\r\n{codec}")
        };
        assert!(speaks_any(&offer("m=video 9 RTP 102"), VideoCodec::BUILT));
        assert!(!speaks_any(&offer("m=video 0 RTP 102"), VideoCodec::BUILT));
        assert!(!speaks_any(&offer("m=video 9 RTP 102"), VideoCodec::Vp8.alone()), "in no codec of ours");
    }
}
