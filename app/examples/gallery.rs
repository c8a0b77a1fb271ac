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
    contacts::Standing,
    engine::{
        ActiveCall, CallView, Checkup, Device, Devices, EndReason, EngineLink, History, Me, NewDevice, NodeView,
        Notice, PersonView, Presence, Quality, RoomView, Sample, Screens, Sending, Snapshot, TrialView,
    },
    room::RoomKey,
    settings::{Language, Settings, Theme},
    ui::{Wake, WindowOptions, run},
};
use parlor_media::{
    CameraState, DeviceKind, DeviceProblem, Frame, FrameSender, MediaTime, Path, PathKind, Problem, ScreenInfo,
    ScreenSource, Stats, Thumbnail, TrialPhase, frame_slot,
};
use parlor_net::{CallId, NodeLink, OfflineReason, PeerId, Room, Status, Via, signalling::CallKind};
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
    Online,
    LinkPerson,
    LinkNode,
    LinkRoom,
    LinkSelf,
    LinkBroken,
    Stranger,
    Relayed,
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
    /// A call, and a headset that was plugged in.
    Plugged,
    /// Open it with Settings, "Test camera and sound".
    Trial,
    /// A screen is shared; or, with the key S in Connected, chosen.
    Sharing,
    Watching,
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
    let (screen_frames, screen) = frame_slot({
        let wake = wake.clone();
        move || wake.remote_frame()
    });
    if args.screen == Screen::Watching {
        let page = page(1600, 900);
        thread::spawn(move || {
            loop {
                screen_frames.put(page.clone());
                thread::sleep(Duration::from_millis(500));
            }
        });
    }
    let moves = matches!(
        args.screen,
        Screen::Connected
            | Screen::Relayed
            | Screen::Calling
            | Screen::CameraOff
            | Screen::Muted
            | Screen::Plugged
            | Screen::Trial
            | Screen::Sharing
            | Screen::Watching
            | Screen::Reconnecting
    );
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
    EngineLink { commands, snapshot, notices, preview, remote, screen }
}

