//! Whom a link leads to, before anything happens.

use egui::{Sense, Ui, vec2};
use parlor_net::Multiaddr;

use super::{Next, body, decision, title};
use crate::{
    contacts::Standing,
    engine::{Command, PersonView, Snapshot},
    fingerprint::Fingerprint,
    link::{Link, LinkError, NodeLink, PersonLink, RoomLink, host_of, node_of},
    ui::{
        Scene,
        theme::{self, GAP},
        widgets::{avatar, label, warning},
    },
};

pub(super) fn show(ui: &mut Ui, scene: &mut Scene<'_>, link: &Result<Link, LinkError>) -> Next {
    let words = &scene.text.link;
    let accept = match link {
        Err(error) => {
            title(ui, scene, &words.error_title);
            body(ui, scene, &scene.text.link_error(error));
            None
        }
        Ok(Link::Person(person)) if person.peer == scene.snapshot.me.peer => {
            title(ui, scene, &words.self_title);
            body(ui, scene, &words.self_body);
            None
        }
        Ok(Link::Person(person)) => {
            show_person(ui, scene, person);
            Some(&words.person_accept)
        }
        Ok(Link::Node(node)) => {
            show_node(ui, scene, node);
            Some(&words.node_accept)
        }
        Ok(Link::Room(room)) => {
            show_room(ui, scene, room);
            Some(&words.room_accept)
        }
    };
    let leave = if accept.is_some() { &words.cancel } else { &words.close };
    match (decision(ui, scene, accept.map(String::as_str), leave), link) {
        (Some(true), Ok(link)) => {
            scene.commands.push(Command::AcceptLink(Box::new(link.clone())));
            Next::Close
        }
        (Some(_), _) => Next::Close,
        (None, _) => Next::Stay,
    }
}

fn show_person(ui: &mut Ui, scene: &Scene<'_>, person: &PersonLink) {
    let (words, palette) = (&scene.text.link, scene.palette);
    title(ui, scene, &words.person_title);
    let fingerprint = Fingerprint::of(&person.peer).to_string();
    let name = person.name.as_ref().unwrap_or(&fingerprint);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 56.0), Sense::hover());
    avatar(ui.painter(), rect.left_center() + vec2(28.0, 0.0), 52.0, &person.peer, name);
    let builder = egui::UiBuilder::new().max_rect(rect.with_min_x(rect.left() + 68.0));
    ui.scope_builder(builder, |ui| {
        ui.spacing_mut().item_spacing.y = 2.0;
        label(ui, name, theme::semibold(17.0), palette.text);
        let key = scene.text.people.fingerprint.with("fingerprint", &fingerprint);
        label(ui, &key, theme::regular(13.0), palette.muted);
    });
    ui.advance_cursor_after_rect(rect);
    let known = known(scene.snapshot, person);
    if let Some(known) = known {
        body(ui, scene, &words.person_known.with("name", &known.name));
    } else if scene.snapshot.blocked.iter().any(|(peer, _)| *peer == person.peer) {
        warning(ui, &words.person_blocked, palette);
    } else if scene.snapshot.people.iter().any(|other| is_contact(other) && is_called(other, name)) {
        warning(ui, &words.person_borrowed.with("name", name), palette);
    } else {
        body(ui, scene, &words.person_body);
    }
    show_nodes(ui, scene, &person.nodes);
    let direct: Vec<String> = person.dial_addresses().iter().map(host_of).collect();
    if !direct.is_empty() {
        body(ui, scene, &words.direct.with("addresses", &direct.join(", ")));
    }
}

fn is_contact(person: &PersonView) -> bool {
    person.standing != Standing::Stranger
}

fn is_called(person: &PersonView, name: &str) -> bool {
    let folded = name.to_lowercase();
    person.name.to_lowercase() == folded || person.says.as_ref().is_some_and(|says| says.to_lowercase() == folded)
}

/// The contact that a link leads to, if they are one already.
fn known<'a>(snapshot: &'a Snapshot, link: &PersonLink) -> Option<&'a PersonView> {
    snapshot.people.iter().find(|person| person.peer == link.peer && is_contact(person))
}

fn show_node(ui: &mut Ui, scene: &Scene<'_>, node: &NodeLink) {
    title(ui, scene, &scene.text.link.node_title);
    for line in node_lines(scene, &node.addresses) {
        label(ui, &line, theme::semibold(14.5), scene.palette.text);
    }
    body(ui, scene, &scene.text.link.node_body);
}

fn show_room(ui: &mut Ui, scene: &Scene<'_>, link: &RoomLink) {
    let words = &scene.text.link;
    title(ui, scene, &words.room_title);
    label(ui, &link.room.name, theme::semibold(17.0), scene.palette.text);
    if scene.snapshot.rooms.iter().any(|room| room.key == link.room) {
        body(ui, scene, &words.room_known);
    } else {
        body(ui, scene, &words.room_body);
    }
    if link.nodes.is_empty() && scene.snapshot.nodes.is_empty() {
        warning(ui, &words.room_needs_node, scene.palette);
    }
    show_nodes(ui, scene, &link.nodes);
}

/// The nodes that would be contacted: each once, by its host and its key.
fn show_nodes(ui: &mut Ui, scene: &Scene<'_>, addresses: &[Multiaddr]) {
    if addresses.is_empty() {
        return;
    }
    label(ui, &scene.text.link.nodes, theme::semibold(13.5), scene.palette.text);
    ui.spacing_mut().item_spacing.y = GAP / 2.0;
    for line in node_lines(scene, addresses) {
        label(ui, &line, theme::regular(13.5), scene.palette.muted);
    }
    ui.spacing_mut().item_spacing.y = GAP;
}

fn node_lines(scene: &Scene<'_>, addresses: &[Multiaddr]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for address in addresses {
        let key = node_of(address).map(|node| Fingerprint::of(&node).to_string()).unwrap_or_default();
        let line = format!("{} · {}", host_of(address), scene.text.people.fingerprint.with("fingerprint", &key));
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}
