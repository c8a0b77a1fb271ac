//! One person in the list: a click calls, a small menu does everything else.

use egui::{Align2, Color32, CornerRadius, Popup, PopupCloseBehavior, Rect, Sense, Ui, Vec2, pos2, vec2};
use egui_phosphor::{fill, regular as icons};
use parlor_net::{Status, signalling::CallKind};

use super::super::{
    Scene,
    dialogs::{Dialogs, link_of},
    notices::Notices,
    theme::{self, GAP, Palette, RADIUS, TOUCH},
    widgets::{avatar, dot, focus_ring, icon_button, interact, one_line},
};
use crate::{
    contacts::{ContactChange, Standing},
    engine::{Command, PersonView, Presence},
    fingerprint::Fingerprint,
    text::Text,
};

pub(super) const HEIGHT: f32 = 60.0;

/// Draws a row. `says_via`: the heading above does not tell how people are reached.
pub(super) fn show(
    ui: &mut Ui,
    scene: &mut Scene<'_>,
    person: &PersonView,
    says_via: bool,
    dialogs: &mut Dialogs,
    notices: &mut Notices,
) {
    let (text, palette) = (scene.text, scene.palette);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), HEIGHT), Sense::hover());
    let menu_rect = Rect::from_center_size(rect.right_center() - vec2(TOUCH / 2.0, 0.0), Vec2::splat(TOUCH));
    let voice_rect = menu_rect.translate(vec2(-TOUCH, 0.0));
    let is_online = matches!(person.presence, Presence::Online { .. });
    let buttons_left = if is_online { voice_rect.left() } else { menu_rect.left() };
    let response = interact(ui, rect, &spoken(text, person), ui.id().with("row"));
    if response.hovered() || response.has_focus() {
        ui.painter().rect_filled(rect, CornerRadius::same(RADIUS), palette.hovered);
    }
    focus_ring(ui, &response, rect.shrink(3.0), f32::from(RADIUS) - 3.0);
    paint(ui, text, palette, person, says_via, rect.with_max_x(buttons_left));

    let peer = person.peer;
    if is_online {
        let call_voice = text.people.call_voice.with("name", &person.name);
        if icon_button(ui, voice_rect, icons::PHONE, &call_voice, palette).clicked() {
            scene.commands.push(Command::Call { peer, kind: CallKind::Audio });
        }
    }
    let more = text.people.more.with("name", &person.name);
    let more = icon_button(ui, menu_rect, icons::DOTS_THREE_VERTICAL, &more, palette);
    let mut popup = Popup::menu(&more).close_behavior(PopupCloseBehavior::CloseOnClick).width(240.0);
    if is_online {
        let call_video = text.people.call_video.with("name", &person.name);
        if response.on_hover_text(call_video).clicked() {
            scene.commands.push(Command::Call { peer, kind: CallKind::Video });
        }
    } else if response.clicked() {
        popup = popup.open_memory(egui::SetOpenCommand::Toggle);
    }
    popup.show(|ui| menu(ui, scene, person, dialogs, notices));
}

fn paint(ui: &Ui, text: &Text, palette: &Palette, person: &PersonView, says_via: bool, rect: Rect) {
    let painter = ui.painter();
    let faded = |colour: Color32| match person.presence {
        Presence::Online { .. } => colour,
        Presence::Offline => colour.gamma_multiply(0.55),
    };
    avatar(painter, rect.left_center() + vec2(32.0, 0.0), 44.0, &person.peer, &person.name);
    if person.presence == Presence::Offline {
        painter.circle_filled(rect.left_center() + vec2(32.0, 0.0), 22.0, palette.background.gamma_multiply(0.55));
    }
    let left = rect.left() + 66.0;
    let mut right = rect.right();
    if matches!(person.presence, Presence::Online { .. }) {
        let video_at = pos2(right - 16.0, rect.center().y);
        painter.text(video_at, Align2::CENTER_CENTER, icons::VIDEO_CAMERA, theme::icon(22.0), palette.accent);
        right -= 32.0;
    }
    let width = right - left - GAP;
    let mut name_width = width;
    let key = (person.has_namesake || person.borrows_name).then(|| {
        one_line(painter, &Fingerprint::of(&person.peer).to_string(), theme::regular(12.0), palette.muted, width)
    });
    name_width -= key.as_ref().map_or(0.0, |key| key.size().x + GAP);
    let is_favourite = person.standing == Standing::Favourite;
    name_width -= if is_favourite { 20.0 } else { 0.0 };
    let name = one_line(painter, &person.name, theme::semibold(15.5), faded(palette.text), name_width.max(24.0));
    let mut after = pos2(left + name.size().x + GAP, rect.top() + 12.0);
    painter.galley(pos2(left, rect.top() + 9.0), name, palette.text);
    if is_favourite {
        let at = after + vec2(6.0, 7.0);
        painter.text(at, Align2::CENTER_CENTER, fill::STAR, theme::filled_icon(14.0), faded(palette.warning));
        after.x += 20.0;
    }
    if let Some(key) = key {
        painter.galley(after, key, palette.muted);
    }
    let (words, colour, ink) = if person.borrows_name {
        (text.people.borrowed.clone(), palette.warning, palette.warning)
    } else {
        let colour = match person.presence {
            Presence::Online { status: Status::Free, .. } => palette.success,
            Presence::Online { status: Status::InCall, .. } => palette.warning,
            Presence::Offline => palette.border,
        };
        (details(text, person, says_via), colour, faded(palette.muted))
    };
    dot(painter, pos2(left + 4.0, rect.top() + 41.0), colour);
    let line = one_line(painter, &words, theme::regular(13.0), ink, width - 14.0);
    painter.galley(pos2(left + 14.0, rect.top() + 32.0), line, ink);
}

