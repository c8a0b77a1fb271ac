//! Shows any screen of Parlor with made-up people and moving pictures, to look at it and to measure what drawing costs.
//!
//! `cargo run --example gallery -- connected --lang zh --theme light --size 360x640`
#![expect(clippy::print_stderr, clippy::disallowed_methods, reason = "a tool for developers, with a clock of its own")]

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use clap::{Parser, ValueEnum};
use parlor::{
    engine::{
        ActiveCall, CallView, Device, Devices, EndReason, EngineLink, Me, Notice, PersonView, Quality, Sending,
        Snapshot,
    },
    settings::{Language, Settings, Theme},
    ui::{Wake, WindowOptions, run},
};
use parlor_media::{
    CameraState, DeviceKind, DeviceProblem, Frame, FrameSender, MediaTime, Path, PathKind, Problem, Stats, frame_slot,
};
use parlor_net::{CallId, OfflineReason, PeerId, Status, Via, signalling::CallKind};
use tokio::sync::{mpsc, watch};

#[derive(Parser)]
struct Args {
    #[arg(value_enum)]
    screen: Screen,
    #[arg(long, default_value = "en")]
    lang: String,
    #[arg(long, default_value = "dark")]
    theme: String,
    #[arg(long, default_value = "1000x700")]
    size: String,
    /// Close after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Screen {
    Welcome,
    People,
    Empty,
    Offline,
    Ended,
    Settings,
    Calling,
    Incoming,
    Connecting,
    Connected,
    Voice,
    CameraOff,
    Muted,
    Reconnecting,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let (width, height) = args.size.split_once('x').ok_or_else(|| anyhow::anyhow!("--size 360x640"))?;
    let options = WindowOptions { size: Some([width.parse()?, height.parse()?]) };
    run(options, move |wake| Ok(fake_engine(&args, &wake)))
}

/// An engine that never changes its mind: one snapshot, and pictures at 30 frames a second.
fn fake_engine(args: &Args, wake: &Wake) -> EngineLink {
    let (commands, mut incoming_commands) = mpsc::channel(64);
    let (snapshots, snapshot) = watch::channel(Arc::new(snapshot(args)));
    let (say, notices) = mpsc::channel(16);
    for notice in notices_of(args.screen) {
        // The queue is longer than the list.
        let _ = say.try_send(notice);
    }
    let (remote_frames, remote) = frame_slot({
        let wake = wake.clone();
        move || wake.remote_frame()
    });
    let (preview_frames, preview) = frame_slot({
        let wake = wake.clone();
        move || wake.preview_frame()
    });
    let moves = matches!(args.screen, Screen::Connected | Screen::CameraOff | Screen::Muted | Screen::Reconnecting);
    if moves {
        let spawn = |name: &str, frames, (width, height), hue| {
            let builder = thread::Builder::new().name(name.to_owned());
            builder.spawn(move || play(&frames, width, height, hue)).expect("a thread for pictures");
        };
        spawn("remote", remote_frames, (1280, 720), 0);
        spawn("preview", preview_frames, (1280, 720), 90);
    }
    let (wake, seconds) = (wake.clone(), args.seconds);
    thread::spawn(move || {
        let start = Instant::now();
        while seconds.is_none_or(|seconds| start.elapsed() < Duration::from_secs(seconds)) {
            thread::sleep(Duration::from_millis(100));
            while let Ok(command) = incoming_commands.try_recv() {
                eprintln!("{command:?}");
            }
        }
        drop((snapshots, say));
        wake.news();
    });
    EngineLink { commands, snapshot, notices, preview, remote }
}

/// A moving gradient with a ball; a few pictures made beforehand, so that only drawing costs time.
fn play(frames: &FrameSender, width: u32, height: u32, hue: u8) {
    let pictures: Vec<Arc<Vec<u8>>> = (0..30).map(|step| Arc::new(picture(width, height, step, hue))).collect();
    let start = Instant::now();
    for (count, picture) in pictures.iter().cycle().enumerate() {
        let due = Duration::from_micros(33_333 * count as u64);
        thread::sleep(due.saturating_sub(start.elapsed()));
        let captured = MediaTime::from_micros(due.as_micros() as u64);
        frames.put(Frame::from_i420(width, height, Arc::clone(picture), captured));
    }
}

fn picture(width: u32, height: u32, step: u32, hue: u8) -> Vec<u8> {
    let mut planes = Vec::with_capacity(Frame::i420_len(width, height));
    let (ball_x, ball_y) = ((width * step / 30).cast_signed(), (height / 2).cast_signed());
    for y in 0..height.cast_signed() {
        for x in 0..width.cast_signed() {
            let near = (x - ball_x).pow(2) + (y - ball_y).pow(2) < (height / 8).pow(2).cast_signed();
            planes.push(if near { 220 } else { (60 + (x / 16 + y / 8) % 120) as u8 });
        }
    }
    for plane in 0..2 {
        for y in 0..height.div_ceil(2) {
            for x in 0..width.div_ceil(2) {
                let across = if plane == 0 { x * 60 / width } else { y * 60 / height };
                planes.push((110 + across as u8).wrapping_add(hue / 4));
            }
        }
    }
    planes
}

