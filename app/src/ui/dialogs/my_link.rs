//! The person's own link, to be copied or held up to another's camera.

use egui::{Color32, Rect, Sense, Ui, Vec2, WidgetInfo, WidgetType, pos2, vec2};
use egui_phosphor::regular as icons;

use super::{Next, body, decision, own_link, title};
use crate::{
    qr::Code,
    ui::{
        Scene,
        notices::Notices,
        theme::{GAP, TOUCH},
        widgets::quiet_button,
    },
};

/// The light squares around a code (ISO/IEC 18004 asks for four).
const MARGIN: usize = 4;

pub(super) fn show(ui: &mut Ui, scene: &mut Scene<'_>, notices: &mut Notices) -> Next {
    let words = &scene.text.link;
    title(ui, scene, &words.my_title);
    let link = own_link(scene.snapshot).to_string();
    let has_node = !scene.snapshot.nodes.is_empty();
    body(ui, scene, if has_node { &words.my_body } else { &words.my_body_without_node });
    if let Some(code) = Code::of(&link) {
        let side = ui.available_width().min(300.0);
        ui.vertical_centered(|ui| draw(ui, &code, side, &words.my_code));
    }
    ui.add_space(GAP);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), TOUCH), Sense::hover());
    if quiet_button(ui, rect, icons::COPY, &words.copy, scene.palette).clicked() {
        ui.ctx().copy_text(link);
        notices.say(words.copied.clone());
    }
    match decision(ui, scene, None, &words.close) {
        Some(_) => Next::Close,
        None => Next::Stay,
    }
}

/// Dark on light in every theme: cameras want it so.
fn draw(ui: &mut Ui, code: &Code, side: f32, name: &str) {
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(side), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(WidgetType::Image, true, name));
    let painter = ui.painter();
    painter.rect_filled(rect, 6, Color32::WHITE);
    let square = side / (code.width() + 2 * MARGIN) as f32;
    let start = rect.center() - Vec2::splat(square * code.width() as f32 / 2.0);
    // Edges on whole pixels, so that no seams show between squares.
    let pixels = ui.ctx().pixels_per_point();
    let corner = |x: usize, y: usize| {
        let at = (start + vec2(x as f32, y as f32) * square) * pixels;
        pos2(at.x.round() / pixels, at.y.round() / pixels)
    };
    for (y, row) in code.rows().enumerate() {
        let mut x = 0;
        while x < row.len() {
            let length = row[x..].iter().take_while(|dark| **dark).count();
            if length > 0 {
                let run = Rect::from_min_max(corner(x, y), corner(x + length, y + 1));
                painter.rect_filled(run, 0, Color32::BLACK);
            }
            x += length.max(1);
        }
    }
}
