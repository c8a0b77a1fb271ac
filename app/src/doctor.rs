//! `parlor doctor` and `parlor node-status`: what works, what does not, what that means, and what to do.
//!
//! `look` has the probes run, [`Fact`]s are what was found and `judge` how bad that is (pure), [`say`] puts it into
//! a person's language. Nothing is written, and nobody is contacted whom the person did not choose.

mod fact;
mod judge;
mod look;
mod print;
mod say;

pub use self::{
    fact::{Fact, Finding, Level, Section},
    look::{Subject, examine},
    print::{heading, mark, node_status, run, summary},
    say::{Said, say},
};