/// What somebody might show: lines of something on white.
fn page(width: u32, height: u32) -> Frame {
    let mut planes = vec![235; (width * height) as usize];
    for line in 0..height / 30 - 2 {
        let length = width / 3 + line * 7919 % (width / 2);
        for y in line * 30 + 40..line * 30 + 54 {
            for x in (60..length).filter(|x| x / 10 % 6 != 5 && (x + y) % 3 != 0) {
                planes[(y * width + x) as usize] = 40;
            }
        }
    }
    planes.resize(Frame::i420_len(width, height), 128);
    Frame::from_i420(width, height, Arc::new(planes), MediaTime::default())
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
    let is_online = !matches!(args.screen, Screen::People | Screen::Ended);
    let room = Room::derive("Chess", "e4 e5");
    let people = names.iter().zip(1..).map(|(name, seed)| {
        let via = if is_online && seed > 2 { Via::Node } else { Via::Lan };
        let status = if seed % 3 == 2 { Status::InCall } else { Status::Free };
        let is_gone = is_online && seed == 6;
        PersonView {
            peer: peer(seed),
            name: (*name).to_owned(),
            says: (is_online && seed == 1).then(|| "ada_l".to_owned()),
            has_namesake: names.iter().filter(|other| *other == name).count() > 1,
            borrows_name: is_online && seed == 4,
            presence: if is_gone { Presence::Offline } else { Presence::Online { status, via } },
            standing: match seed {
                1 => Standing::Favourite,
                3 | 6 => Standing::Contact,
                _ => Standing::Stranger,
            },
            rooms: if seed == 5 { vec![room.id()] } else { Vec::new() },
            nodes: Vec::new(),
        }
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
        nodes: if is_online && !lonely { nodes() } else { Vec::new() },
        rooms: if is_online && !lonely {
            let name = if is_chinese { "象棋俱乐部" } else { "Chess club" };
            vec![RoomView { key: RoomKey::new(name, "e4 e5").expect("a room"), id: Some(room.id()) }]
        } else {
            Vec::new()
        },
        blocked: if is_online { vec![(peer(42), "Spam 3000".to_owned())] } else { Vec::new() },
        scanning: false,
        checkup: Checkup::None,
        people: if lonely { Vec::new() } else { people.collect() },
        call: call(args.screen, names[0]),
        devices: Devices {
            cameras: vec![device("/dev/video0", "Integrated Camera")],
            microphones: vec![device("mic", "Headset Microphone")],
            speakers: vec![device("out", "Built-in Audio Analog Stereo")],
        },
        new_devices: plugged(args.screen),
        screens: Screens::Found(Ok(screens(is_chinese))),
        trial: (args.screen == Screen::Trial).then(|| TrialView {
            camera: CameraState::Open,
            level_dbfs: -18.0,
            phase: TrialPhase::Recording(Duration::from_millis(2_700)),
            heard: None,
        }),
        settings: Settings {
            language: if is_chinese { Language::Chinese } else { Language::English },
            theme: if args.theme == "light" { Theme::Light } else { Theme::Dark },
            ..Settings::default()
        },
    }
}

fn screens(is_chinese: bool) -> Arc<[ScreenInfo]> {
    let info = |source, name: &str, width: u32, height: u32, grey: u8| {
        let (small_width, small_height) = (width / 10, height / 10);
        let pixel =
            |at: u32| if (at / small_width / 6).is_multiple_of(2) && !at.is_multiple_of(5) { grey } else { 230 };
        let rgb = (0..small_width * small_height).flat_map(|at| [pixel(at); 3]).collect();
        let thumbnail = Some(Thumbnail { width: small_width, height: small_height, rgb });
        ScreenInfo { source, name: name.to_owned(), width, height, thumbnail }
    };
    let slides = if is_chinese { "第三季度总结.odp - 演示文稿" } else { "Third quarter.odp - Presentation" };
    Arc::from([
        info(ScreenSource::Screen("HDMI-1".to_owned()), "HDMI-1", 1920, 1080, 90),
        info(ScreenSource::Screen("DP-2".to_owned()), "DP-2", 1080, 1920, 120),
        info(ScreenSource::Window(1), slides, 1280, 900, 60),
        info(
            ScreenSource::Window(2),
            "A very long title of a page that nobody ever reads to its end - Browser",
            1600,
            900,
            150,
        ),
        ScreenInfo { thumbnail: None, ..info(ScreenSource::Window(3), "Terminal", 800, 600, 30) },
    ])
}

fn call(screen: Screen, name: &str) -> CallView {
    let (call, peer, name) = (CallId::from_bits(1), peer(1), name.to_owned());
    let since = SystemTime::now() - Duration::from_secs(245);
    let active = ActiveCall {
        call,
        peer,
        name: name.clone(),
        kind: if screen == Screen::Voice { CallKind::Audio } else { CallKind::Video },
        ours: Sending { camera: true, microphone: screen != Screen::Muted, screen: screen == Screen::Sharing },
        theirs: Sending {
            camera: screen != Screen::CameraOff,
            microphone: screen != Screen::Muted,
            screen: screen == Screen::Watching,
        },
        sharing: (screen == Screen::Sharing).then(|| "Third quarter.odp - Presentation".to_owned()),
        camera: if screen == Screen::Muted { CameraState::TestCard } else { CameraState::Open },
    };
    match screen {
        Screen::Online
        | Screen::LinkPerson
        | Screen::LinkNode
        | Screen::LinkRoom
        | Screen::LinkSelf
        | Screen::LinkBroken => CallView::Idle,
        Screen::Stranger => CallView::Incoming { call, peer, name, kind: CallKind::Video, borrows_name: true },
        Screen::Relayed => CallView::Connected {
            active,
            since,
            path: Path { kind: PathKind::Relayed, local: "relay/udp".to_owned(), remote: "srflx/udp".to_owned() },
            stats: Box::new(Stats { rtt_ms: Some(61.0), ..Stats::default() }),
            history: Arc::new(history()),
            quality: Quality::Good,
        },
        Screen::Welcome
        | Screen::People
        | Screen::Empty
        | Screen::Offline
        | Screen::Ended
        | Screen::Settings
        | Screen::Trial => CallView::Idle,
        Screen::Calling => CallView::Outgoing { call, peer, name, kind: CallKind::Video, ringing: true },
        Screen::Incoming => CallView::Incoming { call, peer, name, kind: CallKind::Video, borrows_name: false },
        Screen::Connecting => CallView::Connecting(active),
        Screen::Connected
        | Screen::Voice
        | Screen::CameraOff
        | Screen::Muted
        | Screen::Plugged
        | Screen::Sharing
        | Screen::Watching => CallView::Connected {
            active,
            since,
            path: Path { kind: PathKind::Direct, local: "host/udp".to_owned(), remote: "host/udp".to_owned() },
            stats: Box::new(Stats { rtt_ms: Some(3.2), ..stats() }),
            history: Arc::new(history()),
            quality: if screen == Screen::Muted { Quality::Fair } else { Quality::Good },
        },
        Screen::Reconnecting => CallView::Reconnecting { active, since },
    }
}

/// What was plugged in.
fn plugged(screen: Screen) -> Vec<NewDevice> {
    let device = Device { id: "headset".to_owned(), name: "Acme USB Headset".to_owned() };
    let new = |kind| NewDevice { kind, device: device.clone() };
    match screen {
        Screen::Plugged => vec![new(DeviceKind::Microphone), new(DeviceKind::Speaker)],
        _ => Vec::new(),
    }
}

fn stats() -> Stats {
    let mut stats = Stats { send_bps: 1_480_000, recv_bps: 1_130_000, send_loss: 0.004, ..Stats::default() };
    let video = &mut stats.video_send;
    (video.fps, video.width, video.height, video.codec) = (30.0, 1280, 720, "H264");
    (video.target_bps, video.frames, video.encode_ms) = (1_500_000, 900, 4.0);
    let video = &mut stats.video_recv;
    (video.fps, video.width, video.height, video.codec) = (29.5, 1280, 720, "H264");
    stats
}

/// A minute with a disturbance in it.
fn history() -> History {
    let mut history = History::default();
    for second in 0..60_i16 {
        let wave = f32::from(second) / 6.0;
        let disturbed = (30..40).contains(&second);
        let share = if disturbed { 0.4 } else { 1.0 };
        history.push(Sample {
            send_bps: (1.5e6 * share + 8e4 * wave.sin()) as u32,
            recv_bps: (1.1e6 * share + 6e4 * wave.cos()) as u32,
            send_loss: if disturbed { 0.06 } else { 0.002 },
            recv_loss: if disturbed { 0.09 } else { 0.0 },
            rtt_ms: Some(if disturbed { 120.0 } else { 24.0 + 4.0 * wave.sin() }),
            latency_ms: (second != 20).then(|| 52.0 + 9.0 * wave.cos()),
            jitter_buffer_ms: if disturbed { 85.0 } else { 30.0 },
            send_fps: 30.0,
            recv_fps: if disturbed { 21.0 } else { 29.5 },
        });
    }
    history
}

fn nodes() -> Vec<NodeView> {
    let node = |seed, host: &str, link, kept| {
        let address = format!("/{host}/tcp/4001/p2p/{}", peer(seed)).parse().expect("an address");
        NodeView { node: peer(seed), addresses: vec![address], link, kept }
    };
    let online = NodeLink::Online { rtt: Duration::from_millis(27), turn: true };
    let failed = NodeLink::Failed { reason: "Transport error: connection refused (os error 111)".to_owned() };
    vec![
        node(50, "dns/node.example.org", online, true),
        node(51, "ip4/203.0.113.77", failed, true),
        node(52, "ip6/2001:db8::77", NodeLink::Idle, false),
        node(53, "ip4/198.51.100.4", NodeLink::Connecting, true),
    ]
}

fn link_of(screen: Screen) -> Option<String> {
    let node = format!("node=/dns/node.example.org/tcp/4001/p2p/{}", peer(50));
    match screen {
        Screen::LinkPerson => Some(format!("parlor:{}?name=Li%20Wei&{node}&addr=/ip4/203.0.113.9/tcp/4711", peer(77))),
        Screen::LinkNode => Some(format!("parlor:node?{}", node.replacen("node=", "addr=", 1))),
        Screen::LinkRoom => Some(format!("parlor:room?name=Go%20players&secret=d4&{node}")),
        Screen::LinkSelf => Some(format!("parlor:{}", peer(99))),
        Screen::LinkBroken => Some("parlor:12D3KooW?name=%E6%9".to_owned()),
        _ => None,
    }
}

fn notices_of(screen: Screen) -> Vec<Notice> {
    if let Some(link) = link_of(screen) {
        return vec![Notice::OpenLink(link)];
    }
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
