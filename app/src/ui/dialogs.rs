//! What is asked in front of the list: links, given and opened, and names.

mod add;
mod link;
mod my_link;
mod rename;

use egui::{Id, Modal, ScrollArea, Ui, vec2};
use parlor_media::Frame;
use parlor_net::PeerId;

use self::{add::Add, rename::Rename};
use super::{
    Scene,
    notices::Notices,
    theme::{self, GAP},
    video_view::VideoView,
    widgets::label,
};
use crate::{
    engine::{NodeView, PersonView, Presence, Snapshot},
    link::{Link, LinkError, PersonLink},
};

const WIDTH: f32 = 400.0;

/// The dialog that is open, if any.
#[derive(Default)]
pub(super) struct Dialogs {
    open: Option<Dialog>,
    /// What the camera sees while a code is looked for.
    camera: VideoView,
    /// A link came from outside: the window should come to the front.
    wants_attention: bool,
}

enum Dialog {
    MyLink,
    Add(Add),
    Scan,
    Link(Result<Link, LinkError>),
    Rename(Rename),
}

/// What becomes of a dialog after it was drawn.
enum Next {
    Stay,
    Close,
    Open(Dialog),
}

impl Dialogs {
    pub(super) fn my_link(&mut self) {
        self.open = Some(Dialog::MyLink);
    }

    pub(super) fn add(&mut self) {
        self.open = Some(Dialog::Add(Add::default()));
    }

    pub(super) fn rename(&mut self, peer: PeerId, name: &str) {
        self.open = Some(Dialog::Rename(Rename::new(peer, name)));
    }

    /// A link was opened outside, or seen by the camera.
    pub(super) fn link(&mut self, text: &str) {
        self.open = Some(Dialog::Link(text.parse()));
        self.wants_attention = true;
    }

    /// A picture of the camera while a code is looked for; gives it back if none is.
    pub(super) fn camera_frame(&mut self, frame: Frame) -> Option<Frame> {
        match self.open {
            Some(Dialog::Scan) => {
                self.camera.set(frame);
                None
            }
            Some(Dialog::MyLink | Dialog::Add(_) | Dialog::Link(_) | Dialog::Rename(_)) | None => Some(frame),
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) const fn camera(&self) -> &VideoView {
        &self.camera
    }

    /// A link that came from outside is to be looked at. Once.
    pub(super) fn takes_attention(&mut self) -> bool {
        std::mem::take(&mut self.wants_attention)
    }

    /// A call began: the camera belongs to it. What else was open waits.
    pub(super) fn call_began(&mut self) {
        if matches!(self.open, Some(Dialog::Scan)) {
            self.open = None;
            self.camera.clear();
        }
    }

    /// Draws the dialog in front of everything.
    pub(super) fn show(&mut self, ctx: &egui::Context, scene: &mut Scene<'_>, notices: &mut Notices) {
        let Some(dialog) = &mut self.open else { return };
        let screen = ctx.content_rect();
        let width = (screen.width() - 6.0 * GAP).min(WIDTH);
        let id = Id::new("dialog");
        let area = Modal::default_area(id).default_size(vec2(width, screen.height() - 4.0 * GAP));
        let modal = Modal::new(id).area(area).frame(
            egui::Frame::new()
                .fill(scene.palette.surface)
                .stroke(egui::Stroke::new(1.0, scene.palette.border))
                .corner_radius(egui::CornerRadius::same(theme::RADIUS + 4))
                .inner_margin(2.0 * GAP),
        );
        let camera = &self.camera;
        let shown = modal.show(ctx, |ui| {
            ui.set_width(width - 4.0 * GAP);
            ScrollArea::vertical().max_height(screen.height() - 8.0 * GAP).show(ui, |ui| match dialog {
                Dialog::MyLink => my_link::show(ui, scene, notices),
                Dialog::Add(add) => add.show(ui, scene),
                Dialog::Scan => add::scan(ui, scene, camera),
                Dialog::Link(link) => link::show(ui, scene, link),
                Dialog::Rename(rename) => rename.show(ui, scene),
            })
        });
        let next = if shown.should_close() { Next::Close } else { shown.inner.inner };
        let next = match next {
            Next::Stay => return,
            Next::Close => None,
            Next::Open(dialog) => Some(dialog),
        };
        if matches!(self.open, Some(Dialog::Scan)) {
            scene.commands.push(crate::engine::Command::Scan(false));
            self.camera.clear();
        }
        if matches!(next, Some(Dialog::Scan)) {
            scene.commands.push(crate::engine::Command::Scan(true));
        }
        self.open = next;
    }
}

fn title(ui: &mut Ui, scene: &Scene<'_>, words: &str) {
    label(ui, words, theme::semibold(19.0), scene.palette.text);
}

fn body(ui: &mut Ui, scene: &Scene<'_>, words: &str) {
    label(ui, words, theme::regular(14.5), scene.palette.muted);
}

/// A button that goes on, and one that leaves, side by side; true for the first, false for the second.
fn decision(ui: &mut Ui, scene: &Scene<'_>, accept: Option<&str>, leave: &str) -> Option<bool> {
    ui.add_space(GAP);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), theme::TOUCH + 4.0), egui::Sense::hover());
    let mut decided = None;
    let Some(accept) = accept else {
        return super::widgets::quiet_button(ui, rect, "", leave, scene.palette).clicked().then_some(false);
    };
    let (left, right) = rect.split_left_right_at_fraction(0.4);
    if super::widgets::quiet_button(ui, left.with_max_x(left.right() - GAP / 2.0), "", leave, scene.palette).clicked() {
        decided = Some(false);
    }
    let builder = egui::UiBuilder::new().max_rect(right.with_min_x(right.left() + GAP / 2.0));
    ui.scope_builder(builder, |ui| {
        if super::widgets::primary_button(ui, accept, ui.available_width(), scene.palette).clicked() {
            decided = Some(true);
        }
    });
    decided
}

/// The person's own link: who they are, and where they are found. No address of this machine is in it.
pub(super) fn own_link(snapshot: &Snapshot) -> Link {
    let name = snapshot.me.name.clone();
    Link::Person(PersonLink { peer: snapshot.me.peer, name, nodes: our_nodes(snapshot), addresses: Vec::new() })
}

/// A link to somebody in the list.
pub(super) fn link_of(person: &PersonView, snapshot: &Snapshot) -> Link {
    let found_on_ours = matches!(person.presence, Presence::Online { via: parlor_net::Via::Node, .. });
    let nodes = if person.nodes.is_empty() && found_on_ours { our_nodes(snapshot) } else { person.nodes.clone() };
    let name = Some(person.says.clone().unwrap_or_else(|| person.name.clone()));
    Link::Person(PersonLink { peer: person.peer, name, nodes, addresses: Vec::new() })
}

/// One address of each of two nodes, and only those that work if there are any: more would make codes that are hard to
/// read.
pub(super) fn our_nodes(snapshot: &Snapshot) -> Vec<parlor_net::Multiaddr> {
    const MOST: usize = 2;
    let works = |node: &&NodeView| matches!(node.link, parlor_net::NodeLink::Online { .. });
    let any_works = snapshot.nodes.iter().any(|node| works(&node));
    let nodes = snapshot.nodes.iter().filter(|node| !any_works || works(node));
    nodes.take(MOST).filter_map(|node| node.addresses.first().cloned()).collect()
}
