//! The WebRTC peer connection, with the stack's words turned into ours. No other part of Parlor names the stack, but
//! for the interceptors, which it drives.
//!
//! A [`Peer`] answers commands by futures that are quick (they wait for the connection's own task at most) and reports
//! through [`PeerEvent`]s and [`Feedback`]. The stack's handler holds bounded senders and nothing else, so that nothing
//! keeps a closed connection alive.

mod addresses;
mod candidate;
mod engine;
mod guard;
mod handler;
mod handshake;
mod sections;
mod servers;
mod socket;
mod track;

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc as std_mpsc,
    },
};

use rtc::{
    peer_connection::configuration::RTCOfferOptions,
    rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication,
};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};
use webrtc::{
    media_stream::track_local::TrackLocal,
    peer_connection::{
        PeerConnection, PeerConnectionBuilder, RTCConfiguration, RTCConfigurationBuilder, RTCIceCandidate,
        RTCIceCandidateInit, RTCIceCandidateType, RTCIceTransportPolicy, RTCSessionDescription,
    },
    rtp_transceiver::RtpSender,
};

pub(crate) use crate::interceptors::{Kind, Meter, payload_types::PayloadTypes, rtcp_tap::Feedback};
use crate::{
    Ice, IcePolicy, Interfaces, Path, PathKind,
    codec::VideoCodec,
    interceptors::{congestion::Congestion, deliver::Deliver, nack::RequestLost, rtcp_tap::TapRtcp},
    rtp::{IncomingPacket, OutgoingPacket},
};
use candidate::Candidate;
use handler::Handler;
use sections::Section;
pub(crate) use sections::offers_camera;
use servers::Servers;
use socket::Sockets;
use track::{Negotiated, Track};

/// A description that is longer is refused unread.
const MAX_DESCRIPTION: usize = 32 * 1024;
/// Events that wait for the session; candidates are the most of them.
const MAX_EVENTS: usize = 256;
/// Requests and reports that wait for the session.
const MAX_FEEDBACK: usize = 64;
/// Relays of the far end that are remembered.
const MAX_RELAYS: usize = 256;
/// Packets that wait for a pipeline: at 720p, more than a second of video.
const MAX_INCOMING: usize = 512;

