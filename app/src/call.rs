//! The call machine.

mod end_reason;

pub use end_reason::EndReason;
