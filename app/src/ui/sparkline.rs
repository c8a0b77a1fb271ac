//! A small plot of the last minute: up to two lines over one time, with what they are now in words.

use egui::{Align2, Color32, Pos2, Rect, Sense, Shape, Stroke, Ui, WidgetInfo, WidgetType, pos2, vec2};

use super::{theme, widgets::one_line};
use crate::engine::HISTORY_SECONDS;

const TITLE: f32 = 18.0;
const VALUE: f32 = 16.0;
const PLOT: f32 = 34.0;

/// One line of a plot: a value a second, the oldest first. `None` where nothing is known.
pub(super) struct Series {
    pub(super) values: Vec<Option<f32>>,
    pub(super) colour: Color32,
    /// What it is now.
    pub(super) now: String,
}

/// A plot. Zero is its lower edge; the upper edge is the largest value, at least `least`.
pub(super) struct Sparkline<'a> {
    pub(super) title: &'a str,
    pub(super) least: f32,
    pub(super) series: Vec<Series>,
}

impl Sparkline<'_> {
    /// The height of every plot.
    pub(super) const HEIGHT: f32 = TITLE + 2.0 * VALUE + 4.0 + PLOT;

    pub(super) fn show(&self, ui: &mut Ui, width: f32) {
        let (rect, response) = ui.allocate_exact_size(vec2(width, Self::HEIGHT), Sense::hover());
        let now: Vec<&str> = self.series.iter().map(|series| series.now.as_str()).collect();
        let spoken = format!("{}: {}", self.title, now.join(", "));
        response.widget_info(|| WidgetInfo::labeled(WidgetType::Label, true, &spoken));
        let painter = ui.painter();
        painter.text(rect.left_top(), Align2::LEFT_TOP, self.title, theme::semibold(12.0), theme::ON_COLOUR);
        for (line, series) in (0_u8..).zip(&self.series) {
            let at = rect.left_top() + vec2(0.0, TITLE + VALUE * f32::from(line));
            let words = one_line(painter, &series.now, theme::regular(12.0), series.colour, width);
            painter.galley(at, words, series.colour);
        }
        let plot = rect.with_min_y(rect.bottom() - PLOT);
        painter.hline(plot.x_range(), plot.bottom(), Stroke::new(1.0, Color32::from_white_alpha(60)));
        let top = self.top();
        for series in &self.series {
            for points in runs(&series.values, plot, top) {
                let stroke = Stroke::new(1.5, series.colour);
                match points.as_slice() {
                    [point] => painter.circle_filled(*point, 1.0, series.colour),
                    _ => painter.add(Shape::line(points, stroke)),
                };
            }
        }
    }

    fn top(&self) -> f32 {
        let values = self.series.iter().flat_map(|series| &series.values).flatten();
        values.copied().filter(|value| value.is_finite()).fold(self.least, f32::max)
    }
}

/// Where the values lie, the newest at the right edge; a gap where one is missing.
fn runs(values: &[Option<f32>], plot: Rect, top: f32) -> Vec<Vec<Pos2>> {
    let step = plot.width() / (HISTORY_SECONDS - 1) as f32;
    let first = plot.right() - step * values.len().saturating_sub(1) as f32;
    let mut runs = vec![Vec::new()];
    for (index, value) in values.iter().enumerate() {
        match (value, runs.last_mut()) {
            (Some(value), Some(run)) if value.is_finite() => {
                let height = (value / top.max(f32::MIN_POSITIVE)).clamp(0.0, 1.0) * (plot.height() - 2.0);
                run.push(pos2(first + step * index as f32, plot.bottom() - 1.0 - height));
            }
            (_, Some(run)) if !run.is_empty() => runs.push(Vec::new()),
            (..) => {}
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLOT: Rect = Rect { min: pos2(0.0, 0.0), max: pos2(59.0, 12.0) };

    #[test]
    fn the_newest_second_is_at_the_right_edge_and_the_largest_value_at_the_top() {
        let runs = runs(&[Some(0.0), Some(5.0), Some(10.0)], PLOT, 10.0);
        assert_eq!(runs, [vec![pos2(57.0, 11.0), pos2(58.0, 6.0), pos2(59.0, 1.0)]]);
    }

    #[test]
    fn what_is_not_known_is_a_gap_and_nonsense_stays_inside() {
        let values = [Some(1.0), None, None, Some(f32::NAN), Some(2.0), Some(1e9), Some(-3.0)];
        let runs = runs(&values, PLOT, 2.0);
        assert_eq!(runs.iter().map(Vec::len).collect::<Vec<_>>(), [1, 3]);
        assert!(runs.iter().flatten().all(|point| PLOT.contains(*point)), "{runs:?}");
        assert_eq!(super::runs(&[], PLOT, 1.0), Vec::<Vec<Pos2>>::new());
    }

    #[test]
    fn a_quiet_plot_keeps_its_scale() {
        let series = |values| Series { values, colour: Color32::WHITE, now: String::new() };
        let plot = |values| Sparkline { title: "", least: 10.0, series: vec![series(values)] }.top();
        assert_eq!(plot(vec![Some(1.0)]), 10.0);
        assert_eq!(plot(vec![Some(30.0), None, Some(f32::INFINITY)]), 30.0);
    }
}
