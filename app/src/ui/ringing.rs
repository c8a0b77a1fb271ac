//! Calling somebody, and being called.

use std::time::Duration;

use egui::{Color32, Key, Modifiers, Pos2, Rect, Stroke, Ui, pos2, vec2};
use egui_phosphor::fill as icons;
use parlor_net::{CallId, PeerId, signalling::CallKind};

use super::{
    Scene, pressed,
    theme::{self, GAP},
    widgets::{RoundButton, avatar, centred_label, warning},
};
use crate::{engine::Command, fingerprint::Fingerprint};

/// A call that appears under a moving finger, or while somebody types, must not be answered by that: what is pressed in
/// the first moment is meant for the screen before.
const SETTLING: f64 = 0.4;

const BUTTON: f32 = 68.0;
const AVATAR: f32 = 128.0;
const RING_FRAME: Duration = Duration::from_millis(80);

/// Remembers since when it rings.
#[derive(Default)]
pub(super) struct Ringing {
    since: Option<(CallId, f64)>,
}

/// Who is on the other end.
pub(super) struct Other<'a> {
    pub call: CallId,
    pub peer: &'a PeerId,
    pub name: &'a str,
    pub kind: CallKind,
}

impl Ringing {
    /// We are calling.
    pub(super) fn show_outgoing(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, other: &Other<'_>, ringing: bool) {
        let text = scene.text;
        let status = if ringing { &text.ringing.ringing } else { &text.ringing.calling };
        let area = portrait(ui, scene, other, other.name, status, None, ringing);
        let cancel = RoundButton {
            icon: icons::PHONE_DISCONNECT,
            fill: scene.palette.danger,
            ink: theme::ON_COLOUR,
            diameter: BUTTON,
            label: &text.ringing.cancel,
            key: &text.keys.escape,
            tooltip: &text.ringing.cancel,
            palette: scene.palette,
        };
        let clicked = cancel.show(ui, area, 160.0).clicked();
        if self.is_settled(ui, other.call) && (clicked || pressed(ui, Modifiers::NONE, Key::Escape)) {
            scene.commands.push(Command::HangUp);
        }
    }

    /// Somebody is calling us.
    pub(super) fn show_incoming(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, other: &Other<'_>, borrows_name: bool) {
        let text = scene.text;
        let title = text.ringing.incoming_title.with("name", other.name);
        let (kind, accept_icon) = match other.kind {
            CallKind::Video => (&text.ringing.incoming_video, icons::VIDEO_CAMERA),
            CallKind::Audio => (&text.ringing.incoming_voice, icons::PHONE),
        };
        let careful = borrows_name.then(|| {
            let fingerprint = Fingerprint::of(other.peer).to_string();
            format!(
                "{} ({})",
                text.ringing.borrowed.with("name", other.name),
                text.people.fingerprint.with("fingerprint", &fingerprint)
            )
        });
        let top = portrait(ui, scene, other, &title, kind, careful.as_deref(), true);
        let apart = vec2((ui.max_rect().width() / 4.0).min(110.0), 0.0);
        let button = |icon, fill, label, key| RoundButton {
            icon,
            fill,
            ink: theme::ON_COLOUR,
            diameter: BUTTON,
            label,
            key,
            tooltip: label,
            palette: scene.palette,
        };
        let decline = button(icons::PHONE_X, scene.palette.danger, &text.ringing.decline, &text.keys.escape);
        let declined = decline.show(ui, top - apart, 150.0).clicked();
        let accept = button(accept_icon, scene.palette.success, &text.ringing.accept, &text.keys.enter);
        let accepted = accept.show(ui, top + apart, 150.0).clicked();
        if !self.is_settled(ui, other.call) {
            return;
        }
        if declined || pressed(ui, Modifiers::NONE, Key::Escape) {
            scene.commands.push(Command::Decline);
        } else if accepted || pressed(ui, Modifiers::NONE, Key::Enter) {
            scene.commands.push(Command::Accept);
        }
    }

    fn is_settled(&mut self, ui: &Ui, call: CallId) -> bool {
        let now = ui.input(|input| input.time);
        match self.since {
            Some((since_call, since)) if since_call == call => now - since >= SETTLING,
            _ => {
                self.since = Some((call, now));
                false
            }
        }
    }
}

/// The other's avatar and name in the middle; where the buttons go is returned.
fn portrait(
    ui: &mut Ui,
    scene: &Scene<'_>,
    other: &Other<'_>,
    title: &str,
    status: &str,
    careful: Option<&str>,
    rings: bool,
) -> Pos2 {
    let palette = scene.palette;
    let area = ui.max_rect();
    let buttons = RoundButton::height(BUTTON);
    let content = AVATAR + if careful.is_some() { 200.0 } else { 110.0 };
    let gap = ((area.height() - content - buttons) / 3.0).clamp(2.0 * GAP, 110.0);
    let top = area.center().y - (content + gap + buttons) / 2.0;
    let centre = pos2(area.center().x, top + AVATAR / 2.0);
    if rings {
        rings_around(ui, centre, scene.palette.accent);
    }
    avatar(ui.painter(), centre, AVATAR, other.peer, other.name);
    let width = area.width() - 4.0 * GAP;
    let title_rect = Rect::from_center_size(pos2(centre.x, top + AVATAR + 50.0), vec2(width, 34.0));
    centred_label(ui, title_rect, title, theme::semibold(24.0), palette.text);
    let status_rect = title_rect.translate(vec2(0.0, 36.0));
    centred_label(ui, status_rect, status, theme::regular(16.0), palette.muted);
    if let Some(careful) = careful {
        let size = vec2(width.min(420.0), 90.0);
        let rect = Rect::from_min_size(pos2(centre.x - size.x / 2.0, status_rect.bottom() + GAP), size);
        ui.scope_builder(egui::UiBuilder::new().max_rect(rect), |ui| warning(ui, careful, palette));
    }
    pos2(centre.x, top + content + gap)
}

/// Rings that go out from the avatar, slowly enough to cost little.
fn rings_around(ui: &Ui, centre: Pos2, colour: Color32) {
    let phase = (ui.input(|input| input.time) / 2.0).fract() as f32;
    for ring in [phase, (phase + 0.5).fract()] {
        let radius = AVATAR / 2.0 + 6.0 + ring * 26.0;
        ui.painter().circle_stroke(centre, radius, Stroke::new(2.5, colour.gamma_multiply(0.55 * (1.0 - ring))));
    }
    ui.ctx().request_repaint_after(RING_FRAME);
}
