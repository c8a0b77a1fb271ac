//! The two subcommands: settings in, lines out.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;

use super::{
    fact::{Finding, Level, Section},
    look::{Subject, examine, examine_node},
    say::{Said, say},
};
use crate::{
    cli::{Doctor, NodeStatus},
    data_dir::{DataDir, DataDirError},
    settings::{Language, Settings},
    text::Text,
};

/// However long anything takes: every part has a deadline of its own that is shorter.
const ALL_WITHIN: Duration = Duration::from_secs(10);

/// `parlor doctor`: looks at everything, and prints what is found.
///
/// # Errors
/// When nothing can be printed, or there is no place for files.
pub fn run(args: &Doctor) -> anyhow::Result<ExitCode> {
    let (settings, damaged_settings, directory) = settings(args.data_dir.as_deref())?;
    let language = args.lang.map_or(settings.language, Into::into);
    let named: Vec<_> = args.node.iter().flat_map(|node| node.0.iter().cloned()).collect();
    let nodes = if named.is_empty() { settings.nodes } else { named };
    let subject = Subject { nodes, directory: Some(directory), damaged_settings };
    let mut printer = Printer::new(args.json, Text::of(language));
    on_runtime(async {
        let examined = examine(subject, |findings| printer.print(&findings));
        // Nothing takes that long; what was printed stands.
        let _ = tokio::time::timeout(ALL_WITHIN, examined).await;
    })?;
    printer.finish()
}

/// `parlor node-status`: looks at one node, and prints what is found.
///
/// # Errors
/// When nothing can be printed.
pub fn node_status(args: &NodeStatus) -> anyhow::Result<ExitCode> {
    let mut printer = Printer::new(args.json, Text::of(args.lang.map_or(Language::System, Into::into)));
    on_runtime(async { printer.print(&examine_node(&args.address.0).await) })?;
    printer.finish()
}

/// The settings as far as they can be read, and where files are kept. Nothing is made, locked or mended: a Parlor may
/// be running with them.
fn settings(chosen: Option<&Path>) -> Result<(Settings, Option<std::path::PathBuf>, std::path::PathBuf), DataDirError> {
    let (data, config) = DataDir::places(chosen)?;
    let file = config.join(DataDir::SETTINGS);
    let settings = match fs::read_to_string(&file) {
        Ok(text) => toml::from_str(&text).ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Settings::default()),
        Err(_) => None,
    };
    let damaged = settings.is_none().then_some(file);
    Ok((settings.unwrap_or_default(), damaged, data))
}

fn on_runtime(work: impl Future<Output = ()>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start threads: is the machine out of memory or processes?")?;
    runtime.block_on(work);
    // The system may still be looking for a name, or for devices.
    runtime.shutdown_background();
    Ok(())
}

struct Printer {
    json: bool,
    text: &'static Text,
    worst: Level,
    section: Option<Section>,
    failed: Option<io::Error>,
}

impl Printer {
    fn new(json: bool, text: &'static Text) -> Self {
        Self { json, text, worst: Level::Good, section: None, failed: None }
    }

    fn print(&mut self, findings: &[Finding]) {
        let mut lines = String::new();
        for finding in findings {
            self.worst = self.worst.max(finding.level);
            let said = say(&finding.fact, self.text);
            if self.json {
                lines.push_str(&as_json(finding, &said));
                continue;
            }
            let section = finding.fact.section();
            let before = self.section.replace(section);
            if before != Some(section) {
                let gap = if before.is_none() { "" } else { "\n" };
                lines.push_str(&format!("{gap}{}\n", heading(section, self.text)));
            }
            lines.push_str(&as_text(finding.level, &said));
        }
        self.write(&lines);
    }

    fn write(&mut self, lines: &str) {
        let mut out = io::stdout().lock();
        if self.failed.is_none()
            && let Err(error) = out.write_all(lines.as_bytes()).and_then(|()| out.flush())
        {
            self.failed = Some(error);
        }
    }

    /// The sum of it all, and the exit status.
    fn finish(mut self) -> anyhow::Result<ExitCode> {
        if !self.json {
            let sum = summary(self.worst, self.text);
            self.write(&format!("\n{sum}\n"));
        }
        match self.failed {
            Some(error) => Err(error).context("can't write to stdout"),
            None if self.worst == Level::Broken => Ok(ExitCode::FAILURE),
            None => Ok(ExitCode::SUCCESS),
        }
    }
}

/// What it all comes to.
pub fn summary(worst: Level, text: &Text) -> &str {
    match worst {
        Level::Good => &text.doctor.all_good,
        Level::Warning => &text.doctor.some_warnings,
        Level::Broken => &text.doctor.some_broken,
    }
}

/// What the findings of a section are about.
pub fn heading(section: Section, text: &Text) -> &str {
    match section {
        Section::Near => &text.doctor.near,
        Section::Nodes => &text.doctor.nodes,
        Section::Devices => &text.doctor.devices,
        Section::Storage => &text.doctor.storage_title,
    }
}

/// What tells levels apart at a glance.
pub const fn mark(level: Level) -> &'static str {
    match level {
        Level::Good => "✓",
        Level::Warning => "!",
        Level::Broken => "✗",
    }
}

fn as_text(level: Level, said: &Said) -> String {
    let mut lines = format!("{} {}\n", mark(level), said.sentence);
    if let Some(advice) = &said.advice {
        lines.push_str(&format!("  → {advice}\n"));
    }
    // An interface or a device may have any name.
    lines.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
}

fn as_json(finding: &Finding, said: &Said) -> String {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        #[serde(flatten)]
        finding: &'a Finding,
        text: &'a str,
        advice: Option<&'a str>,
    }
    let line = Line { finding, text: &said.sentence, advice: said.advice.as_deref() };
    serde_json::to_string(&line).expect("a finding has string keys and plain values") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Fact;

    #[test]
    fn a_line_of_json_has_the_finding_its_level_and_its_words() {
        let finding = Finding { level: Level::Warning, fact: Fact::NobodyNear };
        let line = as_json(&finding, &say(&finding.fact, Text::of(Language::English)));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["level"], &value["finding"]), (&"warning".into(), &"nobody_near".into()));
        assert!(value["text"].is_string() && value["advice"].is_string() && line.ends_with("}\n"));
    }

    #[test]
    fn a_line_begins_with_its_mark_and_advice_follows() {
        let said = Said { sentence: "It\u{1b}[2J is so.".into(), advice: Some("Do this.".into()) };
        assert_eq!(as_text(Level::Broken, &said), "✗ It[2J is so.\n  → Do this.\n");
        assert_eq!(as_text(Level::Good, &Said { advice: None, ..said }), "✓ It[2J is so.\n");
    }

    #[test]
    fn settings_are_read_and_nothing_is_made() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("ann");
        let (read, damaged, data) = settings(Some(&dir)).unwrap();
        assert_eq!((read, damaged, data.as_path()), (Settings::default(), None, dir.as_path()));
        assert!(!dir.exists());
        fs::create_dir(&dir).unwrap();
        let file = dir.join("settings.toml");
        fs::write(&file, "language = \"zh-CN\"\n").unwrap();
        assert_eq!(settings(Some(&dir)).unwrap().0.language, Language::Chinese);
        fs::write(&file, "language = [").unwrap();
        assert_eq!(settings(Some(&dir)).unwrap().1, Some(file.clone()));
        assert_eq!(fs::read_to_string(&file).unwrap(), "language = [", "whoever mends it still can");
    }
}
