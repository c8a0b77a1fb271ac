use std::{path::PathBuf, sync::Arc};

use parlor_media::{AudioSink, AudioSource, IcePolicy, Interfaces, VideoCodec, VideoSink, VideoSource};
use parlor_net::{Keypair, Multiaddr, PeerId};

use super::Notice;
use crate::{contacts::Contacts, room::RoomKey, settings::Settings};

/// What an engine needs to start.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The key that this person is known by.
    pub keypair: Keypair,
    /// What the person chose before.
    pub settings: Settings,
    /// Where settings are kept; `None` keeps them for this run only.
    pub settings_file: Option<PathBuf>,
    /// The people whom the person knows.
    pub contacts: Contacts,
    /// Where contacts are kept; `None` keeps them for this run only.
    pub contacts_file: Option<PathBuf>,
    /// People to look for besides the contacts.
    pub watch: Vec<PeerId>,
    /// The directory where this program is registered for `parlor:` links, if it may be.
    pub url_handler: Option<PathBuf>,
    /// What was named for this run; it wins over the settings and is not kept.
    pub overrides: Overrides,
    /// Look for people on the LAN, and be seen there.
    pub lan: bool,
    /// Addresses to listen on. Empty: every interface, free ports.
    pub listen: Vec<Multiaddr>,
    /// Addresses of people that discovery would not find.
    pub dial: Vec<Multiaddr>,
    /// Where media may flow.
    pub interfaces: Interfaces,
    /// Notice what is plugged in and unplugged.
    pub watch_devices: bool,
    /// Play ring and other tones.
    pub tones: bool,
    /// Tell everybody who calls that we are busy.
    pub always_busy: bool,
    /// What was found on the way here that the person should know.
    pub notices: Vec<Notice>,
}

/// What was named for this run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Instead of the camera of the settings.
    pub camera: Option<VideoSource>,
    /// Instead of the microphone of the settings.
    pub microphone: Option<AudioSource>,
    /// Instead of the loudspeaker of the settings.
    pub speaker: Option<AudioSink>,
    /// The microphone's sound is sent as it is, whatever the settings say.
    pub no_voice_processing: bool,
    /// Nodes besides those of the settings, each with `/p2p/<id>` at its end.
    pub nodes: Vec<Multiaddr>,
    /// Rooms besides those of the settings.
    pub rooms: Vec<RoomKey>,
    /// Instead of the settings' word on the lobby.
    pub lobby: Option<bool>,
    /// Use the nodes that ours know, whatever the settings say.
    pub learn_nodes: bool,
    /// Instead of the settings' word on relays.
    pub relay: Option<IcePolicy>,
    /// Where the other's picture is recorded.
    pub video_out: VideoSink,
    /// Where the other's screen is recorded.
    pub screen_out: VideoSink,
    /// Pictures are sent and taken in this codec alone.
    pub video_codec: Option<VideoCodec>,
    /// Where frame marks are logged.
    pub frame_log: Option<PathBuf>,
}

/// How the engine tells a window that there is something to draw. Called on the engine's and on media threads: quick,
/// and never blocking.
#[derive(Clone)]
pub struct Wakes {
    /// A new snapshot or notice.
    pub changed: Arc<dyn Fn() + Send + Sync>,
    /// A new frame of the own camera.
    pub preview: Arc<dyn Fn() + Send + Sync>,
    /// A new frame of the other's camera.
    pub remote: Arc<dyn Fn() + Send + Sync>,
    /// A new frame of the other's screen.
    pub screen: Arc<dyn Fn() + Send + Sync>,
}

impl Wakes {
    /// For an engine without a window.
    pub fn none() -> Self {
        let nobody = || -> Arc<dyn Fn() + Send + Sync> { Arc::new(|| {}) };
        Self { changed: nobody(), preview: nobody(), remote: nobody(), screen: nobody() }
    }
}

impl std::fmt::Debug for Wakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wakes")
    }
}
