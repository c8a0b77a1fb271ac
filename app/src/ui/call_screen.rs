//! The call: the other's picture large, the own one small, and what can be done.

use std::time::{Duration, SystemTime};

use egui::{Align2, Color32, Key, Modifiers, Pos2, Rect, Sense, Ui, Vec2, WidgetInfo, WidgetType, pos2, vec2};
use egui_phosphor::{fill as filled, regular as icons};
use parlor_media::{CameraState, Frame, PathKind};
use parlor_net::{CallId, signalling::CallKind};

use super::{
    Scene,
    device_menu::{self, Outcome},
    numbers, pressed,
    screen_menu::ScreenMenu,
    theme::{self, GAP, Palette},
    video_view::{Placement, VideoView, fitted},
    widgets::{RoundButton, avatar, centred_label, focus_ring, interact, one_line},
};
use crate::{
    engine::{ActiveCall, CallView, Command, Quality},
    text::Text,
};

const BUTTON: f32 = 56.0;
const PILL: f32 = 32.0;
/// The height of the controls at the bottom.
pub(super) const CONTROLS: f32 = RoundButton::height(BUTTON) + 2.0 * GAP;
/// The height of what is said at the top.
const TOP: f32 = 2.0 * PILL + 3.0 * GAP;
/// The height of what says that the own screen is seen.
const BANNER: f32 = 36.0;
const DOT_INTERVAL: Duration = Duration::from_millis(500);

/// The two pictures of the call, and what lies over them.
#[derive(Default)]
pub(super) struct CallScreen {
    call: Option<CallId>,
    remote: VideoView,
    preview: VideoView,
    screen: VideoView,
    screens: ScreenMenu,
    menu: bool,
    numbers: bool,
}

/// Where the connection stands.
#[derive(Clone, Copy)]
enum Phase<'a> {
    Connecting,
    Connected { since: SystemTime, quality: Quality, path: &'a parlor_media::Path, rtt_ms: Option<f32> },
    Reconnecting { since: SystemTime },
}

/// The height of what is said at the top of this call.
pub(super) fn top(call: &CallView) -> f32 {
    match call {
        CallView::Connecting(active) | CallView::Connected { active, .. } | CallView::Reconnecting { active, .. }
            if active.sharing.is_some() =>
        {
            TOP + BANNER + GAP
        }
        CallView::Idle
        | CallView::Outgoing { .. }
        | CallView::Incoming { .. }
        | CallView::Connecting(_)
        | CallView::Connected { .. }
        | CallView::Reconnecting { .. } => TOP,
    }
}

impl CallScreen {
    /// The other's newest picture.
    pub(super) fn set_remote(&mut self, frame: Frame) {
        self.remote.set(frame);
    }

    /// The newest picture of the other's screen.
    pub(super) fn set_screen(&mut self, frame: Frame) {
        self.screen.set(frame);
    }

    /// Our newest picture.
    pub(super) fn set_preview(&mut self, frame: Frame) {
        self.preview.set(frame);
    }

    /// The pictures, for whoever frees the GPU.
    pub(super) const fn views(&self) -> [&VideoView; 3] {
        [&self.remote, &self.preview, &self.screen]
    }

    /// Pictures of another call, or of none, are forgotten.
    pub(super) fn keep_only(&mut self, scene: &mut Scene<'_>) {
        let (current, shows_screen) = match &scene.snapshot.call {
            CallView::Idle => (None, false),
            CallView::Outgoing { call, .. } | CallView::Incoming { call, .. } => (Some(*call), false),
            CallView::Connecting(active)
            | CallView::Connected { active, .. }
            | CallView::Reconnecting { active, .. } => (Some(active.call), active.theirs.screen),
        };
        if !shows_screen {
            // What comes late of a screen that is shared no more is not the beginning of the next.
            self.screen.clear();
        }
        if self.call != current {
            self.call = current;
            self.remote.clear();
            self.preview.clear();
            self.menu = false;
            self.screens.close(scene);
        }
    }

