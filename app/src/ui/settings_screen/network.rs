//! Nodes, rooms, and who sees what.

use egui::{Key, Rect, Sense, Ui, Vec2, pos2, vec2};
use egui_phosphor::regular as icons;
use parlor_media::IcePolicy;
use parlor_net::{NodeLink, PeerId};

use super::section;
use crate::{
    contacts::ContactChange,
    engine::{Command, NodeView},
    fingerprint::Fingerprint,
    link::{Link, LinkError, RoomLink, host_of, node_addresses},
    room::{RoomError, RoomKey},
    ui::{
        Scene,
        dialogs::our_nodes,
        notices::Notices,
        theme::{self, GAP, Palette, TOUCH},
        welcome::name_field,
        widgets::{card, dot, icon_button, label, one_line, quiet_button, segments, switch},
    },
};

/// What was typed and not added yet.
#[derive(Default)]
pub(super) struct Network {
    node: String,
    node_error: Option<LinkError>,
    room: String,
    secret: String,
    room_error: Option<RoomError>,
    /// Scroll to the nodes, and let the person type.
    comes_into_view: bool,
}

impl Network {
    pub(super) fn comes_into_view(&mut self) {
        self.comes_into_view = true;
    }

    pub(super) fn show(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, notices: &mut Notices) {
        self.nodes(ui, scene);
        self.rooms(ui, scene, notices);
        privacy(ui, scene);
    }

    fn nodes(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let (text, palette) = (scene.text, scene.palette);
        let words = &text.network;
        section(ui, scene, &words.nodes);
        let top = ui.cursor().min;
        let mut removed = None;
        let mut added = None;
        card(ui, palette, |ui| {
            label(ui, &words.nodes_body, theme::regular(14.0), palette.muted);
            for node in &scene.snapshot.nodes {
                ui.push_id(node.node, |ui| {
                    if node_line(ui, scene, node) {
                        removed = Some(node.node);
                    }
                });
            }
            let heading = label(ui, &words.node_field, theme::regular(14.0), palette.muted);
            let width = ui.available_width();
            let field = name_field(ui, &mut self.node, "/ip4/…", width, self.node_error.is_some(), palette);
            let field = field.labelled_by(heading.id);
            if std::mem::take(&mut self.comes_into_view) {
                field.request_focus();
                ui.scroll_to_rect(Rect::from_min_max(top - vec2(0.0, 40.0), field.rect.max), Some(egui::Align::Min));
            }
            if field.changed() {
                self.node_error = None;
            }
            if let Some(error) = &self.node_error {
                label(ui, &text.link_error(error), theme::regular(13.0), palette.danger);
            }
            let entered = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
            let button = button_rect(ui, 160.0);
            if quiet_button(ui, button, icons::PLUS, &words.node_add, palette).clicked() || entered {
                match node_addresses(&self.node) {
                    Ok(addresses) => added = Some(addresses),
                    Err(error) => self.node_error = Some(error),
                }
            }
        });
        if let Some(addresses) = added {
            self.node.clear();
            scene.change_settings(|settings| settings.add_nodes(&addresses));
        }
        if let Some(node) = removed {
            scene.change_settings(|settings| settings.remove_node(node));
        }
    }