/// What can go wrong with a peer connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The stack refused, in its own words.
    #[error("{0}")]
    Stack(#[from] webrtc::error::Error),
    /// A description that no honest peer sends.
    #[error("the description is {0} bytes long")]
    TooLong(usize),
    /// A candidate that is not the JSON of a candidate.
    #[error("not a candidate: {0}")]
    NotACandidate(#[from] serde_json::Error),
    /// The far end may learn of relayed paths only, and there is no relay.
    #[error("no relay is known, and only relayed paths are allowed")]
    NoRelay,
    /// The stack broke down over what it was given.
    #[error("the media engine broke down: {0}")]
    BrokeDown(String),
}

/// What happens to a peer connection.
#[derive(Debug)]
pub(crate) enum PeerEvent {
    /// A candidate was gathered: the JSON of `RTCIceCandidateInit`.
    Candidate(String),
    /// ICE and DTLS are up.
    Connected,
    /// The path is silent.
    Disconnected,
    /// No more media can be exchanged.
    Failed(String),
}

/// A peer connection.
pub(crate) struct Peer {
    connection: Arc<dyn PeerConnection>,
    audio: Sending,
    video: Option<Sending>,
    /// Negotiated from the start, so that nothing has to be when somebody shares a screen: it carries nothing until then.
    screen: Option<Sending>,
    /// The far end's description has a section for screens.
    screen_taken: AtomicBool,
    connected: watch::Sender<bool>,
    feedback: mpsc::Sender<Feedback>,
    /// Makes the connection's task look at what it has to send.
    nudge: Arc<Notify>,
    meter: Arc<Meter>,
    /// The codecs of pictures that may be agreed upon, the preferred first.
    codecs: &'static [VideoCodec],
    policy: IcePolicy,
    sockets: Sockets,
    /// We have relays of our own.
    has_relays: bool,
    /// Of the far end. The stack takes a relay that checks us before its candidate is here for a machine.
    relays: HashSet<SocketAddr>,
    /// Writers of tracks, and who attends to the connection. They end with the peer.
    tasks: JoinSet<()>,
}

/// The sending half of one stream.
struct Sending {
    track: Track,
    sender: Arc<dyn RtpSender>,
}

/// What comes out of a peer connection.
pub(crate) struct PeerOutput {
    pub(crate) events: mpsc::Receiver<PeerEvent>,
    pub(crate) feedback: mpsc::Receiver<Feedback>,
    /// Until the pipelines take it.
    pub(crate) incoming: Option<Incoming>,
}

/// What comes from the far end.
pub(crate) struct Incoming {
    pub(crate) audio: std_mpsc::Receiver<IncomingPacket>,
    pub(crate) video: std_mpsc::Receiver<IncomingPacket>,
    pub(crate) screen: std_mpsc::Receiver<IncomingPacket>,
}

impl Peer {
    /// Binds sockets; sends nothing. `with_screen`: screens may be shared, which is possible when both ends have a codec of
    /// pictures.
    pub(crate) async fn new(
        with_video: bool,
        with_screen: bool,
        codecs: &'static [VideoCodec],
        interfaces: Interfaces,
        ice: &Ice,
    ) -> Result<(Self, PeerOutput), Error> {
        let servers = Servers::resolve(ice).await;
        if ice.policy == IcePolicy::RelayOnly && servers.relays.is_empty() {
            return Err(Error::NoRelay);
        }
        let sockets = Sockets::new(ice.policy);
        sockets.use_relays(&servers.relays);
        let has_relays = !servers.relays.is_empty();
        sockets.set_relaying(has_relays);
        let meter = Arc::<Meter>::default();
        let nudge = Arc::<Notify>::default();
        let (events, event_output) = mpsc::channel(MAX_EVENTS);
        let (feedback, feedback_output) = mpsc::channel(MAX_FEEDBACK);
        let (audio_in, audio_output) = std_mpsc::sync_channel(MAX_INCOMING);
        let (video_in, video_output) = std_mpsc::sync_channel(MAX_INCOMING);
        let (screen_in, screen_output) = std_mpsc::sync_channel(MAX_INCOMING);
        let interceptors = engine::interceptors(
            Congestion::new(rand::random(), feedback.clone(), Arc::clone(&meter)),
            TapRtcp::new(feedback.clone(), Arc::clone(&meter)),
            RequestLost::new(rand::random(), Arc::clone(&meter)),
            Deliver::new(audio_in, video_in, screen_in, Arc::clone(&meter)),
            Arc::clone(&meter),
        );
        let connection = PeerConnectionBuilder::new()
            .with_media_engine(engine::media(codecs)?)
            .with_setting_engine(engine::settings())
            .with_interceptor_registry(interceptors)
            .with_configuration(configuration(ice.policy, servers))
            .with_runtime(Arc::new(sockets.clone()))
            .with_handler(Arc::new(Handler::new(events.clone(), Arc::clone(&nudge), ice.policy)))
            .with_udp_addrs(vec![interfaces])
            .build()
            .await?;
        let connection: Arc<dyn PeerConnection> = Arc::new(connection);
        let audio = Sending::new(&connection, Kind::Audio, codecs).await?;
        let video = if with_video { Some(Sending::new(&connection, Kind::Video, codecs).await?) } else { None };
        // The last: sections of one kind are matched in their order.
        let screen = if with_screen { Some(Sending::new(&connection, Kind::Screen, codecs).await?) } else { None };
        if let Some(screen) = &screen {
            meter.local_screen.set(screen.track.ssrc, None);
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(attend(audio.track.clone(), events, Arc::clone(&nudge)));
        let peer = Self {
            connection,
            audio,
            video,
            screen,
            screen_taken: AtomicBool::new(false),
            connected: watch::Sender::new(false),
            feedback,
            nudge,
            meter,
            codecs,
            policy: ice.policy,
            sockets,
            has_relays,
            relays: HashSet::new(),
            tasks,
        };
        let output = PeerOutput {
            events: event_output,
            feedback: feedback_output,
            incoming: Some(Incoming { audio: audio_output, video: video_output, screen: screen_output }),
        };
        Ok((peer, output))
    }

    /// An offer; with other credentials and sockets than before when `restart`.
    pub(crate) async fn create_offer(&self, restart: bool) -> Result<String, Error> {
        self.sockets.set_relaying(self.has_relays);
        let offer = self.connection.create_offer(Some(RTCOfferOptions { ice_restart: restart })).await?;
        let sdp = candidate::without_candidates(&offer.sdp);
        self.connection.set_local_description(offer).await?;
        Ok(sdp)
    }

    /// Takes an offer and answers it.
    pub(crate) async fn accept_offer(&self, sdp: String) -> Result<String, Error> {
        self.sockets.set_relaying(self.has_relays);
        self.note_screen(&sdp);
        let connection = Arc::clone(&self.connection);
        let answer = guarded(sdp, |sdp| async move {
            connection.set_remote_description(RTCSessionDescription::offer(sdp)?).await?;
            let answer = connection.create_answer(None).await?;
            let sdp = candidate::without_candidates(&answer.sdp);
            connection.set_local_description(answer).await?;
            Ok(sdp)
        })
        .await?;
        self.settle_codecs(&answer);
        Ok(answer)
    }

    /// Takes the answer to the latest offer.
    pub(crate) async fn accept_answer(&self, sdp: String) -> Result<(), Error> {
        self.note_screen(&sdp);
        let connection = Arc::clone(&self.connection);
        let answer = sdp.clone();
        guarded(
            sdp,
            |sdp| async move { Ok(connection.set_remote_description(RTCSessionDescription::answer(sdp)?).await?) },
        )
        .await?;
        self.settle_codecs(&answer);
        Ok(())
    }

    /// The first answer says which codecs both ends have, and by which payload types.
    fn settle_codecs(&self, answer: &str) {
        self.meter.payload_types.get_or_init(|| PayloadTypes::parse(answer, self.codecs));
    }

    /// Which of the far end's streams carries a screen. Before the stack reads the description: the streams are bound then.
    fn note_screen(&self, sdp: &str) {
        let section = sections::screen(sdp);
        self.screen_taken.store(section.is_some(), Ordering::Relaxed);
        if let Some(Section { ssrc: Some(ssrc), rtx }) = section {
            self.meter.remote_screen.set(ssrc, rtx);
        }
    }

    /// The far end takes the pictures of a screen.
    pub(crate) fn takes_screen(&self) -> bool {
        self.screen_taken.load(Ordering::Relaxed)
    }

    /// Servers from the next restart on.
    pub(crate) async fn set_servers(&mut self, ice: &Ice) -> Result<(), Error> {
        let servers = Servers::resolve(ice).await;
        if self.policy == IcePolicy::RelayOnly && servers.relays.is_empty() {
            return Err(Error::NoRelay);
        }
        self.sockets.use_relays(&servers.relays);
        self.has_relays = !servers.relays.is_empty();
        Ok(self.connection.set_configuration(configuration(self.policy, servers)).await?)
    }

    /// A candidate of the far end, after its description.
    pub(crate) async fn add_candidate(&mut self, json: &str) -> Result<(), Error> {
        let candidate: RTCIceCandidateInit = serde_json::from_str(json)?;
        if let Candidate { address: Some(relay), relayed: true } = Candidate::parse(&candidate.candidate) {
            if !self.sockets.meet_relay(relay) {
                return Ok(());
            }
            if self.relays.len() < MAX_RELAYS {
                self.relays.insert(relay);
            }
        }
        self.connection.add_ice_candidate(candidate).await?;
        self.nudge.notify_one();
        Ok(())
    }

    /// Sends `packets` once the gate is open, unless the far end takes no such stream. To be called when the
    /// descriptions were exchanged.
    pub(crate) async fn send(&mut self, kind: Kind, packets: mpsc::Receiver<OutgoingPacket>) {
        let sending = match kind {
            Kind::Audio => Some(&self.audio),
            Kind::Video => self.video.as_ref(),
            Kind::Screen => self.screen.as_ref().filter(|_| self.takes_screen()),
        };
        let Some(Sending { track, sender }) = sending else { return };
        let parameters = sender.get_parameters().await.ok();
        let Some(negotiated) = parameters.and_then(|parameters| Negotiated::new(kind, self.codecs, &parameters)) else {
            return tracing::info!(?kind, "the other side takes no such stream");
        };
        let (connected, feedback) = (self.connected.subscribe(), self.feedback.clone());
        let meter = Arc::clone(&self.meter);
        self.tasks.spawn(track::write(track.clone(), negotiated, packets, connected, feedback, meter));
    }

    /// Lets the packets go: the connection is up, and both people agreed.
    pub(crate) fn open_gate(&self) {
        self.connected.send_replace(true);
    }

    /// Asks the far end for a key frame of one of its streams.
    pub(crate) async fn request_key_frame(&self, kind: Kind) {
        let (sending, media_ssrc) = match kind {
            Kind::Audio => return,
            Kind::Video => (self.video.as_ref(), self.meter.remote_video.load(Ordering::Relaxed)),
            Kind::Screen => (self.screen.as_ref(), self.meter.remote_screen.ssrc()),
        };
        if let Some(Sending { track, .. }) = sending.filter(|_| media_ssrc != 0) {
            // Fails when the connection ended, which is told by an event.
            let _ = track.send_rtcp(PictureLossIndication { sender_ssrc: track.ssrc, media_ssrc }).await;
        }
    }

    /// The connection is up: the path that media takes.
    pub(crate) async fn settle(&self) -> Option<Path> {
        let dtls = self.audio.sender.transport().await.ok()??;
        let pair = dtls.ice_transport().get_selected_candidate_pair().await.ok()??;
        let kind = |end: &RTCIceCandidate| {
            let address = end.address.parse().ok().map(|ip| SocketAddr::new(ip, end.port));
            let of_relay = address.is_some_and(|address| self.relays.contains(&address));
            if of_relay { RTCIceCandidateType::Relay } else { end.typ }
        };
        let (local, remote) = (pair.local().typ, kind(pair.remote()));
        self.sockets.set_relaying(local == RTCIceCandidateType::Relay);
        let relayed = [local, remote].contains(&RTCIceCandidateType::Relay);
        Some(Path {
            kind: if relayed { PathKind::Relayed } else { PathKind::Direct },
            local: format!("{local}/{}", pair.local().protocol),
            remote: format!("{remote}/{}", pair.remote().protocol),
        })
    }

    /// What was counted.
    pub(crate) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Tells the far end, stops the connection's task and closes its sockets.
    pub(crate) async fn close(mut self) {
        self.tasks.shutdown().await;
        self.sockets.set_relaying(false);
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "closing the peer connection");
        }
    }
}

