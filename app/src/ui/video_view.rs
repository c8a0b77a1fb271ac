//! Shows pictures: I420 planes go to the GPU as they are, and a shader makes colours of them.
//!
//! The newest picture waits in a slot until the window is painted; a picture that comes in between replaces it.

mod gpu;
mod shrink;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eframe::{egui_glow, glow};
use egui::{PaintCallback, Pos2, Rect, Sense, Ui, Vec2, WidgetInfo, WidgetType};
use parlor_media::Frame;

use self::{gpu::Gpu, shrink::Planes};

/// One place where moving pictures are shown.
#[derive(Default)]
pub(super) struct VideoView {
    shown: Arc<Mutex<Shown>>,
    /// Width and height of the newest picture; `None` before the first.
    size: Option<(u32, u32)>,
}

/// How a picture is put into its rectangle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement {
    /// As people know themselves from mirrors.
    pub mirrored: bool,
    /// Cut the picture to the rectangle's shape, instead of leaving space around it.
    pub fill: bool,
    /// Of the corners, in points.
    pub radius: f32,
}

/// What the UI thread and the paint callback (which egui runs later, on the same thread) share.
#[derive(Default)]
struct Shown {
    newest: Option<Frame>,
    small: Planes,
    gpu: GpuState,
}

#[derive(Default)]
enum GpuState {
    #[default]
    Untried,
    Ready(Gpu),
    /// The graphics driver is too old; said once in the log.
    Unusable,
}

impl VideoView {
    /// Takes the newest picture.
    pub(super) fn set(&mut self, frame: Frame) {
        self.size = Some((frame.width(), frame.height()));
        self.lock().newest = Some(frame);
    }

    /// Forgets the picture, so that nobody sees the last one of an earlier call.
    pub(super) fn clear(&mut self) {
        self.size = None;
        self.lock().newest = None;
    }

    /// There is a picture to show.
    pub(super) const fn has_picture(&self) -> bool {
        self.size.is_some()
    }

    /// Width through height of the picture.
    pub(super) fn aspect(&self) -> Option<f32> {
        self.size.filter(|&(_, height)| height > 0).map(|(width, height)| width as f32 / height as f32)
    }

    /// Shows the picture in (the middle of) `rect`, under a name for those who can't see it.
    pub(super) fn show(&self, ui: &Ui, rect: Rect, name: &str, placement: Placement) {
        let Some(aspect) = self.aspect() else { return };
        let rect = if placement.fill { rect } else { fitted(rect, aspect) };
        let response = ui.interact(rect, ui.id().with(("video", name)), Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(WidgetType::Image, true, name));
        let uv = texture_rect(rect.size(), aspect, placement.mirrored);
        let shown = Arc::clone(&self.shown);
        let paint = move |info: egui::PaintCallbackInfo, painter: &egui_glow::Painter| {
            lock(&shown).paint(painter.gl(), &info, uv, placement.radius);
        };
        ui.painter().add(PaintCallback { rect, callback: Arc::new(egui_glow::CallbackFn::new(paint)) });
    }

