use serde::Serialize;

/// A device that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// What [`crate::VideoSource::Device`] and its like take; stable over restarts as far as the system allows.
    pub id: String,
    /// What people read.
    pub name: String,
}
