//! The person's own name for somebody.

use egui::{Key, Ui};
use parlor_net::PeerId;

use super::{Next, body, decision, title};
use crate::{
    contacts::ContactChange,
    engine::Command,
    name::{NameError, validate_name},
    ui::{
        Scene,
        theme::{self},
        welcome::name_field,
        widgets::label,
    },
};

/// What was typed so far.
pub(super) struct Rename {
    peer: PeerId,
    before: String,
    name: String,
    error: Option<NameError>,
}

impl Rename {
    pub(super) fn new(peer: PeerId, name: &str) -> Self {
        Self { peer, before: name.to_owned(), name: name.to_owned(), error: None }
    }

    pub(super) fn show(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) -> Next {
        let (words, palette) = (&scene.text.link, scene.palette);
        title(ui, scene, &words.rename_title.with("name", &self.before));
        body(ui, scene, &words.rename_body);
        let heading = label(ui, &words.rename_field, theme::semibold(14.0), palette.text);
        let width = ui.available_width();
        let field = name_field(ui, &mut self.name, "", width, self.error.is_some(), palette).labelled_by(heading.id);
        if field.changed() {
            self.error = None;
        }
        if let Some(error) = self.error {
            label(ui, &scene.text.name_error(error), theme::regular(13.0), palette.danger);
        }
        let entered = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
        if ui.memory(|memory| memory.focused().is_none()) && !entered {
            field.request_focus();
        }
        let own_name = match decision(ui, scene, Some(&scene.text.settings.save), &words.cancel) {
            Some(false) => return Next::Close,
            None if !entered => return Next::Stay,
            Some(true) | None => match validate_name(&self.name) {
                Ok(name) => Some(name),
                // Nothing at all: the name that they chose themselves.
                Err(NameError::Empty) => None,
                Err(error) => {
                    self.error = Some(error);
                    return Next::Stay;
                }
            },
        };
        scene.commands.push(Command::ChangeContact { peer: self.peer, change: ContactChange::Name(own_name) });
        Next::Close
    }
}
