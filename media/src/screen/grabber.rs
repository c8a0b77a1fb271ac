//! The seam between what shares screens and what a system has for that.

use super::{Grabbed, ScreenProblem};

/// Takes pictures of one screen or window, for as long as it lives.
pub(super) trait Grabber {
    /// What the person knows it by.
    fn name(&self) -> &str;

    /// The picture as it is now, into `grabbed`, whose size and content are of no concern. Waits for no change.
    fn grab(&mut self, grabbed: &mut Grabbed) -> Result<(), Failure>;
}

/// Why there is no picture.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "not every system has every reason")]
pub(super) enum Failure {
    /// The window was closed, or the monitor is off.
    Gone,
    /// For now: it is hidden, it changes its size just now, or it shows what it showed before.
    Hidden,
    /// The person thought better of it when the system asked.
    Cancelled,
    /// The system lacks something, or forbids it.
    Denied(ScreenProblem),
    /// The system is gone, or can't do what it should.
    Broken(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gone => f.write_str("it is not there any more"),
            Self::Hidden => f.write_str("it is hidden"),
            Self::Cancelled => f.write_str("it was not chosen"),
            Self::Denied(problem) => write!(f, "it can't be captured: {problem:?}"),
            Self::Broken(error) => f.write_str(error),
        }
    }
}
