//! What is asked for on the command line.

use std::path::PathBuf;

use crate::PARTS;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The parts to run; empty: all.
    only: Vec<String>,
    /// Starts of a program.
    pub(crate) runs: usize,
    /// Calls set up.
    pub(crate) calls: usize,
    /// Calls one after another.
    pub(crate) repeats: usize,
    /// Length of a measured call.
    pub(crate) seconds: u64,
    /// The marked clip; made when missing.
    pub(crate) clip: PathBuf,
    /// Where the figures go as JSON.
    pub(crate) json: Option<PathBuf>,
    /// The old browser system.
    pub(crate) browser: Option<PathBuf>,
    /// This process is to measure that part, in the lab.
    pub(crate) inside: Option<usize>,
}

impl Options {
    /// The options, or what to tell the person.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            only: Vec::new(),
            runs: 20,
            calls: 20,
            repeats: 50,
            seconds: 60,
            clip: std::env::temp_dir().join("parlor-bench-clip.y4m"),
            json: None,
            browser: None,
            inside: None,
        };
        while let Some(flag) = arguments.next() {
            let value = arguments.next().filter(|_| flag != "--help").ok_or_else(manual)?;
            let number = || value.parse().map_err(|_| format!("{flag} takes a number, not {value:?}"));
            match flag.as_str() {
                "--only" => options.only = value.split(',').map(str::to_owned).collect(),
                "--runs" => options.runs = number()?,
                "--calls" => options.calls = number()?,
                "--repeats" => options.repeats = number()?,
                "--seconds" => options.seconds = number()? as u64,
                "--clip" => options.clip = value.into(),
                "--json" => options.json = Some(value.into()),
                "--browser" => options.browser = Some(value.into()),
                "--inside" => options.inside = Some(number()?),
                _ => return Err(manual()),
            }
        }
        match options.only.iter().find(|name| PARTS.iter().all(|(part, _)| part != name)) {
            Some(unknown) => Err(format!("there is no part {unknown:?}\n{}", manual())),
            None => Ok(options),
        }
    }

    /// Whether a part is asked for.
    pub(crate) fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == part)
    }

    /// What a process in the lab needs to know to measure a part.
    pub(crate) fn to_arguments(&self, part: usize) -> Vec<String> {
        let numbers = [
            ("--inside", part),
            ("--runs", self.runs),
            ("--calls", self.calls),
            ("--repeats", self.repeats),
            ("--seconds", self.seconds as usize),
        ];
        let mut arguments: Vec<String> =
            numbers.iter().flat_map(|(flag, number)| [(*flag).to_owned(), number.to_string()]).collect();
        arguments.extend(["--clip".to_owned(), self.clip.display().to_string()]);
        arguments
    }
}

fn manual() -> String {
    let parts: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
    format!(
        "usage: bench-lan [OPTION VALUE]...\n\
         --only PART,...   some of: {}\n\
         --runs N          starts of a program (20)\n\
         --calls N         calls set up (20)\n\
         --repeats N       calls one after another (50)\n\
         --seconds N       length of a measured call (60)\n\
         --clip FILE.y4m   the marked camera clip (made when missing)\n\
         --json FILE       write the figures there, too\n\
         --browser DIR     measure the old browser system in DIR, too (its `lab` is beside it, its packages installed)",
        parts.join(", ")
    )
}
