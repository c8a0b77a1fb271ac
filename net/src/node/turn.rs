//! STUN and TURN inside the node: media is relayed for those who can't connect directly, or do not want to be seen.
//!
//! The server is our own and pure ([`server`]), under one task that owns the sockets ([`relay`]). The TURN crate at hand
//! remembers a nonce for every packet that a stranger sends, has no quotas, starts a task for every permission, and
//! lets no running call outlive its credentials.

mod credentials;
mod destination;
mod relay;
mod server;
mod stream;

use crate::stun;

pub(super) use self::{
    destination::Destinations,
    relay::{Config, Turn, TurnError},
};