    /// Gives back what it holds on the GPU.
    pub(super) fn destroy(&self, gl: &glow::Context) {
        if let GpuState::Ready(gpu) = std::mem::take(&mut self.lock().gpu) {
            gpu.destroy(gl);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        lock(&self.shown)
    }
}

impl Shown {
    fn paint(&mut self, gl: &glow::Context, info: &egui::PaintCallbackInfo, uv: Rect, radius: f32) {
        if matches!(self.gpu, GpuState::Untried) {
            self.gpu = match Gpu::new(gl) {
                Ok(gpu) => GpuState::Ready(gpu),
                Err(error) => {
                    tracing::error!(%error, "pictures can't be shown: OpenGL 3.1 or OpenGL ES 3.0 is needed");
                    GpuState::Unusable
                }
            };
        }
        let GpuState::Ready(gpu) = &mut self.gpu else { return };
        let viewport = info.viewport_in_pixels();
        if let Some(frame) = self.newest.take() {
            // How many picture pixels fall on one screen pixel, in the direction where they are fewer.
            let shown_width = viewport.width_px as f32 / uv.width().abs();
            let shown_height = viewport.height_px as f32 / uv.height();
            let factor = (frame.width() as f32 / shown_width).min(frame.height() as f32 / shown_height) as u32;
            if factor >= 2 {
                self.small.shrink_from(&frame, factor);
                gpu.upload(gl, self.small.size(), self.small.split());
            } else {
                gpu.upload(gl, (frame.width(), frame.height()), [frame.y(), frame.u(), frame.v()]);
            }
        }
        let size = [viewport.width_px as f32, viewport.height_px as f32];
        gpu.draw(gl, uv, size, radius * info.pixels_per_point);
    }
}

fn lock(shown: &Mutex<Shown>) -> MutexGuard<'_, Shown> {
    // Whatever panicked, the newest picture is still a whole one.
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The largest rectangle of this aspect in the middle of `rect`.
pub(super) fn fitted(rect: Rect, aspect: f32) -> Rect {
    let width = rect.width().min(rect.height() * aspect);
    Rect::from_center_size(rect.center(), Vec2::new(width, width / aspect))
}

/// The part of the texture that fills a rectangle of `size` without distortion; negative width when mirrored.
fn texture_rect(size: Vec2, aspect: f32, mirrored: bool) -> Rect {
    let rect_aspect = size.x / size.y;
    let part = Vec2::new((rect_aspect / aspect).min(1.0), (aspect / rect_aspect).min(1.0));
    let min = Pos2::new((1.0 - part.x) / 2.0, (1.0 - part.y) / 2.0);
    if mirrored {
        Rect { min: Pos2::new(1.0 - min.x, min.y), max: Pos2::new(min.x, min.y + part.y) }
    } else {
        Rect::from_min_size(min, part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: f32 = 16.0 / 9.0;

    #[test]
    fn a_wide_picture_in_a_tall_window_touches_both_sides_and_is_not_distorted() {
        let window = Rect::from_min_size(Pos2::ZERO, Vec2::new(360.0, 640.0));
        let shown = fitted(window, WIDE);
        assert_eq!((shown.left(), shown.right()), (0.0, 360.0));
        assert!((shown.width() / shown.height() - WIDE).abs() < 1e-4);
        assert_eq!(shown.center(), window.center());
    }

    #[test]
    fn a_filled_square_shows_the_middle_of_a_wide_picture() {
        let uv = texture_rect(Vec2::splat(100.0), WIDE, false);
        assert_eq!((uv.top(), uv.bottom()), (0.0, 1.0));
        assert!((uv.width() - 9.0 / 16.0).abs() < 1e-4);
        assert!((uv.center().x - 0.5).abs() < 1e-4);
    }

    #[test]
    fn a_mirrored_picture_runs_from_right_to_left_over_the_same_part() {
        let plain = texture_rect(Vec2::new(4.0, 3.0), WIDE, false);
        let mirrored = texture_rect(Vec2::new(4.0, 3.0), WIDE, true);
        assert!((mirrored.min.x - plain.max.x).abs() < 1e-4 && (mirrored.max.x - plain.min.x).abs() < 1e-4);
        assert_eq!((mirrored.min.y, mirrored.max.y), (plain.min.y, plain.max.y));
    }

    #[test]
    fn a_cleared_view_has_no_picture_left() {
        let mut view = VideoView::default();
        let planes = Arc::new(vec![0; Frame::i420_len(4, 4)]);
        view.set(Frame::from_i420(4, 4, planes, parlor_media::MediaTime::default()));
        assert!(view.has_picture());
        view.clear();
        assert!(!view.has_picture() && view.lock().newest.is_none());
    }
}
