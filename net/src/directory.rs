//! `/parlor/directory/1`: finding people through a rendezvous node that anyone can run.
//!
//! A client opens one stream to its node and keeps it open. It says who it is ([`Request::Hello`], with a [`Card`] that
//! its key signs), where it wants to be listed ([`Request::Join`]) and about whom it wants to know
//! ([`Request::Watch`]); the node pushes who comes and goes ([`Push`]). The end of the stream is the end of the
//! presence. What a node says of people is believed only as far as they have signed it themselves.
//!
//! Frames are length-delimited JSON, as in signalling: a person can read them, a browser can speak them.

mod behaviour;
mod card;
mod client;
#[cfg(test)]
mod fuzz;
mod handler;
mod message;
pub(crate) mod nodes;
mod room;

pub use self::room::{Room, RoomId};
pub(crate) use self::{
    behaviour::{Behaviour, Outcome},
    handler::TURN_PROTOCOL,
};
#[allow(unused_imports, reason = "the node and the client are being built on these")]
pub(crate) use self::{
    card::{Card, CardError, MAX_CARD_BYTES},
    message::{
        Entry, GoneReason, Limits, MAX_PUSH_BYTES, MAX_REQUEST_BYTES, NodeStatus, PROTOCOL, Place, Push, Refusal,
        Request, Scope, TurnAccess, VERSION,
    },
};
