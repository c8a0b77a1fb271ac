//! Who is there. One click calls.

use egui::{Align, Align2, CornerRadius, Layout, Rect, ScrollArea, Sense, Ui, Vec2, pos2, vec2};
use egui_phosphor::regular as icons;
use parlor_net::{Status, signalling::CallKind};

use super::{
    Page, Scene,
    notices::Notices,
    theme::{self, GAP, RADIUS, TOUCH, WIDE},
    widgets::{avatar, dot, focus_ring, icon_button, interact, label, one_line},
};
use crate::{
    engine::{Command, PersonView},
    fingerprint::Fingerprint,
};

const ROW: f32 = 68.0;
/// The width of the list on a large window.
pub(super) const SIDEBAR: f32 = 340.0;

/// Draws the list, and beside it (where there is space) what to do with it. Returns where to go next.
pub(super) fn show(ui: &mut Ui, scene: &mut Scene<'_>, notices: &mut Notices) -> Option<Page> {
    let whole = ui.max_rect();
    if whole.width() < WIDE {
        return list(ui, scene, notices);
    }
    let (left, right) = whole.split_left_right_at_x(whole.left() + SIDEBAR);
    ui.painter().rect_filled(left, 0, scene.palette.surface);
    ui.painter().vline(left.right(), left.y_range(), egui::Stroke::new(1.0, scene.palette.border));
    let builder = |rect: Rect| egui::UiBuilder::new().max_rect(rect).layout(Layout::top_down(Align::Min));
    let next = ui.scope_builder(builder(left), |ui| list(ui, scene, notices)).inner;
    ui.scope_builder(builder(right), |ui| beside(ui, scene));
    next
}

fn list(ui: &mut Ui, scene: &mut Scene<'_>, notices: &mut Notices) -> Option<Page> {
    let mut next = None;
    egui::Frame::new().inner_margin(egui::Margin::symmetric(12, 12)).show(ui, |ui| {
        if me(ui, scene) {
            next = Some(Page::Settings);
        }
        notices.show_staying(ui, scene);
        let people = &scene.snapshot.people;
        if people.is_empty() {
            nobody(ui, scene);
            return;
        }
        ui.add_space(GAP);
        ui.horizontal(|ui| {
            ui.spacing_mut().interact_size.y = 0.0;
            ui.add_space(GAP);
            label(ui, &scene.text.people.title, theme::semibold(13.0), scene.palette.muted);
            label(ui, &people.len().to_string(), theme::regular(13.0), scene.palette.muted);
        });
        ScrollArea::vertical().auto_shrink(false).show_rows(ui, ROW - GAP, people.len(), |ui, range| {
            for person in &people[range] {
                ui.push_id(person.peer, |ui| row(ui, scene.text, scene.palette, person, scene.commands));
            }
        });
    });
    next
}

/// Who we are, and the way to the settings. True when that was clicked.
fn me(ui: &mut Ui, scene: &Scene<'_>) -> bool {
    let (text, palette, me) = (scene.text, scene.palette, &scene.snapshot.me);
    let name = me.name.as_deref().unwrap_or_default();
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 52.0), Sense::hover());
    let (state, colour) =
        if me.online { (&text.people.visible, palette.success) } else { (&text.people.invisible, palette.warning) };
    let shown = text.people.you.with("name", name);
    response.widget_info(|| egui::WidgetInfo::labeled(egui::WidgetType::Label, true, format!("{shown} · {state}")));
    avatar(ui.painter(), rect.left_center() + vec2(28.0, 0.0), 44.0, &me.peer, name);
    let left = rect.left() + 62.0;
    let width = rect.width() - 62.0 - TOUCH - GAP;
    let painter = ui.painter();
    let line = one_line(painter, name, theme::semibold(17.0), palette.text, width);
    painter.galley(pos2(left, rect.top() + 4.0), line, palette.text);
    let line = one_line(painter, state, theme::regular(13.0), palette.muted, width - 14.0);
    dot(painter, pos2(left + 4.0, rect.top() + 37.0), colour);
    painter.galley(pos2(left + 14.0, rect.top() + 28.0), line, palette.muted);
    let gear = Rect::from_center_size(rect.right_center() - vec2(TOUCH / 2.0, 0.0), Vec2::splat(TOUCH));
    icon_button(ui, gear, icons::GEAR_SIX, &text.people.settings, palette).clicked()
}

