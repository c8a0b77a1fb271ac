//! Who is there. One click calls.

mod row;
mod sections;

use egui::{Align, Align2, Layout, Rect, ScrollArea, Sense, Ui, Vec2, pos2, vec2};
use egui_phosphor::regular as icons;

use self::sections::{Item, Section};
use super::{
    Page, Scene,
    dialogs::Dialogs,
    notices::Notices,
    theme::{self, GAP, TOUCH, WIDE},
    widgets::{avatar, dot, icon_button, label, one_line, quiet_button},
};
use crate::{
    engine::{Presence, Snapshot},
    text::Text,
};

const HEADING: f32 = 34.0;
/// The width of the list on a large window.
pub(super) const SIDEBAR: f32 = 376.0;

/// Draws the list, and beside it (where there is space) what to do with it. Returns where to go next.
pub(super) fn show(ui: &mut Ui, scene: &mut Scene<'_>, dialogs: &mut Dialogs, notices: &mut Notices) -> Option<Page> {
    let whole = ui.max_rect();
    if whole.width() < WIDE {
        return list(ui, scene, dialogs, notices);
    }
    let (left, right) = whole.split_left_right_at_x(whole.left() + SIDEBAR);
    ui.painter().rect_filled(left, 0, scene.palette.surface);
    ui.painter().vline(left.right(), left.y_range(), egui::Stroke::new(1.0, scene.palette.border));
    let builder = |rect: Rect| egui::UiBuilder::new().max_rect(rect).layout(Layout::top_down(Align::Min));
    let next = ui.scope_builder(builder(left), |ui| list(ui, scene, dialogs, notices)).inner;
    ui.scope_builder(builder(right), |ui| beside(ui, scene));
    next
}

fn list(ui: &mut Ui, scene: &mut Scene<'_>, dialogs: &mut Dialogs, notices: &mut Notices) -> Option<Page> {
    let mut next = None;
    egui::Frame::new().inner_margin(egui::Margin::symmetric(12, 12)).show(ui, |ui| {
        if me(ui, scene) {
            next = Some(Page::Settings);
        }
        links(ui, scene, dialogs);
        notices.show_staying(ui, scene);
        let items = sections::items(scene.snapshot);
        if !anybody_is_there(scene.snapshot) && items.is_empty() {
            if nobody(ui, scene) {
                next = Some(Page::Nodes);
            }
            return;
        }
        rows(ui, scene, &items, dialogs, notices);
    });
    next
}

/// The lines that can be seen, and one more on each side for the keyboard to go to.
fn rows(ui: &mut Ui, scene: &mut Scene<'_>, items: &[Item<'_>], dialogs: &mut Dialogs, notices: &mut Notices) {
    let height = |item: &Item<'_>| match item {
        Item::Heading(..) => HEADING,
        Item::Person { .. } => row::HEIGHT,
    };
    let whole: f32 = items.iter().map(height).sum();
    ScrollArea::vertical().auto_shrink(false).show_viewport(ui, |ui, viewport| {
        ui.set_height(whole);
        let (origin, width) = (ui.max_rect().min, ui.available_width());
        let seen = viewport.y_range().expand(row::HEIGHT);
        let mut top = 0.0;
        for item in items {
            let height = height(item);
            if seen.intersects(egui::Rangef::new(top, top + height)) {
                let rect = Rect::from_min_size(origin + vec2(0.0, top), vec2(width, height));
                let builder = egui::UiBuilder::new().max_rect(rect).layout(Layout::top_down(Align::Min));
                match item {
                    Item::Heading(section, count) => {
                        ui.scope_builder(builder, |ui| heading(ui, scene, *section, *count));
                    }
                    Item::Person { section, in_room, person } => {
                        let builder = builder.id_salt((section, person.peer));
                        let says_via = *in_room;
                        ui.scope_builder(builder, |ui| row::show(ui, scene, person, says_via, dialogs, notices));
                    }
                }
            }
            top += height;
        }
    });
}

