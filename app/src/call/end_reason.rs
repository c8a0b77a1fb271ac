use serde::Serialize;

/// Why a call is over, as the person on this side sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// We hung up.
    HungUp,
    /// They hung up.
    RemoteHungUp,
    /// We took our invitation back.
    Cancelled,
    /// They took their invitation back.
    RemoteCancelled,
    /// We declined.
    Declined,
    /// They declined.
    RemoteDeclined,
    /// They are in another call.
    Busy,
    /// They did not answer in time.
    NoAnswer,
    /// We did not answer in time.
    Missed,
    /// They can't be reached: they went offline before the call was accepted.
    Unreachable,
    /// The connection was lost during the call.
    ConnectionLost,
    /// No path for media could be made, or a media engine failed.
    MediaFailed,
    /// The other side's version speaks otherwise.
    Incompatible,
}
