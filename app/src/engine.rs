//! The one loop: what people, the network, media and time put in, and what comes out.
//!
//! The window and the headless app drive it alike: [`Command`]s down, a [`Snapshot`] and [`Notice`]s up.

mod command;
mod link;
mod notice;
mod snapshot;

pub use command::Command;
pub use link::EngineLink;
pub use notice::{EndReason, Notice};
pub use snapshot::{ActiveCall, CallView, Device, Devices, Me, PersonView, Quality, Sending, Snapshot};
