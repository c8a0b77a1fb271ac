//! Calls on good and bad links: Parlor's and a browser's, on the same wire, with the same clip and the same speech.
//!
//! Each call runs in a lab and a process of its own, and leaves a folder in which nothing tells whose call it was: when
//! each marked frame was captured and shown, when each 10 ms of sound were taken in and played, what was said and heard,
//! samples of the pictures that arrived, what the wire carried. `score.py` beside this file turns them into the table.

#![expect(clippy::print_stderr, reason = "a program that says how far it is")]

mod browser;
mod links;
mod options;
mod parlor;
mod recording;

use std::{
    collections::VecDeque,
    fs, io,
    process::{ExitCode, Stdio},
    sync::Mutex,
    thread,
};

use clap::{Parser, ValueEnum};
use parlor_tests::{clip, in_lab_command};

use self::{
    links::{Beside, Link},
    options::{Options, System},
};

/// A call that fails is tried again so many times: some of the browser's do.
const TRIES: usize = 3;

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match (options.serve, options.download, &options.inside) {
        (Some(address), ..) => recording::serve(address).map(|()| ExitCode::SUCCESS).map_err(Into::into),
        (_, Some(address), _) => recording::download(address).map(|()| ExitCode::SUCCESS).map_err(Into::into),
        (.., Some(cell)) => measure_one(cell, &options),
        (..) => measure_all(&options),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench-media: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One call.
#[derive(Clone, Copy, Debug)]
struct Cell<'a> {
    system: System,
    link: &'a Link,
    run: u64,
}

impl Cell<'_> {
    fn folder(&self) -> String {
        format!("{}-{}-{}", self.link.name, self.system.name(), self.run)
    }
}

fn measure_all(options: &Options) -> anyhow::Result<ExitCode> {
    if !options.clip.exists() {
        eprintln!("drawing the camera clip {} (330 MB)", options.clip.display());
        clip::write(&options.clip, clip::WIDTH, clip::HEIGHT, clip::FRAMES)?;
    }
    let links = links::all();
    if let Some(unknown) = options.only.iter().find(|name| links.iter().all(|link| link.name != **name)) {
        let names: Vec<&str> = links.iter().map(|link| link.name).collect();
        anyhow::bail!("there is no link {unknown:?}; there are {}", names.join(", "));
    }
    let wanted = |link: &&Link| options.only.is_empty() || options.only.iter().any(|name| name == link.name);
    let systems =
        [(!options.browser_alone).then_some(System::Parlor), options.browser.is_some().then_some(System::Browser)];
    let mut cells = VecDeque::new();
    for run in options.first..options.first + options.repeat {
        for link in links.iter().filter(wanted) {
            // Two calls between browsers at once are more than two cores can do.
            let can = |system: &System| *system == System::Parlor || link.beside != Beside::Call;
            cells.extend(systems.into_iter().flatten().filter(can).map(|system| Cell { system, link, run }));
        }
    }
    let (cells, failed) = (Mutex::new(cells), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                while let Some(cell) = cells.lock().ok().and_then(|mut cells| cells.pop_front()) {
                    if let Err(error) = measure(&cell, options) {
                        eprintln!("{}: {error:#}", cell.folder());
                        failed.lock().expect("no other job panics").push(cell.folder());
                    }
                }
            });
        }
    });
    let failed = failed.into_inner()?;
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("not measured: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

fn measure(cell: &Cell<'_>, options: &Options) -> anyhow::Result<()> {
    let folder = options.out.join(cell.folder());
    let mut arguments = vec!["--inside".to_owned(), cell.system.name().to_owned(), cell.link.name.to_owned()];
    arguments.push(cell.run.to_string());
    for attempt in 1..=TRIES {
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => fs::create_dir_all(&folder)?,
        }
        let log = fs::File::create(folder.join("log"))?;
        let status = in_lab_command()
            .args(std::env::args_os().skip(1))
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .status()?;
        if status.success() {
            // Last: a folder with it is whole.
            fs::write(folder.join("measured"), "")?;
            eprintln!("{}: measured", cell.folder());
            return Ok(());
        }
        eprintln!("{} (try {attempt}): see {}", cell.folder(), folder.join("log").display());
    }
    anyhow::bail!("failed {TRIES} times")
}

/// Inside the lab.
fn measure_one(cell: &[String], options: &Options) -> anyhow::Result<ExitCode> {
    // Ahead of what else the machine does, where that is allowed.
    let _best_effort = rustix::process::setpriority_process(None, -10);
    let [system, link, run] = cell else { anyhow::bail!("--inside takes three values") };
    let system = System::from_str(system, false).map_err(anyhow::Error::msg)?;
    let links = links::all();
    let Some(link) = links.iter().find(|known| known.name == link) else { anyhow::bail!("there is no link {link:?}") };
    let cell = Cell { system, link, run: run.parse()? };
    let folder = options.out.join(cell.folder());
    match system {
        System::Parlor => parlor::measure(link, cell.run, options, &folder)?,
        System::Browser => browser::measure(link, cell.run, options, &folder)?,
    }
    Ok(ExitCode::SUCCESS)
}
