//! What the tests across the crates, and the benchmarks, are made of: a network laboratory of Linux namespaces, running
//! Parlors to talk to, a sound card and a marked camera clip. Linux only; nothing outside its own namespaces and
//! temporary directories is touched.
//!
//! A test that needs a network wraps its body in [`in_lab`]; it then has a machine-wide network stack for itself:
//!
//! ```no_run
//! use parlor_tests::{Lan, Peer, SOON, in_lab};
//!
//! in_lab(|| {
//!     let lan = Lan::new(2);
//!     let mut ann = Peer::named("Ann").start(&lan[0]);
//!     let bob = Peer::named("Bob").start(&lan[1]);
//!     assert_eq!(ann.expect("peer_online", SOON)["peer"], bob.id());
//! });
//! ```

#![expect(clippy::panic, reason = "this serves tests: a panic is how it tells them what is wrong")]

mod binary;
pub mod capture;
pub mod clip;
pub mod directory;
mod internet;
mod lan;
mod peer;
mod rendezvous;
mod router;
mod sandbox;
mod sound_card;
pub mod turn;
pub mod usage;
mod window;

pub use binary::{example, parlor, parlor_node};
pub use internet::{Family, Home, Internet, Nat};
pub use lan::{Host, Impairment, Lan, Wire};
pub use peer::{Event, Peer, Starting};
pub use rendezvous::Rendezvous;
pub use router::{Manners, UpnpRouter};
pub use sandbox::{in_lab, in_lab_command};
pub use sound_card::{Heard, Part, SoundCard};
pub use window::Screen;

use std::time::Duration;

/// Long enough for what happens within a second on a busy machine; a test that waits longer has found a fault.
pub const SOON: Duration = Duration::from_secs(15);

/// Deadlines are Unix-wide, so tests read the clock here and nowhere else.
#[expect(clippy::disallowed_methods, reason = "tests of real processes run in real time")]
#[must_use]
pub fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Unix time in milliseconds, as in the events' `t_ms`.
#[expect(clippy::disallowed_methods, reason = "tests of real processes run in real time")]
#[must_use]
pub fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}