fn heading(ui: &mut Ui, scene: &Scene<'_>, section: Section<'_>, count: usize) {
    let (words, palette) = (&scene.text.people, scene.palette);
    let (icon, name) = match section {
        Section::Near => (icons::WIFI_HIGH, words.near.as_str()),
        Section::Room(name) => (icons::DOOR, name),
        Section::Online => (icons::GLOBE, words.online.as_str()),
        Section::Offline => (icons::MOON, words.offline.as_str()),
    };
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), HEADING), Sense::hover());
    let spoken = format!("{name} ({count})");
    response.widget_info(|| egui::WidgetInfo::labeled(egui::WidgetType::Label, true, &spoken));
    let painter = ui.painter();
    let middle = rect.center().y + 3.0;
    painter.text(pos2(rect.left() + 16.0, middle), Align2::CENTER_CENTER, icon, theme::icon(16.0), palette.muted);
    let line = one_line(painter, name, theme::semibold(13.0), palette.muted, rect.width() - 80.0);
    let count_at = pos2(rect.left() + 32.0 + line.size().x + GAP, middle);
    painter.galley(pos2(rect.left() + 32.0, middle - line.size().y / 2.0), line, palette.muted);
    painter.text(count_at, Align2::LEFT_CENTER, count, theme::regular(13.0), palette.muted);
}

/// Who we are, and the way to the settings. True when that was clicked.
fn me(ui: &mut Ui, scene: &Scene<'_>) -> bool {
    let (text, palette, me) = (scene.text, scene.palette, &scene.snapshot.me);
    let name = me.name.as_deref().unwrap_or_default();
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 52.0), Sense::hover());
    let (state, colour) = if me.online {
        (visibility(text, scene.snapshot), palette.success)
    } else {
        (&text.people.invisible, palette.warning)
    };
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

/// Who sees us, in a few words.
fn visibility<'a>(text: &'a Text, snapshot: &Snapshot) -> &'a String {
    let on_a_node = snapshot.nodes.iter().any(|node| matches!(node.link, parlor_net::NodeLink::Online { .. }));
    if on_a_node { &text.people.visible_online } else { &text.people.visible }
}

/// The two ways to find each other that need a hand: giving one's own link, and opening another's.
fn links(ui: &mut Ui, scene: &Scene<'_>, dialogs: &mut Dialogs) {
    let (words, palette) = (&scene.text.people, scene.palette);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), TOUCH), Sense::hover());
    let (left, right) = rect.split_left_right_at_fraction(0.5);
    if quiet_button(ui, left.with_max_x(left.right() - GAP / 2.0), icons::QR_CODE, &words.my_link, palette).clicked() {
        dialogs.my_link();
    }
    if quiet_button(ui, right.with_min_x(right.left() + GAP / 2.0), icons::USER_PLUS, &words.add, palette).clicked() {
        dialogs.add();
    }
}

fn anybody_is_there(snapshot: &Snapshot) -> bool {
    snapshot.people.iter().any(|person| matches!(person.presence, Presence::Online { .. }))
}

/// The list is empty: say why, and what to do. True when the person wants to add a node.
fn nobody(ui: &mut Ui, scene: &Scene<'_>) -> bool {
    let (text, palette) = (scene.text, scene.palette);
    let (icon, title, body) = if !scene.snapshot.me.online {
        (icons::WIFI_SLASH, &text.people.offline_title, &text.people.offline_body)
    } else if scene.snapshot.nodes.is_empty() {
        (icons::USERS_THREE, &text.people.empty_title, &text.people.empty_body)
    } else {
        (icons::USERS_THREE, &text.people.empty_title, &text.people.empty_online_body)
    };
    let mut wants_node = false;
    ui.vertical_centered(|ui| {
        ui.add_space((ui.available_height() * 0.16).min(120.0));
        let (rect, _) = ui.allocate_exact_size(Vec2::splat(88.0), Sense::hover());
        ui.painter().circle_filled(rect.center(), 44.0, palette.hovered);
        ui.painter().text(rect.center(), Align2::CENTER_CENTER, icon, theme::icon(40.0), palette.muted);
        ui.add_space(GAP);
        let width = (ui.available_width() - 2.0 * GAP).min(320.0);
        ui.allocate_ui(vec2(width, 0.0), |ui| {
            label(ui, title, theme::semibold(18.0), palette.text);
            label(ui, body, theme::regular(14.5), palette.muted);
        });
        if scene.snapshot.me.online && scene.snapshot.nodes.is_empty() {
            ui.add_space(GAP);
            let (rect, _) = ui.allocate_exact_size(vec2(width.min(200.0), TOUCH), Sense::hover());
            wants_node = quiet_button(ui, rect, icons::HARD_DRIVES, &text.people.add_node, palette).clicked();
        }
    });
    wants_node
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
        if anybody_is_there(scene.snapshot) {
            label(ui, &text.people.choose_body, theme::regular(15.0), palette.muted);
        }
    });
}
