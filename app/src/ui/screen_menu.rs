//! In the call: which screen or window to show to the other person.

use std::sync::Arc;

use egui::{
    Align2, Area, ColorImage, Id, Key, Order, Rect, ScrollArea, Sense, Stroke, StrokeKind, TextureHandle,
    TextureOptions, Ui, pos2, vec2,
};
use egui_phosphor::{fill as filled, regular as icons};
use parlor_media::{ScreenInfo, ScreenProblem, ScreenSource};

use super::{
    Scene,
    theme::{self, GAP, RADIUS, TOUCH},
    widgets::{centred_label, focus_ring, icon_button, interact, label, one_line},
};
use crate::engine::{Command, Screens};

const WIDTH: f32 = 420.0;
/// The picture in a line, and the line.
const PICTURE: egui::Vec2 = vec2(96.0, 54.0);
const LINE: f32 = 66.0;

/// Open while the person chooses.
#[derive(Default)]
pub(super) struct ScreenMenu {
    open: bool,
    /// What the small pictures were made of, and one for each.
    found: Option<Arc<[ScreenInfo]>>,
    pictures: Vec<Option<TextureHandle>>,
}

impl ScreenMenu {
    /// Opens it, and has the engine look what there is.
    pub(super) fn open(&mut self, scene: &mut Scene<'_>) {
        self.open = true;
        scene.commands.push(Command::ListScreens);
    }

    /// Nobody chooses: the small pictures go, here and in the engine.
    pub(super) fn close(&mut self, scene: &mut Scene<'_>) {
        if std::mem::take(&mut self.open) {
            scene.commands.push(Command::ForgetScreens);
        }
        self.found = None;
        self.pictures.clear();
    }

    pub(super) const fn is_open(&self) -> bool {
        self.open
    }

    /// Draws the menu over `stage`. `opened`: the button that opens it was pressed in this frame.
    pub(super) fn show(&mut self, ui: &Ui, scene: &mut Scene<'_>, stage: Rect, opened: bool) {
        if !self.open {
            return;
        }
        let palette = scene.palette;
        let width = WIDTH.min(stage.width() - 2.0 * GAP);
        let (mut closed, mut chosen) = (false, None);
        let area = Area::new(Id::new("screen menu"))
            .order(Order::Foreground)
            .fade_in(false)
            .pivot(Align2::CENTER_BOTTOM)
            .fixed_pos(stage.center_bottom() - vec2(0.0, GAP))
            .default_size(vec2(width, stage.height()))
            .show(ui.ctx(), |ui| {
                // A call is dark in every theme.
                *ui.visuals_mut() = palette.visuals(egui::Visuals::dark());
                let frame = egui::Frame::new()
                    .fill(palette.surface)
                    .stroke(Stroke::new(1.0, palette.border))
                    .corner_radius(RADIUS + 2)
                    .inner_margin(GAP);
                frame.show(ui, |ui| {
                    ui.set_width(width - 2.0 * GAP);
                    ui.spacing_mut().item_spacing.y = 2.0;
                    let top = ui.max_rect().right_top();
                    let button = |nth: f32| Rect::from_min_size(pos2(top.x - nth * TOUCH, top.y), vec2(TOUCH, TOUCH));
                    ui.allocate_ui(vec2(ui.available_width() - 2.0 * TOUCH, TOUCH), |ui| {
                        ui.set_min_height(TOUCH);
                        ui.add_space(GAP);
                        label(ui, &scene.text.share.choose, theme::semibold(16.0), palette.text)
                    });
                    let again = &scene.text.share.look_again;
                    if icon_button(ui, button(2.0), icons::ARROW_CLOCKWISE, again, palette).clicked() {
                        scene.commands.push(Command::ListScreens);
                    }
                    let close = icon_button(ui, button(1.0), icons::X, &scene.text.share.close, palette);
                    if opened {
                        // Where the keyboard goes on.
                        close.request_focus();
                    }
                    closed = close.clicked();
                    label(ui, &scene.text.share.explain, theme::regular(13.0), palette.muted);
                    ui.add_space(GAP);
                    let height = (stage.height() - TOUCH - 10.0 * GAP).clamp(80.0, 460.0);
                    // Without the minimum it would never grow beyond what it was while it was empty.
                    let list = ScrollArea::vertical().max_height(height).min_scrolled_height(height);
                    list.show(ui, |ui| chosen = self.content(ui, scene));
                });
            });
        let elsewhere = !opened && area.response.clicked_elsewhere();
        if let Some(source) = chosen {
            scene.commands.push(Command::Share(source));
            closed = true;
        }
        if closed || elsewhere || ui.input(|input| input.key_pressed(Key::Escape)) {
            self.close(scene);
        }
    }