impl Sending {
    async fn new(
        connection: &Arc<dyn PeerConnection>,
        kind: Kind,
        codecs: &'static [VideoCodec],
    ) -> Result<Self, Error> {
        let track = Track::new(kind, codecs);
        let local: Arc<dyn TrackLocal> = Arc::clone(&track.local) as _;
        let sender = connection.add_track(Arc::clone(&local)).await?;
        // The stack keeps the first codec of a new track, and would attend to nothing that is sent with another; of one
        // that replaces it, it keeps all.
        sender.replace_track(local).await?;
        Ok(Self { track, sender })
    }
}

fn configuration(policy: IcePolicy, servers: Servers) -> RTCConfiguration {
    let transport_policy = match policy {
        IcePolicy::RelayOnly => RTCIceTransportPolicy::Relay,
        IcePolicy::All | IcePolicy::DirectOnly => RTCIceTransportPolicy::All,
    };
    RTCConfigurationBuilder::new()
        .with_ice_servers(servers.configuration)
        .with_ice_transport_policy(transport_policy)
        .build()
}

/// Runs what reads a peer's description on a task of its own, so that a fault of the stack ends as an error.
async fn guarded<T, F>(sdp: String, read: impl FnOnce(String) -> F) -> Result<T, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    if sdp.len() > MAX_DESCRIPTION {
        return Err(Error::TooLong(sdp.len()));
    }
    match tokio::spawn(read(sdp)).await {
        Ok(result) => result,
        Err(error) => Err(Error::BrokeDown(error.to_string())),
    }
}

/// Attends to the connection's task, in two things that it does not do by itself.
///
/// It ends over errors of DTLS and of sockets without an event; but it ends the tracks. And it goes to sleep without
/// looking at what it has to send when ICE has just connected (the first flight of DTLS) or a candidate was added (the
/// first checks): both would wait for the next check, each for up to 20 ms. Any write wakes it, an empty one too.
async fn attend(track: Track, events: mpsc::Sender<PeerEvent>, nudge: Arc<Notify>) {
    loop {
        tokio::select! {
            event = track.local.poll() => if event.is_none() { break },
            () = nudge.notified() => if track.local.write_rtcp(Vec::new()).await.is_err() { break },
        }
    }
    let _ = events.try_send(PeerEvent::Failed("the connection ended".to_owned()));
}