    /// While we call: how the other will see us, in a corner.
    pub(super) fn show_own_picture(&self, ui: &Ui, scene: &Scene<'_>) {
        if !self.preview.has_picture() {
            return;
        }
        let area = ui.max_rect().shrink(1.5 * GAP);
        let aspect = self.preview.aspect().unwrap_or(16.0 / 9.0).clamp(0.5, 2.0);
        let width = (area.width() * 0.28).clamp(100.0, 240.0).min(area.height() * 0.15 * aspect);
        let rect = Rect::from_min_size(area.right_top() - vec2(width, 0.0), vec2(width, width / aspect));
        let placement = Placement { mirrored: true, fill: true, radius: 10.0 };
        self.preview.show(ui, rect, &scene.text.call.own_picture, placement);
    }

    pub(super) fn show_connecting(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, active: &ActiveCall) {
        self.show(ui, scene, active, Phase::Connecting);
    }

    pub(super) fn show_connected(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, call: &CallView) {
        let CallView::Connected { active, since, path, stats, history, quality } = call else { return };
        let phase = Phase::Connected { since: *since, quality: *quality, path, rtt_ms: stats.rtt_ms };
        self.show(ui, scene, active, phase);
        if pressed(ui, Modifiers::CTRL, Key::I) {
            self.numbers = !self.numbers;
        }
        if self.numbers {
            let stage = ui.max_rect().with_max_y(ui.max_rect().bottom() - CONTROLS);
            let picture = active.kind == CallKind::Video && active.ours.camera;
            let stage = stage.with_min_y(stage.top() + TOP);
            self.numbers = numbers::show(ui, scene, stats, history, picture, stage);
        }
    }

    pub(super) fn show_reconnecting(
        &mut self,
        ui: &mut Ui,
        scene: &mut Scene<'_>,
        active: &ActiveCall,
        since: SystemTime,
    ) {
        self.show(ui, scene, active, Phase::Reconnecting { since });
    }

    fn show(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, active: &ActiveCall, phase: Phase<'_>) {
        let (stage, controls) = ui.max_rect().split_top_bottom_at_y(ui.max_rect().bottom() - CONTROLS);
        self.stage(ui, scene, active, phase, stage);
        let Wants { menu: wants_menu, screens: wants_screens } =
            show_controls(ui, scene, active, phase, self.screens.is_open(), controls);
        if wants_screens && self.screens.is_open() {
            self.screens.close(scene);
        } else if wants_screens {
            self.menu = false;
            self.screens.open(scene);
            self.screens.show(ui, scene, stage, true);
        } else {
            if wants_menu {
                self.screens.close(scene);
            }
            self.screens.show(ui, scene, stage, false);
        }
        let opened = wants_menu && !self.menu;
        if opened {
            // What was plugged in just now is there, too.
            scene.commands.push(Command::RefreshDevices);
        }
        self.menu |= opened;
        if self.menu {
            let outcome = device_menu::show(ui, scene, active, stage, opened);
            self.menu = outcome == Outcome::Open && (opened || !wants_menu);
            self.numbers |= outcome == Outcome::Numbers;
        }
    }