fn row(
    ui: &mut Ui,
    text: &crate::text::Text,
    palette: &theme::Palette,
    person: &PersonView,
    commands: &mut Vec<Command>,
) {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), ROW - GAP), Sense::hover());
    let voice_rect = Rect::from_center_size(rect.right_center() - vec2(TOUCH / 2.0 + 4.0, 0.0), Vec2::splat(TOUCH));
    let details = format!("{} · {}", text.status(person.status), text.via(person.via));
    let spoken = spoken(text, person, &details);
    let call_video = text.people.call_video.with("name", &person.name);
    let response = interact(ui, rect, &spoken, ui.id().with("row"));
    let painter = ui.painter();
    if response.hovered() || response.has_focus() {
        painter.rect_filled(rect, CornerRadius::same(RADIUS), palette.hovered);
    }
    focus_ring(ui, &response, rect.shrink(3.0), f32::from(RADIUS) - 3.0);
    avatar(painter, rect.left_center() + vec2(32.0, 0.0), 44.0, &person.peer, &person.name);
    let left = rect.left() + 66.0;
    let video_at = voice_rect.center() - vec2(TOUCH - 2.0, 0.0);
    painter.text(video_at, Align2::CENTER_CENTER, icons::VIDEO_CAMERA, theme::icon(22.0), palette.accent);
    let width = video_at.x - 11.0 - left - GAP;
    let mut name_width = width;
    let key = person.has_namesake.then(|| {
        one_line(painter, &Fingerprint::of(&person.peer).to_string(), theme::regular(12.0), palette.muted, width)
    });
    if let Some(key) = &key {
        name_width -= key.size().x + GAP;
    }
    let name = one_line(painter, &person.name, theme::semibold(15.5), palette.text, name_width);
    let key_at = pos2(left + name.size().x + GAP, rect.top() + 12.0);
    painter.galley(pos2(left, rect.top() + 9.0), name, palette.text);
    if let Some(key) = key {
        painter.galley(key_at, key, palette.muted);
    }
    let colour = match person.status {
        Status::Free => palette.success,
        Status::InCall => palette.warning,
    };
    dot(painter, pos2(left + 4.0, rect.top() + 41.0), colour);
    let line = one_line(painter, &details, theme::regular(13.0), palette.muted, width - 14.0);
    painter.galley(pos2(left + 14.0, rect.top() + 32.0), line, palette.muted);
    let peer = person.peer;
    let call_voice = text.people.call_voice.with("name", &person.name);
    let voice = icon_button(ui, voice_rect, icons::PHONE, &call_voice, palette);
    if voice.clicked() {
        commands.push(Command::Call { peer, kind: CallKind::Audio });
    } else if response.on_hover_text(call_video).clicked() {
        commands.push(Command::Call { peer, kind: CallKind::Video });
    }
}

/// What a screen reader says of a row: what a click does, and everything that is seen.
fn spoken(text: &crate::text::Text, person: &PersonView, details: &str) -> String {
    let call = text.people.call_video.with("name", &person.name);
    if person.has_namesake {
        let fingerprint = Fingerprint::of(&person.peer).to_string();
        format!("{call} ({}, {details})", text.people.fingerprint.with("fingerprint", &fingerprint))
    } else {
        format!("{call} ({details})")
    }
}

/// The list is empty: say why, and what to do.
fn nobody(ui: &mut Ui, scene: &Scene<'_>) {
    let (text, palette) = (scene.text, scene.palette);
    let (icon, title, body) = if scene.snapshot.me.online {
        (icons::USERS_THREE, &text.people.empty_title, &text.people.empty_body)
    } else {
        (icons::WIFI_SLASH, &text.people.offline_title, &text.people.offline_body)
    };
    ui.vertical_centered(|ui| {
        ui.add_space((ui.available_height() * 0.22).min(140.0));
        let (rect, _) = ui.allocate_exact_size(Vec2::splat(88.0), Sense::hover());
        ui.painter().circle_filled(rect.center(), 44.0, palette.hovered);
        ui.painter().text(rect.center(), Align2::CENTER_CENTER, icon, theme::icon(40.0), palette.muted);
        ui.add_space(GAP);
        ui.allocate_ui(vec2((ui.available_width() - 2.0 * GAP).min(320.0), 0.0), |ui| {
            label(ui, title, theme::semibold(18.0), palette.text);
            label(ui, body, theme::regular(14.5), palette.muted);
        });
    });
}

/// The space beside the list on a large window.
fn beside(ui: &mut Ui, scene: &Scene<'_>) {
    let (text, palette) = (scene.text, scene.palette);
    let me = scene.snapshot.me.name.as_deref().unwrap_or_default();
    ui.vertical_centered(|ui| {
        ui.add_space((ui.available_height() - 190.0) / 2.0);
        super::logo::show(ui, 84.0);
        ui.add_space(2.0 * GAP);
        label(ui, &text.people.choose_title.with("name", me), theme::semibold(26.0), palette.text);
        if !scene.snapshot.people.is_empty() {
            label(ui, &text.people.choose_body, theme::regular(15.0), palette.muted);
        }
    });
}