/// What somebody does, how they are reached (where the heading does not say it), and what they call themselves.
fn details(text: &Text, person: &PersonView, says_via: bool) -> String {
    let mut words = match person.presence {
        Presence::Online { status, via: _ } if !says_via => text.status(status).to_owned(),
        Presence::Online { status, via } => format!("{} · {}", text.status(status), text.via(via)),
        Presence::Offline => text.people.is_offline.clone(),
    };
    if let Some(says) = person.says.as_ref().filter(|says| **says != person.name) {
        words = format!("{} · {words}", text.people.says.with("name", says));
    }
    words
}

/// What a screen reader says of a row: what a click does, and everything that is seen.
fn spoken(text: &Text, person: &PersonView) -> String {
    let details = details(text, person, true);
    let call = match person.presence {
        Presence::Online { .. } => text.people.call_video.with("name", &person.name),
        Presence::Offline => person.name.clone(),
    };
    let fingerprint = Fingerprint::of(&person.peer).to_string();
    if person.borrows_name {
        let key = text.people.fingerprint.with("fingerprint", &fingerprint);
        format!("{call} ({}, {key}, {details})", text.people.borrowed)
    } else if person.has_namesake {
        format!("{call} ({}, {details})", text.people.fingerprint.with("fingerprint", &fingerprint))
    } else {
        format!("{call} ({details})")
    }
}

fn menu(ui: &mut Ui, scene: &mut Scene<'_>, person: &PersonView, dialogs: &mut Dialogs, notices: &mut Notices) {
    let (words, palette, peer) = (&scene.text.people, scene.palette, person.peer);
    let mut change = None;
    if matches!(person.presence, Presence::Online { .. }) {
        if item(ui, palette, icons::VIDEO_CAMERA, &words.menu_video) {
            scene.commands.push(Command::Call { peer, kind: CallKind::Video });
        }
        if item(ui, palette, icons::PHONE, &words.menu_voice) {
            scene.commands.push(Command::Call { peer, kind: CallKind::Audio });
        }
    }
    match person.standing {
        Standing::Stranger => {
            if item(ui, palette, icons::USER_PLUS, &words.add_contact) {
                change = Some(ContactChange::Standing(Standing::Contact));
            }
        }
        Standing::Contact => {
            if item(ui, palette, icons::STAR, &words.favour) {
                change = Some(ContactChange::Standing(Standing::Favourite));
            }
        }
        Standing::Favourite => {
            if item(ui, palette, icons::STAR, &words.unfavour) {
                change = Some(ContactChange::Standing(Standing::Contact));
            }
        }
    }
    if item(ui, palette, icons::PENCIL_SIMPLE, &words.rename) {
        dialogs.rename(peer, &person.name);
    }
    if item(ui, palette, icons::COPY, &words.copy_link) {
        ui.ctx().copy_text(link_of(person, scene.snapshot).to_string());
        notices.say(scene.text.link.copied.clone());
    }
    if person.standing != Standing::Stranger && item(ui, palette, icons::USER_MINUS, &words.remove_contact) {
        change = Some(ContactChange::Standing(Standing::Stranger));
    }
    if item(ui, palette, icons::PROHIBIT, &words.block) {
        notices.say(words.blocked.with("name", &person.name));
        change = Some(ContactChange::Blocked(true));
    }
    if let Some(change) = change {
        scene.commands.push(Command::ChangeContact { peer, change });
    }
}

/// A line of the menu: true when it was clicked.
fn item(ui: &mut Ui, palette: &Palette, icon: &str, words: &str) -> bool {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width().max(200.0), TOUCH), Sense::hover());
    let response = interact(ui, rect, words, ui.id().with(("menu", icon, words)));
    if response.hovered() || response.has_focus() {
        ui.painter().rect_filled(rect, CornerRadius::same(RADIUS - 4), palette.hovered);
    }
    focus_ring(ui, &response, rect.shrink(3.0), f32::from(RADIUS) - 4.0);
    let at = rect.left_center() + vec2(20.0, 0.0);
    ui.painter().text(at, Align2::CENTER_CENTER, icon, theme::icon(18.0), palette.muted);
    let line = one_line(ui.painter(), words, theme::regular(14.5), palette.text, rect.width() - 48.0);
    ui.painter().galley(rect.left_center() + vec2(40.0, -line.size().y / 2.0), line, palette.text);
    response.clicked()
}