    fn stage(&self, ui: &mut Ui, scene: &mut Scene<'_>, active: &ActiveCall, phase: Phase<'_>, stage: Rect) {
        let (text, palette) = (scene.text, scene.palette);
        let video = active.kind == CallKind::Video;
        let mut picture = stage;
        let shows_screen = active.theirs.screen && self.screen.has_picture();
        if shows_screen {
            let name = text.share.picture.with("name", &active.name);
            self.screen.show(ui, stage, &name, Placement { mirrored: false, fill: false, radius: 0.0 });
            if video && active.theirs.camera && self.remote.has_picture() {
                let name = text.call.remote_picture.with("name", &active.name);
                let rect = inset(stage, self.remote.aspect(), 0);
                self.remote.show(ui, rect, &name, Placement { mirrored: false, fill: true, radius: 10.0 });
            }
        } else if video
            && active.theirs.camera
            && let Some(aspect) = self.remote.aspect()
        {
            picture = fitted(stage, aspect);
            let name = text.call.remote_picture.with("name", &active.name);
            self.remote.show(ui, stage, &name, Placement { mirrored: false, fill: false, radius: 0.0 });
        } else {
            nameplate(ui, scene, active, phase, stage);
        }
        if matches!(phase, Phase::Reconnecting { .. }) {
            ui.painter().rect_filled(stage, 0, Color32::from_black_alpha(130));
            let rect = Rect::from_center_size(stage.center(), vec2(stage.width() - 4.0 * GAP, 60.0));
            centred_label(ui, rect, &text.call.reconnecting, theme::semibold(17.0), theme::ON_COLOUR);
        }
        let previewed = video && active.ours.camera && active.camera != CameraState::Closed;
        if previewed && self.preview.has_picture() {
            let rect = if shows_screen {
                inset(stage, self.preview.aspect(), 1)
            } else {
                own_corner(picture, self.preview.aspect())
            };
            self.preview(ui, scene, active, rect);
        }
        let top = stage.shrink2(vec2(1.5 * GAP, 1.5 * GAP));
        let right = match phase {
            Phase::Connected { quality, .. } => quality_pill(ui, text, palette, top.right_top(), quality),
            Phase::Connecting | Phase::Reconnecting { .. } => top.right(),
        };
        name_pill(ui, scene, active, phase, top.left_top(), right - GAP - top.left());
        let second_line = top.left_top() + vec2(0.0, PILL + GAP);
        let mut room = top.width();
        if let Phase::Connected { path, rtt_ms, .. } = phase {
            let words = path_in_words(text, path, rtt_ms);
            let symbol = match path.kind {
                PathKind::Direct => icons::ARROWS_LEFT_RIGHT,
                PathKind::Relayed => icons::SHARE_NETWORK,
            };
            let width = pill_width(ui, &words);
            let at = pos2(top.right() - width, second_line.y);
            let way = match path.kind {
                PathKind::Direct => &text.quality.direct,
                PathKind::Relayed => &text.quality.relayed,
            };
            pill(ui, at, width, (symbol, theme::ON_COLOUR), &words).on_hover_text(way);
            room -= width + GAP;
        }
        let mut line = second_line;
        if !active.theirs.microphone && !matches!(phase, Phase::Connecting) {
            let words = text.call.their_mic_off.with("name", &active.name);
            pill(ui, line, room, (filled::MICROPHONE_SLASH, palette.warning), &words);
            line.y += PILL + GAP;
            room = top.width();
        }
        if active.theirs.screen && !matches!(phase, Phase::Connecting) {
            let words = text.share.theirs.with("name", &active.name);
            pill(ui, line, room, (filled::MONITOR, theme::ON_COLOUR), &words);
            line.y += PILL + GAP;
        }
        if let Some(what) = &active.sharing {
            let line = line.max(pos2(line.x, top.top() + 2.0 * (PILL + GAP)));
            sharing_banner(ui, scene, what, line, top.width());
        }
    }

    fn preview(&self, ui: &Ui, scene: &Scene<'_>, active: &ActiveCall, rect: Rect) {
        let width = rect.width();
        let placement = Placement { mirrored: true, fill: true, radius: 10.0 };
        self.preview.show(ui, rect, &scene.text.call.own_picture, placement);
        if active.camera == CameraState::TestCard {
            let words =
                one_line(ui.painter(), &scene.text.call.test_card, theme::regular(12.0), theme::ON_COLOUR, width);
            let back = Rect::from_center_size(rect.center_bottom() - vec2(0.0, 14.0), words.size() + vec2(14.0, 4.0));
            ui.painter().rect_filled(back, 9, Color32::from_black_alpha(170));
            ui.painter().galley(back.center() - words.size() / 2.0, words, theme::ON_COLOUR);
        }
    }
}

/// The own picture, in the corner of the other's.
fn own_corner(picture: Rect, aspect: Option<f32>) -> Rect {
    let aspect = aspect.unwrap_or(16.0 / 9.0).clamp(0.5, 2.0);
    let width = (picture.width() * 0.24).clamp(108.0, 240.0).min(picture.height() * 0.4 * aspect);
    let size = vec2(width, width / aspect);
    Rect::from_min_size(picture.max - size - Vec2::splat(1.5 * GAP), size)
}

/// A place beside a screen that is shown: small, at the bottom, the first rightmost. Text is what the screen is shown for.
fn inset(stage: Rect, aspect: Option<f32>, nth: u8) -> Rect {
    let aspect = aspect.unwrap_or(16.0 / 9.0).clamp(0.5, 2.0);
    let width = (stage.width() * 0.16).clamp(100.0, 200.0).min(stage.height() * 0.3 * aspect);
    let size = vec2(width, width / aspect);
    let right = stage.right() - f32::from(nth) * (width + GAP);
    Rect::from_min_size(pos2(right, stage.bottom()) - size - Vec2::splat(GAP), size)
}

