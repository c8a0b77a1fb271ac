//! A page that fills the window: an arrow back, a title, and what can be scrolled.

use egui::{Align, Key, Layout, Rect, ScrollArea, Sense, Ui, Vec2, vec2};
use egui_phosphor::regular as icons;

use super::{
    Scene,
    theme::{self, GAP, TOUCH},
    widgets::{icon_button, label},
};

const WIDTH: f32 = 560.0;

/// Draws a page. Whether the person leaves it.
pub(super) fn page(
    ui: &mut Ui,
    scene: &mut Scene<'_>,
    title: &str,
    contents: impl FnOnce(&mut Ui, &mut Scene<'_>),
) -> bool {
    let whole = ui.max_rect();
    let width = (whole.width() - 4.0 * GAP).min(WIDTH);
    let middle = Rect::from_center_size(whole.center(), vec2(width, whole.height()));
    let builder = egui::UiBuilder::new().max_rect(middle).layout(Layout::top_down(Align::Min));
    let page = ui.scope_builder(builder, |ui| {
        ui.add_space(1.5 * GAP);
        let (bar, _) = ui.allocate_exact_size(vec2(width, TOUCH), Sense::hover());
        let back = Rect::from_min_size(bar.min, Vec2::splat(TOUCH));
        let back = icon_button(ui, back, icons::ARROW_LEFT, &scene.text.settings.back, scene.palette).clicked();
        let typing = ui.memory(|memory| memory.focused().is_some());
        let leaves = back || (!typing && !scene.behind_dialog && ui.input(|input| input.key_pressed(Key::Escape)));
        ui.put(bar.with_min_x(bar.left() + TOUCH + GAP), |ui: &mut Ui| {
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                label(ui, title, theme::semibold(20.0), scene.palette.text)
            })
            .inner
        });
        ui.add_space(GAP);
        ScrollArea::vertical().id_salt(title).auto_shrink(false).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 1.25 * GAP;
            contents(ui, scene);
            ui.add_space(2.0 * GAP);
        });
        leaves
    });
    page.inner
}
