//! Rows of figures, and what they are held against.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// What a figure has to reach.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// At most this many times the browser's figure of that name.
    OfBrowser(f64, &'static str),
    /// Nothing: it is only told.
    None,
}

/// One figure.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    what: String,
    unit: &'static str,
    value: f64,
    goal: Goal,
    /// How it spread, or what else is worth knowing.
    note: String,
}

impl Row {
    /// A figure; not a number when it could not be measured.
    pub(crate) fn new(what: impl Into<String>, value: f64, unit: &'static str, goal: Goal) -> Self {
        Self { what: what.into(), unit, value, goal, note: String::new() }
    }

    /// With a note.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// The median of several values, with the 95th percentile and the greatest in the note.
    pub(crate) fn median(what: impl Into<String>, values: &[f64], unit: &'static str, goal: Goal) -> Self {
        let note = format!("n {}, p95 {:.0}, max {:.0}", values.len(), quantile(values, 0.95), quantile(values, 1.0));
        Self::new(what, quantile(values, 0.5), unit, goal).note(note)
    }

    /// The greatest of several values, with the median in the note: for what has to hold every time.
    pub(crate) fn worst(what: impl Into<String>, values: &[f64], unit: &'static str, goal: Goal) -> Self {
        let note = format!("n {}, median {:.0}", values.len(), quantile(values, 0.5));
        Self::new(what, quantile(values, 1.0), unit, goal).note(note)
    }

    /// For the process outside the lab.
    pub(crate) fn to_json(&self) -> Value {
        let (goal, limit, browser) = match self.goal {
            Goal::AtMost(limit) => ("at most", Some(limit), None),
            Goal::AtLeast(limit) => ("at least", Some(limit), None),
            Goal::OfBrowser(factor, figure) => ("at most", Some(factor), Some(figure)),
            Goal::None => ("", None, None),
        };
        let value = self.value.is_finite().then_some(self.value);
        json!({ "what": self.what, "value": value, "unit": self.unit, "goal": goal, "limit": limit, "browser": browser,
            "note": self.note })
    }
}

/// The browser's figures by name.
#[derive(Clone, Debug)]
pub(crate) struct Figures(BTreeMap<&'static str, f64>);

/// Measured on a 2-core machine (Chromium 156), for when no browser is measured in the same run.
impl Default for Figures {
    fn default() -> Self {
        Self(BTreeMap::from([
            ("set-up ms", 300.0),
            ("latency ms", 56.0),
            ("fps", 26.8),
            ("cpu s", 32.0),
            ("pss MB", 407.0),
        ]))
    }
}

impl Figures {
    /// Replaces a figure by a measured one.
    pub(crate) fn set(&mut self, name: &'static str, value: f64) {
        self.0.insert(name, value);
    }

    /// All of them.
    pub(crate) fn to_json(&self) -> Value {
        json!(self.0)
    }
}

/// The table.
pub(crate) fn markdown(rows: &[Value], browser: &Figures) -> String {
    let mut table = "| | to reach | measured | met | spread |\n|---|---|---|---|---|\n".to_owned();
    for row in rows {
        table.push_str(&line(row, browser));
    }
    let figures: Vec<String> = browser.0.iter().map(|(name, value)| format!("{name} {value:.1}")).collect();
    format!("{table}\nThe browser's figures: {}.\n", figures.join(", "))
}

fn line(row: &Value, browser: &Figures) -> String {
    let text = |key: &str| row[key].as_str().unwrap_or_default();
    if let Some(why) = row["failed"].as_str() {
        return format!("| {} | | | FAILED | {why} |\n", text("what"));
    }
    let unit = text("unit");
    let mut goal = String::new();
    let mut limit = row["limit"].as_f64();
    if let (Some(factor), Some(figure)) = (limit, row["browser"].as_str()) {
        let theirs = browser.0.get(figure).copied().unwrap_or(f64::NAN);
        limit = Some(factor * theirs);
        goal = format!(" ({factor} x the browser's {theirs:.1})");
    }
    let value = row["value"].as_f64();
    let met = match (value, limit, text("goal")) {
        (_, None, _) => "",
        (Some(value), Some(limit), "at most") if value <= limit => "yes",
        (Some(value), Some(limit), "at least") if value >= limit => "yes",
        (Some(_), _, _) => "**no**",
        (None, _, _) => "**not measured**",
    };
    let goal = limit.map_or(String::new(), |limit| format!("{} {limit:.1} {unit}{goal}", text("goal")));
    let measured = value.map_or("-".to_owned(), |value| format!("{value:.1} {unit}"));
    format!("| {} | {goal} | {measured} | {met} | {} |\n", text("what"), text("note"))
}

/// The value that this part of all values does not exceed.
pub(crate) fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!([0.0, 0.5, 0.95, 1.0].map(|part| quantile(&values, part)), [1.0, 2.0, 4.0, 4.0]);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn a_row_says_whether_its_goal_is_met() {
        let browser = Figures::default();
        let line_of = |value, goal| line(&Row::new("x", value, "ms", goal).to_json(), &browser);
        assert!(line_of(3.0, Goal::AtMost(3.0)).contains("| yes |"));
        assert!(line_of(3.1, Goal::AtMost(3.0)).contains("| **no** |"));
        assert!(line_of(2.0, Goal::AtLeast(3.0)).contains("| **no** |"));
        assert!(line_of(16.0, Goal::OfBrowser(0.5, "cpu s")).contains("| yes |"));
        assert!(line_of(16.1, Goal::OfBrowser(0.5, "cpu s")).contains("| **no** |"));
        assert!(line_of(f64::NAN, Goal::AtMost(3.0)).contains("| **not measured** |"));
    }
}
