//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use parlor_media::{AudioSink, AudioSource, IcePolicy, ScreenSource, VideoCodec, VideoSink, VideoSource};
use parlor_net::{Multiaddr, PeerId};

use crate::{
    link::{Link, LinkError, PersonLink, node_addresses},
    name::validate_name,
    room::RoomKey,
    settings::Language,
};

/// See and hear people on your network, with no server in between.
#[derive(Debug, Parser)]
#[command(name = "parlor", version, about, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// Without a subcommand Parlor opens its window.
    #[command(subcommand)]
    pub command: Option<Subcommands>,
    /// A parlor: link to open; in the Parlor that runs already, if there is one
    #[arg(value_name = "LINK", value_parser = link_text)]
    pub link: Option<String>,
    /// What the window and the headless app share.
    #[command(flatten)]
    pub shared: Shared,
}

/// What Parlor does besides opening its window.
#[derive(Debug, Subcommand)]
pub enum Subcommands {
    /// The same engine without a window: prints one JSON object a line, takes commands as JSON lines on stdin
    Headless(Box<Headless>),
    /// Look what works and what does not: networks, nodes, devices; and say what to do. Exits with 1 if something is
    /// broken
    Doctor(Doctor),
    /// Look at one rendezvous node: how it is reached, what it offers, and whether that works
    NodeStatus(NodeStatus),
}

/// Flags of the doctor.
#[derive(Clone, Debug, Args)]
pub struct Doctor {
    /// Look at this node, instead of those of the settings (repeatable)
    #[arg(long, value_name = "MULTIADDR|LINK", value_parser = NodeAddresses::parse)]
    pub node: Vec<NodeAddresses>,
    /// Print one JSON object for each finding
    #[arg(long)]
    pub json: bool,
    /// Where identity and settings are kept
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The language to speak, instead of that of the settings
    #[arg(long, value_enum)]
    pub lang: Option<Lang>,
}

/// What is told of one node.
#[derive(Clone, Debug, Args)]
pub struct NodeStatus {
    /// One of its addresses with /p2p/ and its key, or its link
    #[arg(value_name = "MULTIADDR|LINK", value_parser = NodeAddresses::parse)]
    pub address: NodeAddresses,
    /// Print one JSON object for each finding
    #[arg(long)]
    pub json: bool,
    /// The language to speak, instead of the system's
    #[arg(long, value_enum)]
    pub lang: Option<Lang>,
}

/// A language by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Lang {
    /// English.
    En,
    /// Simplified Chinese.
    #[value(name = "zh-CN")]
    Zh,
}

impl From<Lang> for Language {
    fn from(lang: Lang) -> Self {
        match lang {
            Lang::En => Self::English,
            Lang::Zh => Self::Chinese,
        }
    }
}