/// A sign that can't be missed: what the other person sees of this machine, and the way to end that.
fn sharing_banner(ui: &mut Ui, scene: &mut Scene<'_>, what: &str, at: Pos2, max_width: f32) {
    let (text, palette) = (scene.text, scene.palette);
    let painter = ui.painter();
    let stop = one_line(painter, &text.share.stop, theme::semibold(14.0), theme::ON_COLOUR, f32::INFINITY);
    let button_width = stop.size().x + 3.0 * GAP;
    // The desktop does not say what it had the person choose.
    let what = if what.is_empty() { &text.share.chosen } else { what };
    let words = text.share.sharing.with("what", what);
    let room = max_width - button_width - BANNER - 1.5 * GAP;
    let words_shown = one_line(painter, &words, theme::semibold(14.0), theme::ON_COLOUR, room);
    let width = words_shown.size().x + BANNER + button_width + 1.5 * GAP;
    let rect = Rect::from_min_size(at, vec2(width, BANNER));
    painter.rect_filled(rect, BANNER / 2.0, palette.accent);
    let icon_at = pos2(rect.left() + BANNER / 2.0 + 2.0, rect.center().y);
    painter.text(icon_at, Align2::CENTER_CENTER, filled::MONITOR, theme::filled_icon(19.0), theme::ON_COLOUR);
    let words_at = pos2(rect.left() + BANNER, rect.center().y - words_shown.size().y / 2.0);
    painter.galley(words_at, words_shown, theme::ON_COLOUR);
    let said = ui.interact(rect, ui.id().with("sharing"), Sense::hover());
    said.widget_info(|| WidgetInfo::labeled(WidgetType::Label, true, &words));
    let button = rect.with_min_x(rect.right() - button_width).shrink(4.0);
    let response = interact(ui, button, &text.share.stop_tooltip, ui.id().with("stop sharing"));
    let alpha = if response.hovered() || response.has_focus() { 130 } else { 80 };
    ui.painter().rect_filled(button, button.height() / 2.0, Color32::from_black_alpha(alpha));
    focus_ring(ui, &response, button, button.height() / 2.0);
    ui.painter().galley(button.center() - stop.size() / 2.0, stop, theme::ON_COLOUR);
    if response.on_hover_text(&text.share.stop_tooltip).clicked() {
        scene.commands.push(Command::StopSharing);
    }
}

/// Instead of a picture: who it is, and why there is no picture.
fn nameplate(ui: &mut Ui, scene: &Scene<'_>, active: &ActiveCall, phase: Phase<'_>, stage: Rect) {
    let (text, palette) = (scene.text, scene.palette);
    let why = match (phase, active.kind) {
        (Phase::Connecting, _) => connecting(ui, text),
        (_, CallKind::Audio) => text.call.voice_call.clone(),
        (_, CallKind::Video) if active.theirs.camera => text.call.waiting_for_picture.clone(),
        (_, CallKind::Video) => text.call.their_camera_off.with("name", &active.name),
    };
    let diameter = (stage.height() * 0.3).clamp(48.0, 144.0);
    let centre = stage.center() - vec2(0.0, 40.0);
    avatar(ui.painter(), centre, diameter, &active.peer, &active.name);
    let width = stage.width() - 4.0 * GAP;
    let name = Rect::from_center_size(centre + vec2(0.0, diameter / 2.0 + 32.0), vec2(width, 32.0));
    centred_label(ui, name, &active.name, theme::semibold(22.0), palette.text);
    centred_label(ui, name.translate(vec2(0.0, 32.0)), &why, theme::regular(15.0), palette.muted);
}

/// The sentence with one to three dots, moving: it goes on.
fn connecting(ui: &Ui, text: &Text) -> String {
    ui.ctx().request_repaint_after(DOT_INTERVAL);
    let dots = (ui.input(|input| input.time) / DOT_INTERVAL.as_secs_f64()) as usize % 3 + 1;
    format!("{}{}", text.call.connecting.trim_end_matches('…'), ".".repeat(dots))
}

