//! How others are reached. On the LAN mDNS says who is where, and [`Dialler`] connects; [`Relayed`] does through nodes.

mod dialler;
pub(crate) mod lan;
mod relayed;

pub(crate) use dialler::Dialler;
pub(crate) use relayed::Relayed;