fn peer(seed: u8) -> PeerId {
    let mut bytes = [seed; 32];
    let key = parlor_net::Keypair::ed25519_from_bytes(&mut bytes).expect("32 bytes");
    key.public().to_peer_id()
}

fn snapshot(args: &Args) -> Snapshot {
    let is_chinese = args.lang == "zh";
    let names = if is_chinese {
        ["陈静", "李伟", "李伟", "王小明", "Ada Lovelace", "张丽华"]
    } else {
        ["Ada Lovelace", "Chen Jing", "Li Wei", "Li Wei", "Grace Hopper with a very long name indeed", "Zoë Müller"]
    };
    let people = names.iter().zip(1..).map(|(name, seed)| PersonView {
        peer: peer(seed),
        name: (*name).to_owned(),
        has_namesake: names.iter().filter(|other| *other == name).count() > 1,
        status: if seed % 3 == 2 { Status::InCall } else { Status::Free },
        via: Via::Lan,
    });
    let me = if is_chinese { "林晓" } else { "Alex" };
    let lonely = matches!(args.screen, Screen::Empty | Screen::Offline);
    let device = |id: &str, name: &str| Device { id: id.to_owned(), name: name.to_owned() };
    Snapshot {
        me: Me {
            peer: peer(99),
            name: (args.screen != Screen::Welcome).then(|| me.to_owned()),
            online: args.screen != Screen::Offline,
        },
        people: if lonely { Vec::new() } else { people.collect() },
        call: call(args.screen, names[0]),
        devices: Devices {
            cameras: vec![device("/dev/video0", "Integrated Camera")],
            microphones: vec![device("mic", "Headset Microphone")],
            speakers: vec![device("out", "Built-in Audio Analog Stereo")],
        },
        settings: Settings {
            language: if is_chinese { Language::Chinese } else { Language::English },
            theme: if args.theme == "light" { Theme::Light } else { Theme::Dark },
            ..Settings::default()
        },
    }
}

fn call(screen: Screen, name: &str) -> CallView {
    let (call, peer, name) = (CallId::from_bits(1), peer(1), name.to_owned());
    let since = SystemTime::now() - Duration::from_secs(245);
    let active = ActiveCall {
        call,
        peer,
        name: name.clone(),
        kind: if screen == Screen::Voice { CallKind::Audio } else { CallKind::Video },
        ours: Sending { camera: true, microphone: screen != Screen::Muted },
        theirs: Sending { camera: screen != Screen::CameraOff, microphone: screen != Screen::Muted },
        camera: if screen == Screen::Muted { CameraState::TestCard } else { CameraState::Open },
    };
    match screen {
        Screen::Welcome | Screen::People | Screen::Empty | Screen::Offline | Screen::Ended | Screen::Settings => {
            CallView::Idle
        }
        Screen::Calling => CallView::Outgoing { call, peer, name, kind: CallKind::Video, ringing: true },
        Screen::Incoming => CallView::Incoming { call, peer, name, kind: CallKind::Video },
        Screen::Connecting => CallView::Connecting(active),
        Screen::Connected | Screen::Voice | Screen::CameraOff | Screen::Muted => CallView::Connected {
            active,
            since,
            path: Path { kind: PathKind::Direct, local: "host/udp".to_owned(), remote: "host/udp".to_owned() },
            stats: Box::new(Stats { rtt_ms: Some(3.2), ..Stats::default() }),
            quality: if screen == Screen::Muted { Quality::Fair } else { Quality::Good },
        },
        Screen::Reconnecting => CallView::Reconnecting { active, since },
    }
}

fn notices_of(screen: Screen) -> Vec<Notice> {
    let (call, peer, name) = (CallId::from_bits(1), peer(3), "Li Wei".to_owned());
    match screen {
        Screen::Ended => vec![
            Notice::Ended { call, peer, name: name.clone(), reason: EndReason::ConnectionLost },
            Notice::MissedWhileBusy { peer, name: "Grace Hopper".to_owned() },
            Notice::PeerOffline { peer, name, reason: OfflineReason::Lost },
        ],
        Screen::People => vec![Notice::PeerOnline { peer, name, via: Via::Lan }],
        Screen::Muted => vec![Notice::Device(DeviceProblem {
            device: DeviceKind::Camera,
            problem: Problem::Missing,
            detail: String::new(),
        })],
        _ => Vec::new(),
    }
}
