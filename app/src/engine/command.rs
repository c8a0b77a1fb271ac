use parlor_media::{DeviceChoice, ScreenSource};
use parlor_net::{PeerId, signalling::CallKind};

use crate::{contacts::ContactChange, link::Link, settings::Settings};

/// What a person, or a script, asks the engine to do. Commands that make no sense any more (the call is over, the
/// person is gone) are ignored or answered with a [`super::Notice`]; they are never an error.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// The person's name, as typed; becomes known to others. Validated again by the engine.
    SetName(String),
    /// Invite somebody. If they are calling us, this is accepting.
    Call {
        /// Whom.
        peer: PeerId,
        /// With a picture or without.
        kind: CallKind,
    },
    /// Accept the invitation that rings.
    Accept,
    /// Decline the invitation that rings.
    Decline,
    /// Leave the call, or take the invitation back.
    HangUp,
    /// The own camera on or off, in this call.
    SetCamera(bool),
    /// The own microphone on or off, in this call.
    SetMicrophone(bool),
    /// Use this camera, microphone or loudspeaker from now on, in this call and in later ones.
    UseDevice(DeviceChoice),
    /// Look for screens and windows that can be shared; [`super::Snapshot::screens`] tells.
    ListScreens,
    /// Forget those: nobody chooses any more.
    ForgetScreens,
    /// Show this screen or window to the other, in this call.
    Share(ScreenSource),
    /// Show the other none any more.
    StopSharing,
    /// Use what was plugged in, or don't.
    AnswerNewDevices(bool),
    /// Try camera and sound before a call, or stop that.
    Try(bool),
    /// While trying: record for five seconds, and play it.
    RecordTrial,
    /// Keep and use new settings.
    SetSettings(Box<Settings>),
    /// Decide something about somebody.
    ChangeContact {
        /// About whom.
        peer: PeerId,
        /// What.
        change: ContactChange,
    },
    /// A link was opened outside of the window: show whom it leads to. Nothing else happens.
    OpenLink(String),
    /// The person saw whom a link leads to, and agreed: add the contact, the node or the room.
    AcceptLink(Box<Link>),
    /// Look for a QR code with the camera, or stop that.
    Scan(bool),
    /// Look for cameras, microphones and loudspeakers again.
    RefreshDevices,
    /// Look what works and what does not; [`super::Snapshot::checkup`] tells.
    CheckConnection,
    /// Stop: end the call, say goodbye, save.
    Quit,
}
