//! Adding somebody, a node or a room: by a link that is pasted, or a code that is held up to the camera.

use egui::{Key, Rect, Sense, Ui, vec2};
use egui_phosphor::regular as icons;

use super::{Dialog, Next, body, decision, title};
use crate::{
    link::{Link, LinkError},
    ui::{
        Scene,
        theme::{self, GAP, TOUCH},
        video_view::{Placement, VideoView},
        welcome::name_field,
        widgets::{label, quiet_button},
    },
};

/// What was pasted so far.
#[derive(Default)]
pub(super) struct Add {
    link: String,
    error: Option<LinkError>,
}

impl Add {
    pub(super) fn show(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) -> Next {
        let (words, palette) = (&scene.text.link, scene.palette);
        title(ui, scene, &words.add_title);
        body(ui, scene, &words.add_body);
        let heading = label(ui, &words.field, theme::semibold(14.0), palette.text);
        let width = ui.available_width();
        let field = name_field(ui, &mut self.link, "parlor:…", width, self.error.is_some(), palette);
        let field = field.labelled_by(heading.id);
        if field.changed() {
            self.error = None;
        }
        if let Some(error) = &self.error {
            label(ui, &scene.text.link_error(error), theme::regular(13.0), palette.danger);
        }
        let entered = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
        let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), TOUCH), Sense::hover());
        if quiet_button(ui, rect, icons::CAMERA, &words.scan, palette).clicked() {
            return Next::Open(Dialog::Scan);
        }
        match decision(ui, scene, Some(&words.next), &words.cancel) {
            Some(false) => Next::Close,
            Some(true) => self.go_on(),
            None if entered => self.go_on(),
            None => Next::Stay,
        }
    }

    fn go_on(&mut self) -> Next {
        match self.link.parse::<Link>() {
            Ok(link) => Next::Open(Dialog::Link(Ok(link))),
            Err(error) => {
                self.error = Some(error);
                Next::Stay
            }
        }
    }
}

/// What the camera sees, until it sees a code.
pub(super) fn scan(ui: &mut Ui, scene: &mut Scene<'_>, camera: &VideoView) -> Next {
    let words = &scene.text.link;
    title(ui, scene, &words.scan_title);
    body(ui, scene, &words.scan_body);
    let width = ui.available_width();
    let (rect, _) = ui.allocate_exact_size(vec2(width, width * 9.0 / 16.0), Sense::hover());
    ui.painter().rect_filled(rect, theme::RADIUS, theme::CALL.background);
    if camera.has_picture() {
        camera.show(ui, rect, &words.scan_picture, Placement { mirrored: true, fill: true, radius: 12.0 });
    } else {
        let rect = Rect::from_center_size(rect.center(), vec2(width - 4.0 * GAP, 40.0));
        crate::ui::widgets::centred_label(ui, rect, &words.scan_waiting, theme::regular(14.0), theme::ON_COLOUR);
    }
    match decision(ui, scene, None, &words.cancel) {
        Some(_) => Next::Close,
        None => Next::Stay,
    }
}