    fn rooms(&mut self, ui: &mut Ui, scene: &mut Scene<'_>, notices: &mut Notices) {
        let (text, palette) = (scene.text, scene.palette);
        let words = &text.network;
        section(ui, scene, &words.rooms);
        let (mut left, mut joined) = (None, None);
        card(ui, palette, |ui| {
            label(ui, &words.rooms_body, theme::regular(14.0), palette.muted);
            for (index, room) in scene.snapshot.rooms.iter().enumerate() {
                ui.push_id(("room", index), |ui| {
                    let (copy, leave) = room_line(ui, scene, &room.key);
                    if copy {
                        let link = RoomLink { room: room.key.clone(), nodes: our_nodes(scene.snapshot) };
                        ui.ctx().copy_text(Link::Room(link).to_string());
                        notices.say(text.link.copied.clone());
                    }
                    if leave {
                        left = Some(room.key.clone());
                    }
                });
            }
            let heading = label(ui, &words.room_name, theme::regular(14.0), palette.muted);
            let width = ui.available_width();
            let wrong = matches!(self.room_error, Some(RoomError::Name(_)));
            let name = name_field(ui, &mut self.room, "", width, wrong, palette).labelled_by(heading.id);
            let heading = label(ui, &words.room_secret, theme::regular(14.0), palette.muted);
            let wrong = matches!(self.room_error, Some(RoomError::NoSecret | RoomError::Secret));
            let secret = name_field(ui, &mut self.secret, "", width, wrong, palette).labelled_by(heading.id);
            if name.changed() || secret.changed() {
                self.room_error = None;
            }
            if let Some(error) = self.room_error {
                label(ui, &text.room_error(error), theme::regular(13.0), palette.danger);
            }
            let entered = secret.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
            let button = button_rect(ui, 160.0);
            if quiet_button(ui, button, icons::DOOR, &words.room_join, palette).clicked() || entered {
                match RoomKey::new(&self.room, &self.secret) {
                    Ok(room) => joined = Some(room),
                    Err(error) => self.room_error = Some(error),
                }
            }
        });
        if let Some(room) = joined {
            *self = Self { node: std::mem::take(&mut self.node), ..Self::default() };
            scene.change_settings(|settings| settings.add_room(room));
        }
        if let Some(room) = left {
            scene.change_settings(|settings| settings.rooms.retain(|other| *other != room));
        }
    }
}

fn button_rect(ui: &mut Ui, width: f32) -> Rect {
    ui.allocate_exact_size(vec2(ui.available_width().min(width), TOUCH), Sense::hover()).0
}

/// A node in words. True when it is to be removed.
fn node_line(ui: &mut Ui, scene: &Scene<'_>, node: &NodeView) -> bool {
    let (words, palette) = (&scene.text.network, scene.palette);
    let host = node.addresses.first().map(host_of).unwrap_or_default();
    let (state, colour) = match &node.link {
        NodeLink::Connecting => (words.node_connecting.clone(), palette.warning),
        NodeLink::Online { rtt, turn } => {
            let sentence = if *turn { &words.node_online } else { &words.node_online_without_relay };
            (sentence.with("ms", &format!("{:.0}", rtt.as_secs_f64() * 1000.0)), palette.success)
        }
        NodeLink::Failed { reason } => (words.node_failed.with("reason", reason), palette.danger),
        NodeLink::Idle => (words.node_idle.clone(), palette.muted),
    };
    let state = if node.kept { state } else { format!("{state} · {}", words.node_of_this_run) };
    let fingerprint = Fingerprint::of(&node.node).to_string();
    let room = ui.available_width() - TOUCH - 22.0;
    let wrapped = ui.painter().layout(state.clone(), theme::regular(13.0), palette.muted, room);
    let height = 34.0 + wrapped.size().y;
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    let spoken = format!("{host} ({fingerprint}): {state}");
    response.widget_info(|| egui::WidgetInfo::labeled(egui::WidgetType::Label, true, &spoken));
    let painter = ui.painter();
    dot(painter, pos2(rect.left() + 6.0, rect.top() + 17.0), colour);
    let key = one_line(painter, &fingerprint, theme::regular(12.0), palette.muted, room);
    let name = one_line(painter, &host, theme::semibold(14.5), palette.text, room - key.size().x - GAP);
    painter.galley(pos2(rect.left() + 20.0 + name.size().x + GAP, rect.top() + 10.0), key, palette.muted);
    painter.galley(pos2(rect.left() + 20.0, rect.top() + 7.0), name, palette.text);
    painter.galley(pos2(rect.left() + 20.0, rect.top() + 28.0), wrapped, palette.muted);
    let remove = Rect::from_center_size(pos2(rect.right() - TOUCH / 2.0, rect.top() + 24.0), Vec2::splat(TOUCH));
    node.kept && icon_button(ui, remove, icons::TRASH, &words.node_remove.with("node", &host), palette).clicked()
}

