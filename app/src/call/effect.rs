use std::time::Duration;

use parlor_media::{Path, ScreenSource};
use parlor_net::{
    CallId, PeerId, Status,
    signalling::{Body, CallKind},
};

use super::EndReason;

/// What a [`super::CallMachine`] wants done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send a signalling message.
    Send {
        /// To whom.
        peer: PeerId,
        /// The call that it belongs to.
        call: CallId,
        /// What it says.
        body: Body,
    },
    /// This call's signalling stream is not needed any more; what was sent is still to be delivered.
    CloseSignal {
        /// With whom.
        peer: PeerId,
        /// The call.
        call: CallId,
    },
    /// Tell a media session what to do.
    Media {
        /// The call that the session belongs to.
        call: CallId,
        /// What to do.
        command: MediaCommand,
    },
    /// We are free, or no longer free: announce it.
    StatusChanged(Status),
    /// Something happened that the person should know.
    Notice(CallNotice),
}

/// What a media session is told. `Open` is always the first command for a call and `Close` the last; after `Open`
/// there is always a `Close`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaCommand {
    /// Make the session. No device is opened by this.
    Open {
        /// With a picture or without.
        kind: CallKind,
    },
    /// As the caller: make an offer.
    CreateOffer,
    /// As the callee: answer this offer.
    AcceptOffer(String),
    /// As the caller: use this answer.
    AcceptAnswer(String),
    /// Use this candidate of theirs.
    AddCandidate(String),
    /// As the caller: make an offer that restarts ICE.
    RestartIce,
    /// Show the person their own picture.
    StartPreview,
    /// Both people agreed: open the devices and send.
    Start,
    /// Picture on or off.
    SetCamera(bool),
    /// Voice on or off.
    SetMicrophone(bool),
    /// Share this screen or window.
    Share(ScreenSource),
    /// Share nothing any more.
    StopSharing,
    /// Release the devices and end the session.
    Close,
}

/// Something that happened in a call, to be said once.
#[derive(Clone, Debug, PartialEq)]
pub enum CallNotice {
    /// Our invitation is on its way.
    Inviting {
        /// The call.
        call: CallId,
        /// Whom.
        peer: PeerId,
    },
    /// It rings there.
    RingingThere {
        /// The call.
        call: CallId,
        /// Whom.
        peer: PeerId,
    },
    /// It rings here.
    Incoming {
        /// The call.
        call: CallId,
        /// Who calls.
        peer: PeerId,
        /// Their name, fit for display.
        name: String,
        /// With a picture or without.
        kind: CallKind,
    },
    /// The invitation was accepted, there or here.
    Accepted {
        /// The call.
        call: CallId,
        /// With whom.
        peer: PeerId,
    },
    /// Media flows.
    Connected {
        /// The call.
        call: CallId,
        /// The path that media takes.
        path: Path,
        /// From acceptance to now.
        setup: Duration,
    },
    /// They share a screen now, or no longer.
    TheirScreen {
        /// The call.
        call: CallId,
        /// They do.
        on: bool,
    },
    /// The path broke.
    Reconnecting {
        /// The call.
        call: CallId,
    },
    /// The path is back.
    Reconnected {
        /// The call.
        call: CallId,
    },
    /// The call is over, or the invitation came to nothing.
    Ended {
        /// The call.
        call: CallId,
        /// With whom.
        peer: PeerId,
        /// Their name.
        name: String,
        /// Why.
        reason: EndReason,
    },
    /// Somebody called while we were in a call, and was told so.
    MissedWhileBusy {
        /// Who.
        peer: PeerId,
        /// Their name, fit for display.
        name: String,
    },
}
