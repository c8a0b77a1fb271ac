use parlor_media::{CameraState, Path, ScreenSource};
use parlor_net::{
    CallId, OfflineReason, PeerId,
    signalling::{Body, CallKind},
};

/// What goes into a [`super::CallMachine`].
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The person calls somebody. Whoever calls the one who is calling them accepts.
    Call {
        /// A fresh random id; unused when this turns out to be an acceptance.
        call: CallId,
        /// Whom.
        peer: PeerId,
        /// Their name, as listed.
        name: String,
        /// Our name, as the invitation will say it.
        my_name: String,
        /// With a picture or without.
        kind: CallKind,
    },
    /// The person accepts the invitation that rings.
    Accept,
    /// The person declines the invitation that rings.
    Decline,
    /// The person leaves the call, takes the invitation back, or declines.
    HangUp,
    /// The person turns their picture on or off.
    SetCamera(bool),
    /// The person turns their voice on or off.
    SetMicrophone(bool),
    /// The person shares a screen or window.
    Share(ScreenSource),
    /// The person shares nothing any more.
    StopSharing,
    /// A signalling message came in.
    Signal {
        /// The sender, as authenticated.
        peer: PeerId,
        /// The call that it belongs to.
        call: CallId,
        /// What it says.
        body: Body,
    },
    /// Messages of this call can't be delivered any more.
    SignalFailed {
        /// To whom.
        peer: PeerId,
        /// The call.
        call: CallId,
    },
    /// Somebody came online, or back.
    PeerOnline {
        /// Who.
        peer: PeerId,
    },
    /// Somebody went offline.
    PeerOffline {
        /// Who.
        peer: PeerId,
        /// Why.
        reason: OfflineReason,
    },
    /// The addresses of this machine changed: a running call looks for a new path, even if the old one still seems to
    /// work.
    NetworkChanged,
    /// Something happened in a media session.
    Media {
        /// The call that the session belongs to.
        call: CallId,
        /// What.
        event: MediaInput,
    },
    /// The program ends: leave whatever there is.
    Shutdown,
}

/// What happened in a media session, as far as it decides anything.
#[derive(Clone, Debug, PartialEq)]
pub enum MediaInput {
    /// Our offer, to open or to restart.
    OfferReady(String),
    /// Our answer to their offer.
    AnswerReady(String),
    /// Their description can't be used.
    Refused(String),
    /// A candidate of ours.
    LocalCandidate(String),
    /// Media flows.
    Connected(Path),
    /// The path broke.
    Disconnected,
    /// The session can't go on.
    Failed(String),
    /// What our camera does.
    Camera(CameraState),
    /// Our screen or window is captured now, or no longer.
    Screen(bool),
}
