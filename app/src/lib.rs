//! Parlor, the application: the call machine, the engine around it, and the window.

mod atomic_file;
pub mod call;
pub mod data_dir;
pub mod engine;
pub mod fingerprint;
pub mod name;
pub mod settings;
pub mod text;
pub mod ui;
