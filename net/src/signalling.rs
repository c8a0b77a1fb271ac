//! Signalling: what two people's programs say to each other to set up, change and end one call.
//!
//! `/parlor/signal/1` is one ordered stream a call, opened by the caller, of length-delimited JSON messages
//! (`unsigned-varint` length, then at most [`MAX_MESSAGE_BYTES`] bytes).

mod message;

pub use message::{Body, ByeReason, CallKind, DeclineReason, MAX_MESSAGE_BYTES};
