//! Signalling: what two people's programs say to each other to set up, change and end one call.
//!
//! `/parlor/signal/1` is one ordered stream a call, opened by the caller, of length-delimited JSON messages
//! (`unsigned-varint` length, then at most [`MAX_MESSAGE_BYTES`] bytes):
//!
//! ```json
//! {"v":1,"seq":1,"ack":0,"call":"000102030405060708090a0b0c0d0e0f","type":"invite","name":"Ann","kind":"video","offer":"…"}
//! ```
//!
//! Each side numbers its messages of a call from 1 (`seq`) and says up to where it has received the other's (`ack`).
//! When a connection is lost, the caller opens the stream again on another one and both repeat what was not
//! acknowledged; repeated numbers are dropped. So every message arrives in order and once, or
//! [`Event::SignalFailed`](crate::Event::SignalFailed) says that it did not.
//!
//! The pure part is `calls`; `behaviour` and `handler` carry out what it decides.

mod behaviour;
mod calls;
mod envelope;
#[cfg(test)]
mod fuzz;
mod handler;
mod message;

pub(crate) use behaviour::{Behaviour, Outcome};
pub use message::{Body, ByeReason, CallKind, DeclineReason, MAX_MESSAGE_BYTES};
