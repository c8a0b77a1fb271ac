//! Every screen, driven through its accessibility tree as a person or a screen reader would.

mod calls;
mod devices;
mod doctor;
mod links;
mod looks;
mod network;
mod people;
mod screens;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use egui_kittest::Harness;
use parlor_media::{CameraState, Frame, MediaTime, Path, PathKind, Stats};
use parlor_net::{CallId, Keypair, PeerId, Status, Via, signalling::CallKind};

use super::Ui;
use crate::{
    contacts::Standing,
    engine::{
        ActiveCall, CallView, Checkup, Command, Devices, Me, PersonView, Presence, Quality, Screens, Sending, Snapshot,
    },
    settings::{Language, Settings},
    text::Text,
};

const PHONE: [f32; 2] = [360.0, 640.0];
const DESKTOP: [f32; 2] = [1280.0, 800.0];
const LANGUAGES: [Language; 2] = [Language::English, Language::Chinese];

/// The window's surface with a snapshot that the test changes, and the commands that came out.
struct Surface {
    ui: Ui,
    snapshot: Snapshot,
    commands: Vec<Command>,
    now: SystemTime,
    has_fonts: bool,
}

impl Surface {
    fn text(&self) -> &'static Text {
        Text::of(self.snapshot.settings.language)
    }
}

fn open(snapshot: Snapshot, size: [f32; 2]) -> Harness<'static, Surface> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let surface = Surface { ui: Ui::default(), snapshot, commands: Vec::new(), now, has_fonts: false };
    let mut harness = Harness::builder().with_size(size).build_ui_state(
        |ui, surface: &mut Surface| {
            if surface.has_fonts {
                let commands = surface.ui.show(ui, &surface.snapshot, surface.now);
                surface.commands.extend(commands);
            } else {
                // They can be used from the next frame on.
                Ui::install(ui.ctx());
                surface.has_fonts = true;
                ui.ctx().request_repaint();
            }
        },
        surface,
    );
    // Long enough for a call that rings to take answers.
    harness.run_steps(4);
    harness
}

/// What the person did since the last time.
fn commands(harness: &mut Harness<'static, Surface>) -> Vec<Command> {
    harness.run_steps(2);
    std::mem::take(&mut harness.state_mut().commands)
}

fn peer(seed: u8) -> PeerId {
    Keypair::ed25519_from_bytes([seed; 32]).expect("32 bytes are a key").public().to_peer_id()
}

pub(in crate::ui) fn person(seed: u8, name: &str) -> PersonView {
    PersonView {
        peer: peer(seed),
        name: name.to_owned(),
        says: None,
        has_namesake: false,
        borrows_name: false,
        presence: Presence::Online { status: Status::Free, via: Via::Lan },
        standing: Standing::Stranger,
        rooms: Vec::new(),
        nodes: Vec::new(),
    }
}

/// Online as Alex, with Ada and Li Wei.
pub(in crate::ui) fn snapshot(language: Language) -> Snapshot {
    Snapshot {
        me: Me { peer: peer(99), name: Some("Alex".to_owned()), online: true },
        people: vec![person(1, "Ada"), person(2, "李伟")],
        nodes: Vec::new(),
        rooms: Vec::new(),
        blocked: Vec::new(),
        scanning: false,
        call: CallView::Idle,
        devices: Devices::default(),
        new_devices: Vec::new(),
        screens: Screens::default(),
        trial: None,
        checkup: Checkup::None,
        settings: Settings { language, ..Settings::default() },
    }
}

fn in_call(language: Language, call: CallView) -> Snapshot {
    Snapshot { call, ..snapshot(language) }
}

const CALL: CallId = CallId::from_bits(7);

fn incoming(kind: CallKind) -> CallView {
    CallView::Incoming { call: CALL, peer: peer(1), name: "Ada".to_owned(), kind, borrows_name: false }
}

fn outgoing(ringing: bool) -> CallView {
    CallView::Outgoing { call: CALL, peer: peer(1), name: "Ada".to_owned(), kind: CallKind::Video, ringing }
}

fn active(kind: CallKind) -> ActiveCall {
    let all = Sending { camera: kind == CallKind::Video, microphone: true, screen: false };
    let (peer, name) = (peer(1), "Ada".to_owned());
    ActiveCall { call: CALL, peer, name, kind, ours: all, theirs: all, camera: CameraState::Open, sharing: None }
}

fn connected(active: ActiveCall) -> CallView {
    CallView::Connected {
        active,
        since: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - 245),
        path: Path { kind: PathKind::Direct, local: "host/udp".to_owned(), remote: "host/udp".to_owned() },
        stats: Box::new(Stats::default()),
        history: Arc::default(),
        quality: Quality::Good,
    }
}

fn frame() -> Frame {
    Frame::from_i420(160, 90, Arc::new(vec![128; Frame::i420_len(160, 90)]), MediaTime::default())
}
