//! What is asked for on the command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, ValueEnum};

/// Measures calls on good and bad links, Parlor's and a browser's on the same wire, and leaves recordings to be scored.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Options {
    /// Where recordings go, a folder for each call.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// The marked camera clip; drawn when it is missing.
    #[arg(long, value_name = "FILE.y4m")]
    pub(crate) clip: PathBuf,
    /// What the two say: 48 kHz mono.
    #[arg(long, num_args = 2, value_names = ["ANN.wav", "BOB.wav"])]
    pub(crate) speech: Vec<PathBuf>,
    /// A folder with `node_modules/playwright-core`: measure the browser, too.
    #[arg(long, value_name = "DIR")]
    pub(crate) browser: Option<PathBuf>,
    /// Measure the browser alone.
    #[arg(long, requires = "browser")]
    pub(crate) browser_alone: bool,
    /// The browser's program.
    #[arg(long, value_name = "PROGRAM", default_value = "/usr/bin/chromium")]
    pub(crate) chromium: PathBuf,
    /// Only these links.
    #[arg(long, value_name = "LINK,...", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Calls on each link.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) repeat: u64,
    /// The number of the first of them.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) first: u64,
    /// Calls measured at the same time: a call of either kind keeps two cores busy.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) jobs: usize,
    /// This process is the server of a download that shares the link.
    #[arg(long, value_name = "ADDRESS", hide = true)]
    pub(crate) serve: Option<SocketAddr>,
    /// This process is its client.
    #[arg(long, value_name = "ADDRESS", hide = true)]
    pub(crate) download: Option<SocketAddr>,
    /// This process is to measure one call, in the lab.
    #[arg(long, num_args = 3, value_names = ["SYSTEM", "LINK", "RUN"], hide = true)]
    pub(crate) inside: Option<Vec<String>>,
}

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum System {
    /// `parlor headless`.
    Parlor,
    /// Chromium.
    Browser,
}

impl System {
    /// As in names of folders.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Parlor => "parlor",
            Self::Browser => "browser",
        }
    }
}