/// Who it is, and for how long we talk.
fn name_pill(ui: &mut Ui, scene: &Scene<'_>, active: &ActiveCall, phase: Phase<'_>, at: Pos2, max_width: f32) {
    let since = match phase {
        Phase::Connecting => return,
        Phase::Connected { since, .. } | Phase::Reconnecting { since } => since,
    };
    let talked = scene.now.duration_since(since).unwrap_or_default();
    ui.ctx().request_repaint_after(Duration::from_secs(1) - Duration::from_nanos(talked.subsec_nanos().into()));
    let time = clock(talked);
    let painter = ui.painter();
    let duration = one_line(painter, &time, theme::regular(14.0), theme::ON_COLOUR, f32::INFINITY);
    let name_width = max_width - duration.size().x - 3.5 * GAP;
    let name = one_line(painter, &active.name, theme::semibold(14.0), theme::ON_COLOUR, name_width.max(0.0));
    let width = name.size().x + duration.size().x + 3.5 * GAP;
    let rect = Rect::from_min_size(at, vec2(width, PILL));
    painter.rect_filled(rect, PILL / 2.0, Color32::from_black_alpha(150));
    let baseline = |height: f32| rect.center().y - height / 2.0;
    painter.galley(pos2(at.x + 1.5 * GAP, baseline(name.size().y)), name, theme::ON_COLOUR);
    let duration_at = pos2(rect.right() - 1.5 * GAP - duration.size().x, baseline(duration.size().y));
    painter.galley(duration_at, duration, theme::ON_COLOUR);
    let spoken = format!("{}, {}", active.name, scene.text.call.duration.with("time", &time));
    let response = ui.interact(rect, ui.id().with("name and duration"), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(WidgetType::Label, true, &spoken));
}

/// The path that media takes, and its delay.
fn path_in_words(text: &Text, path: &parlor_media::Path, rtt_ms: Option<f32>) -> String {
    let way = match path.kind {
        PathKind::Direct => &text.quality.direct_short,
        PathKind::Relayed => &text.quality.relayed_short,
    };
    match rtt_ms {
        Some(ms) => format!("{way} · {}", text.quality.round_trip.with("ms", &format!("{ms:.0}"))),
        None => way.clone(),
    }
}

/// How the call feels, in a word. Returns its left edge.
fn quality_pill(ui: &mut Ui, text: &Text, palette: &Palette, right_top: Pos2, quality: Quality) -> f32 {
    let symbol = match quality {
        Quality::Unknown => (icons::CELL_SIGNAL_NONE, palette.muted),
        Quality::Good => (icons::CELL_SIGNAL_FULL, palette.success),
        Quality::Fair => (icons::CELL_SIGNAL_MEDIUM, palette.warning),
        Quality::Poor => (icons::CELL_SIGNAL_LOW, palette.danger),
    };
    let words = text.quality(quality);
    let width = pill_width(ui, words);
    pill(ui, right_top - vec2(width, 0.0), width, symbol, words);
    right_top.x - width
}

/// Words and a symbol that can be read on any picture.
fn pill(ui: &mut Ui, at: Pos2, max_width: f32, (icon, colour): (&str, Color32), words: &str) -> egui::Response {
    let painter = ui.painter();
    let galley = one_line(painter, words, theme::regular(13.0), theme::ON_COLOUR, max_width - PILL - 1.5 * GAP + 1.0);
    let rect = Rect::from_min_size(at, vec2(galley.size().x + PILL + 1.5 * GAP, PILL));
    painter.rect_filled(rect, PILL / 2.0, Color32::from_black_alpha(150));
    let icon_at = pos2(at.x + PILL / 2.0 + 2.0, rect.center().y);
    painter.text(icon_at, Align2::CENTER_CENTER, icon, theme::filled_icon(17.0), colour);
    painter.galley(pos2(at.x + PILL, rect.center().y - galley.size().y / 2.0), galley, theme::ON_COLOUR);
    let response = ui.interact(rect, ui.id().with(("pill", icon)), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(WidgetType::Label, true, words));
    response
}

fn pill_width(ui: &Ui, words: &str) -> f32 {
    let galley = one_line(ui.painter(), words, theme::regular(13.0), theme::ON_COLOUR, f32::INFINITY);
    galley.size().x + PILL + 1.5 * GAP
}

/// What is to be opened, or closed.
struct Wants {
    /// The menu of devices.
    menu: bool,
    /// The menu of screens.
    screens: bool,
}

