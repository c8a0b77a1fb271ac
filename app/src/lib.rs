//! Parlor, the application: the call machine, the engine around it, and the window.

pub mod call;
pub mod engine;
pub mod settings;