/// What the window and the headless app share.
#[derive(Clone, Debug, Args)]
pub struct Shared {
    /// Keep identity, settings and logs in DIR, so that two people can use one machine
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Don't look for people on the local network, and don't be seen there
    #[arg(long)]
    pub no_lan: bool,
    /// Reach a Parlor at this address, as `/ip4/192.0.2.7/tcp/4711` (repeatable)
    #[arg(long, value_name = "MULTIADDR")]
    pub dial: Vec<Multiaddr>,
    /// Listen on this address instead of every interface and a free port (repeatable)
    #[arg(long, value_name = "MULTIADDR")]
    pub listen: Vec<Multiaddr>,
    /// Find people through this node as well, besides those of the settings (repeatable)
    #[arg(long, value_name = "MULTIADDR|LINK", value_parser = NodeAddresses::parse)]
    pub node: Vec<NodeAddresses>,
    /// Be in this room as well (repeatable)
    #[arg(long, value_name = "NAME:SECRET")]
    pub room: Vec<RoomKey>,
    /// Be listed in the lobby of the nodes, where everybody sees who is there
    #[arg(long, overrides_with = "no_lobby")]
    pub lobby: bool,
    /// Don't be listed in the lobby of the nodes
    #[arg(long, overrides_with = "lobby")]
    pub no_lobby: bool,
    /// Use the nodes that yours know, too: they see your IP address, your name, when you are there and for whom you look
    #[arg(long)]
    pub learn_nodes: bool,
    /// Whether calls go through a relay: if they can't go directly, always (nobody called learns your IP address), or
    /// never
    #[arg(long, value_enum)]
    pub relay: Option<Relay>,
    /// default | none | test-card | file:CLIP.y4m | a camera's id
    #[arg(long, value_name = "SOURCE")]
    pub camera: Option<VideoSource>,
    /// default | none | tone | file:A.wav | a microphone's id
    #[arg(long, value_name = "SOURCE")]
    pub mic: Option<AudioSource>,
    /// default | none | file:OUT.wav | a loudspeaker's id
    #[arg(long, value_name = "SINK")]
    pub speaker: Option<AudioSink>,
    /// Send what the microphone hears as it is, with echo, noise and its own level: for music. Files and tones are
    /// always sent as they are
    #[arg(long)]
    pub no_voice_processing: bool,
    /// Also record the other's picture: none | file:OUT.y4m | samples:OUT.y4m (one picture in 15)
    #[arg(long, value_name = "SINK", default_value_t)]
    pub video_out: VideoSink,
    /// Also record the other's screen, when it is shared: none | file:OUT.y4m | samples:OUT.y4m
    #[arg(long, value_name = "SINK", default_value_t)]
    pub screen_out: VideoSink,
    /// Send and take pictures of this codec alone: h264 | vp8 | vp9. Without it, both sides use what suits the link and the
    /// machine, of what both have
    #[arg(long, value_name = "CODEC", value_parser = video_codec)]
    pub video_codec: Option<VideoCodec>,
    /// Write when marked frames were captured and shown (`captured|shown,MARK,UNIX_US`), and each 10 ms of sound taken in
    /// and played (`said|heard,PIECE,UNIX_US`), to measure delays
    #[arg(long, value_name = "FILE.csv")]
    pub frame_log: Option<PathBuf>,
    /// Send media over the loopback interface only, for tests on one machine
    #[arg(long, hide = true)]
    pub loopback: bool,
}

impl Shared {
    /// The nodes named for this run.
    pub fn nodes(&self) -> Vec<Multiaddr> {
        self.node.iter().flat_map(|node| node.0.iter().cloned()).collect()
    }

    /// What was said of the lobby.
    pub const fn wants_lobby(&self) -> Option<bool> {
        match (self.lobby, self.no_lobby) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }
}

/// The addresses of a node that `--node` names by one of them, or by a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddresses(pub Vec<Multiaddr>);

impl NodeAddresses {
    fn parse(text: &str) -> Result<Self, LinkError> {
        node_addresses(text).map(Self)
    }
}

/// Whether calls go through a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Relay {
    /// If they can't go directly.
    Auto,
    /// Always.
    Only,
    /// Never.
    Never,
}

impl From<Relay> for IcePolicy {
    fn from(relay: Relay) -> Self {
        match relay {
            Relay::Auto => Self::All,
            Relay::Only => Self::RelayOnly,
            Relay::Never => Self::DirectOnly,
        }
    }
}

/// Flags of the headless app.
#[derive(Clone, Debug, Args)]
pub struct Headless {
    /// The name that others see, 1-40 characters
    #[arg(long, value_parser = validate_name)]
    pub name: String,
    /// What both ways of running share.
    #[command(flatten)]
    pub shared: Shared,
    /// Whose invitations to accept: everybody's, those of --contact, nobody's (it rings until a command on stdin
    /// decides), or tell everybody that we are busy
    #[arg(long, value_enum, default_value_t = AcceptPolicy::None)]
    pub accept: AcceptPolicy,
    /// Somebody whose invitations `--accept contacts` accepts (repeatable)
    #[arg(long, value_name = "PEERID")]
    pub contact: Vec<PeerId>,
    /// Call this person as soon as they are online
    #[arg(long, value_name = "NAME|PEERID|LINK", value_parser = callee)]
    pub call: Option<Callee>,
    /// With a picture or without, for --call
    #[arg(long, value_enum, default_value_t = Kind::Video)]
    pub kind: Kind,
    /// Share this as soon as a call is connected: screen | screen:NAME | window:0xID | portal | file:CLIP.y4m
    #[arg(long, value_name = "SOURCE")]
    pub share: Option<ScreenSource>,
    /// Hang up this many seconds after the call connected
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub hangup_after: Option<std::time::Duration>,
    /// Quit after this many seconds
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub duration: Option<std::time::Duration>,
    /// Print figures this often during a call, in seconds
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub stats_every: Option<std::time::Duration>,
}

