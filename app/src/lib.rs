//! Parlor, the application: the call machine, the engine around it, and the window.

mod atomic_file;
pub mod call;
pub mod cli;
pub mod contacts;
pub mod data_dir;
pub mod doctor;
pub mod engine;
pub mod fingerprint;
#[cfg(test)]
mod fuzz;
mod handover;
pub mod headless;
mod kept_file;
pub mod link;
pub mod logging;
pub mod memory;
pub mod name;
pub mod process;
pub mod qr;
pub mod room;
pub mod settings;
pub mod shutdown;
pub mod startup;
pub mod text;
pub mod ui;
mod url_handler;
