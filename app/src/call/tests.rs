//! The machine, tested as people use it: two or three of them in a simulated world.

mod active;
mod boundaries;
mod endings;
mod glare;
mod properties;
mod setup;
mod world;