/// A room. Whether its link is to be copied, and whether it is to be left.
fn room_line(ui: &mut Ui, scene: &Scene<'_>, room: &RoomKey) -> (bool, bool) {
    let (words, palette) = (&scene.text.network, scene.palette);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), TOUCH), Sense::hover());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::WidgetType::Label, true, &room.name));
    let painter = ui.painter();
    let at = rect.left_center() + vec2(9.0, 0.0);
    painter.text(at, egui::Align2::CENTER_CENTER, icons::DOOR, theme::icon(18.0), palette.muted);
    let name = one_line(painter, &room.name, theme::semibold(14.5), palette.text, rect.width() - 2.0 * TOUCH - 34.0);
    painter.galley(rect.left_center() + vec2(26.0, -name.size().y / 2.0), name, palette.text);
    let leave = Rect::from_center_size(rect.right_center() - vec2(TOUCH / 2.0, 0.0), Vec2::splat(TOUCH));
    let copy = leave.translate(vec2(-TOUCH, 0.0));
    let copied = icon_button(ui, copy, icons::COPY, &words.room_copy.with("room", &room.name), palette).clicked();
    let left = icon_button(ui, leave, icons::SIGN_OUT, &words.room_leave.with("room", &room.name), palette).clicked();
    (copied, left)
}

fn privacy(ui: &mut Ui, scene: &mut Scene<'_>) {
    let (text, palette) = (scene.text, scene.palette);
    let (words, settings) = (&text.network, &scene.snapshot.settings);
    section(ui, scene, &words.privacy);
    let (mut lobby, mut learn, mut relay, mut open_links, mut unblocked) = (None, None, None, None, None);
    card(ui, palette, |ui| {
        lobby = switch(ui, &words.lobby, settings.lobby, palette);
        label(ui, &words.lobby_body, theme::regular(13.0), palette.muted);
        learn = switch(ui, &words.learn_nodes, settings.learn_nodes, palette);
        label(ui, &words.learn_nodes_body, theme::regular(13.0), palette.muted);
        label(ui, &words.relay, theme::regular(14.0), palette.muted);
        let choices = [
            (IcePolicy::All, words.relay_auto.as_str()),
            (IcePolicy::RelayOnly, words.relay_only.as_str()),
            (IcePolicy::DirectOnly, words.relay_never.as_str()),
        ];
        relay = ui.push_id("relay", |ui| segments(ui, settings.relay, &choices, palette)).inner;
        let explanation = match settings.relay {
            IcePolicy::All => &words.relay_auto_body,
            IcePolicy::RelayOnly => &words.relay_only_body,
            IcePolicy::DirectOnly => &words.relay_never_body,
        };
        label(ui, explanation, theme::regular(13.0), palette.muted);
        if cfg!(target_os = "linux") {
            open_links = switch(ui, &words.open_links, settings.open_links, palette);
        }
        label(ui, &words.blocked, theme::regular(14.0), palette.muted);
        if scene.snapshot.blocked.is_empty() {
            label(ui, &words.nobody_blocked, theme::regular(13.0), palette.muted);
        }
        for (peer, name) in &scene.snapshot.blocked {
            ui.push_id(peer, |ui| {
                if blocked_line(ui, palette, *peer, name, &words.unblock.with("name", name)) {
                    unblocked = Some(*peer);
                }
            });
        }
    });
    if lobby.is_some() || learn.is_some() || relay.is_some() || open_links.is_some() {
        scene.change_settings(|settings| {
            settings.lobby = lobby.unwrap_or(settings.lobby);
            settings.learn_nodes = learn.unwrap_or(settings.learn_nodes);
            settings.relay = relay.unwrap_or(settings.relay);
            settings.open_links = open_links.unwrap_or(settings.open_links);
        });
    }
    if let Some(peer) = unblocked {
        scene.commands.push(Command::ChangeContact { peer, change: ContactChange::Blocked(false) });
    }
}

/// True when they are to be let in again.
fn blocked_line(ui: &mut Ui, palette: &Palette, peer: PeerId, name: &str, unblock: &str) -> bool {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), TOUCH), Sense::hover());
    let spoken = format!("{name} ({})", Fingerprint::of(&peer));
    response.widget_info(|| egui::WidgetInfo::labeled(egui::WidgetType::Label, true, &spoken));
    let line = one_line(ui.painter(), &spoken, theme::regular(14.5), palette.text, rect.width() - TOUCH - GAP);
    ui.painter().galley(rect.left_center() - vec2(0.0, line.size().y / 2.0), line, palette.text);
    let button = Rect::from_center_size(rect.right_center() - vec2(TOUCH / 2.0, 0.0), Vec2::splat(TOUCH));
    icon_button(ui, button, icons::ARROW_COUNTER_CLOCKWISE, unblock, palette).clicked()
}