    fn content(&mut self, ui: &mut Ui, scene: &Scene<'_>) -> Option<ScreenSource> {
        let say = |ui: &mut Ui, words: &str| {
            let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 1.6 * LINE), Sense::hover());
            centred_label(ui, rect, words, theme::regular(14.0), scene.palette.text);
        };
        match &scene.snapshot.screens {
            Screens::Unasked | Screens::Looking => {
                say(ui, &scene.text.share.looking);
                None
            }
            Screens::Found(Err(problem)) => {
                // What could not be shared is not what was closed.
                let problem = if *problem == ScreenProblem::Gone { &ScreenProblem::NoDisplay } else { problem };
                say(ui, scene.text.screen_problem(problem));
                None
            }
            Screens::Found(Ok(found)) if found.is_empty() => {
                say(ui, &scene.text.share.nothing);
                None
            }
            Screens::Found(Ok(found)) => {
                self.make_pictures(ui, found);
                let is_window = |info: &ScreenInfo| matches!(info.source, ScreenSource::Window(_));
                let mut chosen = None;
                for (title, windows) in [(&scene.text.share.screens, false), (&scene.text.share.windows, true)] {
                    let of_kind = found.iter().enumerate().filter(|(_, info)| is_window(info) == windows);
                    let mut of_kind = of_kind.peekable();
                    let asks_itself = |&(_, info): &(usize, &ScreenInfo)| info.source == ScreenSource::Portal;
                    if of_kind.peek().is_some_and(|first| !asks_itself(first)) {
                        label(ui, title, theme::semibold(13.0), scene.palette.muted);
                    }
                    for (index, info) in of_kind {
                        let picture = self.pictures.get(index).and_then(Option::as_ref);
                        if line(ui, scene, info, picture) {
                            chosen = Some(info.source.clone());
                        }
                    }
                }
                chosen
            }
        }
    }

    /// Once for each list.
    fn make_pictures(&mut self, ui: &Ui, found: &Arc<[ScreenInfo]>) {
        if self.found.as_ref().is_some_and(|known| Arc::ptr_eq(known, found)) {
            return;
        }
        self.found = Some(Arc::clone(found));
        let load = |info: &ScreenInfo| {
            let small = info.thumbnail.as_ref()?;
            let image = ColorImage::from_rgb([small.width as usize, small.height as usize], &small.rgb);
            Some(ui.ctx().load_texture(info.source.to_string(), image, TextureOptions::LINEAR))
        };
        self.pictures = found.iter().map(load).collect();
    }
}

/// One screen or window. Whether it was chosen.
fn line(ui: &mut Ui, scene: &Scene<'_>, info: &ScreenInfo, picture: Option<&TextureHandle>) -> bool {
    let palette = scene.palette;
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), LINE), Sense::hover());
    let (name, size) = words(scene, info);
    let response = interact(ui, rect, &format!("{name}, {size}"), ui.id().with(("screen", &info.source)));
    if response.hovered() || response.has_focus() {
        ui.painter().rect_filled(rect, f32::from(RADIUS), palette.hovered);
    }
    focus_ring(ui, &response, rect.shrink(3.0), f32::from(RADIUS));
    let place = Rect::from_min_size(rect.left_center() + vec2(6.0, -PICTURE.y / 2.0), PICTURE);
    match picture {
        Some(picture) => {
            let fitted = super::video_view::fitted(place, picture.aspect_ratio());
            let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
            ui.painter().image(picture.id(), fitted, whole, egui::Color32::WHITE);
            ui.painter().rect_stroke(fitted, 0.0, Stroke::new(1.0, palette.border), StrokeKind::Outside);
        }
        None => {
            let icon = match info.source {
                ScreenSource::Window(_) => filled::APP_WINDOW,
                ScreenSource::Default | ScreenSource::Screen(_) | ScreenSource::Portal | ScreenSource::File(_) => {
                    filled::MONITOR
                }
            };
            let font = theme::filled_icon(32.0);
            ui.painter().text(place.center(), Align2::CENTER_CENTER, icon, font, palette.muted);
        }
    }
    let left = place.right() + 1.5 * GAP;
    let room = rect.right() - left - GAP;
    let name = one_line(ui.painter(), &name, theme::regular(15.0), palette.text, room);
    let size = one_line(ui.painter(), &size, theme::regular(12.0), palette.muted, room);
    let top = rect.center().y - (name.size().y + size.size().y) / 2.0;
    let below = top + name.size().y;
    ui.painter().galley(pos2(left, top), name, palette.text);
    ui.painter().galley(pos2(left, below), size, palette.muted);
    response.clicked()
}

/// What a line says: the name and the size, or that the desktop will ask.
fn words(scene: &Scene<'_>, info: &ScreenInfo) -> (String, String) {
    let text = &scene.text.share;
    match info.source {
        ScreenSource::Portal => (text.portal.clone(), text.portal_explain.clone()),
        ScreenSource::Default | ScreenSource::Screen(_) | ScreenSource::Window(_) | ScreenSource::File(_) => {
            let (width, height) = (info.width.to_string(), info.height.to_string());
            (info.name.clone(), text.size.fill(&[("width", &width), ("height", &height)]))
        }
    }
}
