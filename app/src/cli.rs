//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use parlor_media::{AudioSink, AudioSource, VideoSink, VideoSource};
use parlor_net::{Multiaddr, PeerId};

use crate::{
    link::{Link, LinkError},
    name::validate_name,
};

/// See and hear people on your network, with no server in between.
#[derive(Debug, Parser)]
#[command(name = "parlor", version, about, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// Without a subcommand Parlor opens its window.
    #[command(subcommand)]
    pub command: Option<Subcommands>,
    /// What the window and the headless app share.
    #[command(flatten)]
    pub shared: Shared,
}

/// What Parlor does besides opening its window.
#[derive(Debug, Subcommand)]
pub enum Subcommands {
    /// The same engine without a window: prints one JSON object a line, takes commands as JSON lines on stdin
    Headless(Box<Headless>),
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
    /// default | none | test-card | file:CLIP.y4m | a camera's id
    #[arg(long, value_name = "SOURCE")]
    pub camera: Option<VideoSource>,
    /// default | none | tone | file:A.wav | a microphone's id
    #[arg(long, value_name = "SOURCE")]
    pub mic: Option<AudioSource>,
    /// default | none | file:OUT.wav | a loudspeaker's id
    #[arg(long, value_name = "SINK")]
    pub speaker: Option<AudioSink>,
    /// Also record the other's picture: none | file:OUT.y4m
    #[arg(long, value_name = "SINK", default_value_t)]
    pub video_out: VideoSink,
    /// Write when marked frames were captured and shown (`captured|shown,MARK,UNIX_US`), to measure delays
    #[arg(long, value_name = "FILE.csv")]
    pub frame_log: Option<PathBuf>,
    /// Send media over the loopback interface only, for tests on one machine
    #[arg(long, hide = true)]
    pub loopback: bool,
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
    Linked(Link),
}

fn callee(text: &str) -> Result<Callee, LinkError> {
    if text.starts_with("parlor:") { text.parse().map(Callee::Linked) } else { Ok(Callee::Named(text.to_owned())) }
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

    #[test]
    fn durations_are_positive_finite_seconds() {
        assert_eq!(seconds("2.5"), Ok(std::time::Duration::from_millis(2500)));
        for wrong in ["0", "-1", "NaN", "inf", "soon", "", "1e300"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
