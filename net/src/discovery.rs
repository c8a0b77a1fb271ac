//! How others are found. Today on the LAN: mDNS says who is where, and [`Dialler`] connects.

mod dialler;
pub(crate) mod lan;

pub(crate) use dialler::Dialler;