/// Whose invitations the headless app accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AcceptPolicy {
    /// Everybody's.
    All,
    /// Those of the people named by `--contact`.
    Contacts,
    /// Nobody's: it rings.
    None,
    /// Nobody's, and everybody is told that we are busy.
    Busy,
}

/// With a picture or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Camera and microphone.
    Video,
    /// Microphone only.
    Audio,
}

impl From<Kind> for parlor_net::signalling::CallKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Video => Self::Video,
            Kind::Audio => Self::Audio,
        }
    }
}

/// Whom `--call` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callee {
    /// Whoever has this name or key.
    Named(String),
    /// Whom a link names.
    Linked(Box<PersonLink>),
}

fn callee(text: &str) -> Result<Callee, LinkError> {
    if !is_link(text) {
        return Ok(Callee::Named(text.to_owned()));
    }
    match text.parse()? {
        Link::Person(person) => Ok(Callee::Linked(Box::new(person))),
        Link::Node(_) | Link::Room(_) => Err(LinkError::Peer),
    }
}

fn is_link(text: &str) -> bool {
    text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("parlor:"))
}

/// What is wrong with a link is said in the window, where whoever clicked it looks.
fn link_text(text: &str) -> Result<String, LinkError> {
    if is_link(text) { Ok(text.to_owned()) } else { Err(LinkError::Scheme) }
}

fn video_codec(text: &str) -> Result<VideoCodec, String> {
    VideoCodec::named(text).ok_or_else(|| {
        let names: Vec<_> = VideoCodec::BUILT.iter().map(|codec| codec.name().to_lowercase()).collect();
        format!("this Parlor has {}", names.join(", "))
    })
}

fn seconds(text: &str) -> Result<std::time::Duration, String> {
    text.parse::<f64>()
        .ok()
        .filter(|seconds| *seconds >= 0.001)
        .and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "not a number of seconds above 0, such as 2.5".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    fn parse(arguments: &[&str]) -> Cli {
        Cli::try_parse_from([&["parlor"], arguments].concat()).unwrap()
    }

    #[test]
    fn a_link_opens_the_window_and_what_is_no_link_is_refused() {
        let cli = parse(&["parlor:room?name=broken"]);
        assert_eq!(cli.link.as_deref(), Some("parlor:room?name=broken"));
        assert!(parse(&["--data-dir", "/tmp/x", "Parlor:node"]).link.is_some());
        assert!(Cli::try_parse_from(["parlor", "hedless"]).is_err());
        assert!(matches!(parse(&["headless", "--name", "Ada"]).command, Some(Subcommands::Headless(_))));
    }

    #[test]
    fn nodes_rooms_lobby_and_relays_are_named_for_one_run() {
        let node = "/ip4/192.0.2.7/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        let link = format!("parlor:node?addr={node}");
        let shared = parse(&["--node", node, "--node", &link, "--room", "Chess:e4", "--relay", "only"]).shared;
        assert_eq!(shared.nodes().len(), 2);
        assert_eq!((shared.room.len(), shared.relay, shared.wants_lobby()), (1, Some(Relay::Only), None));
        assert_eq!(parse(&["--no-lobby"]).shared.wants_lobby(), Some(false));
        assert_eq!(parse(&["--no-lobby", "--lobby"]).shared.wants_lobby(), Some(true), "the last word counts");
        for wrong in [["--node", "/ip4/192.0.2.7/tcp/1"], ["--room", "Chess"], ["--relay", "perhaps"]] {
            assert!(Cli::try_parse_from([&["parlor"], &wrong[..]].concat()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn codecs_are_named_and_others_refused_with_those_there_are() {
        for &codec in VideoCodec::BUILT {
            let name = codec.name().to_lowercase();
            assert_eq!(parse(&["--video-codec", &name]).shared.video_codec, Some(codec));
        }
        assert_eq!(parse(&[]).shared.video_codec, None);
        for wrong in ["av1", "", "h264,vp8"] {
            let error = Cli::try_parse_from(["parlor", "--video-codec", wrong]).unwrap_err().to_string();
            assert!(error.contains("this Parlor has h264"), "{error}");
        }
    }

    #[test]
    fn durations_are_positive_finite_seconds() {
        assert_eq!(seconds("2.5"), Ok(std::time::Duration::from_millis(2500)));
        for wrong in ["0", "-1", "NaN", "inf", "soon", "", "1e300"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