fn show_controls(
    ui: &mut Ui,
    scene: &mut Scene<'_>,
    active: &ActiveCall,
    phase: Phase<'_>,
    choosing: bool,
    area: Rect,
) -> Wants {
    let (text, palette) = (scene.text, scene.palette);
    let ours = active.ours;
    let toggle = |on: bool, icon, label, key, tooltip| {
        let (fill, ink) = if on { (palette.hovered, palette.text) } else { (palette.text, palette.background) };
        RoundButton { icon, fill, ink, diameter: BUTTON, label, key, tooltip, palette }
    };
    let microphone = if ours.microphone {
        toggle(true, filled::MICROPHONE, &text.call.mute, "M", &text.call.mute_tooltip)
    } else {
        toggle(false, filled::MICROPHONE_SLASH, &text.call.unmute, "M", &text.call.unmute_tooltip)
    };
    let camera = (active.kind == CallKind::Video).then(|| {
        if ours.camera {
            toggle(true, filled::VIDEO_CAMERA, &text.call.camera_off, "V", &text.call.camera_off_tooltip)
        } else {
            toggle(false, filled::VIDEO_CAMERA_SLASH, &text.call.camera_on, "V", &text.call.camera_on_tooltip)
        }
    });
    let hang_up_key = text.keys.control.with("key", "H");
    let hang_up = RoundButton {
        icon: filled::PHONE_DISCONNECT,
        fill: palette.danger,
        ink: theme::ON_COLOUR,
        diameter: BUTTON,
        label: &text.call.hang_up,
        key: &hang_up_key,
        tooltip: &text.call.hang_up_tooltip,
        palette,
    };
    let devices = RoundButton {
        icon: filled::GEAR_SIX,
        fill: palette.hovered,
        ink: palette.text,
        diameter: BUTTON,
        label: &text.devices.menu_short,
        key: "D",
        tooltip: &text.devices.menu_tooltip,
        palette,
    };
    let is_sharing = active.sharing.is_some();
    let share = match phase {
        Phase::Connecting => None,
        Phase::Connected { .. } | Phase::Reconnecting { .. } if is_sharing => {
            Some(toggle(false, filled::MONITOR, &text.share.stop, "S", &text.share.stop_tooltip))
        }
        Phase::Connected { .. } | Phase::Reconnecting { .. } => {
            // The list that it opened lies where the tooltip would.
            let tooltip = if choosing { "" } else { &text.share.start_tooltip };
            Some(toggle(true, filled::MONITOR_ARROW_UP, &text.share.start, "S", tooltip))
        }
    };
    let count = 3.0 + f32::from(u8::from(camera.is_some())) + f32::from(u8::from(share.is_some()));
    let pitch = (area.width() / count).min(112.0);
    let mut at = pos2(area.center().x - pitch * (count - 1.0) / 2.0, area.top() + GAP);
    let mut place = |ui: &mut Ui, button: RoundButton<'_>| {
        let clicked = button.show(ui, at, pitch - 2.0).clicked();
        at.x += pitch;
        clicked
    };
    if place(ui, microphone) || pressed(ui, Modifiers::NONE, Key::M) {
        scene.commands.push(Command::SetMicrophone(!ours.microphone));
    }
    if let Some(camera) = camera
        && (place(ui, camera) || pressed(ui, Modifiers::NONE, Key::V))
    {
        scene.commands.push(Command::SetCamera(!ours.camera));
    }
    let mut wants = Wants { menu: false, screens: false };
    if let Some(share) = share
        && (place(ui, share) || pressed(ui, Modifiers::NONE, Key::S))
    {
        if is_sharing {
            scene.commands.push(Command::StopSharing);
        } else {
            wants.screens = true;
        }
    }
    wants.menu = place(ui, devices) || pressed(ui, Modifiers::NONE, Key::D);
    if place(ui, hang_up) || pressed(ui, Modifiers::CTRL, Key::H) {
        scene.commands.push(Command::HangUp);
    }
    wants
}

/// `4:05`, `1:04:05`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_reads_like_a_clock() {
        for (seconds, shown) in [(0, "0:00"), (59, "0:59"), (245, "4:05"), (3845, "1:04:05"), (360_000, "100:00:00")] {
            assert_eq!(clock(Duration::from_secs(seconds)), shown);
        }
    }
}
