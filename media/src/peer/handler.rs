//! What the stack reports, in our words.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use webrtc::peer_connection::{
    PeerConnectionEventHandler, RTCIceConnectionState, RTCPeerConnectionIceEvent, RTCPeerConnectionState,
};

use super::{
    PeerEvent,
    candidate::{self, Candidate},
};
use crate::IcePolicy;

/// Passes the stack's events on. It runs on the connection's task, so it must not wait; the session keeps up.
pub(super) struct Handler {
    events: mpsc::Sender<PeerEvent>,
    nudge: Arc<Notify>,
    policy: IcePolicy,
}

impl Handler {
    pub(super) fn new(events: mpsc::Sender<PeerEvent>, nudge: Arc<Notify>, policy: IcePolicy) -> Self {
        Self { events, nudge, policy }
    }

    fn tell(&self, event: PeerEvent) {
        if let Err(error) = self.events.try_send(event) {
            tracing::warn!(%error, "an event of the peer connection was lost");
        }
    }
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        let Some(mut init) = event.candidate.to_json().ok().filter(|init| !init.candidate.is_empty()) else { return };
        let relayed = Candidate::parse(&init.candidate).relayed;
        match self.policy {
            IcePolicy::RelayOnly if !relayed => return,
            IcePolicy::All | IcePolicy::RelayOnly | IcePolicy::DirectOnly => {}
        }
        if relayed {
            init.candidate = candidate::without_base(&init.candidate);
            init.url = None;
        }
        if let Ok(json) = serde_json::to_string(&init) {
            self.tell(PeerEvent::Candidate(json));
        }
    }

    async fn on_ice_connection_state_change(&self, state: RTCIceConnectionState) {
        if state == RTCIceConnectionState::Connected {
            self.nudge.notify_one();
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        tracing::debug!(%state, "peer connection");
        match state {
            RTCPeerConnectionState::Connected => self.tell(PeerEvent::Connected),
            // `Closed` by the far end: it says why over signalling, or is gone.
            RTCPeerConnectionState::Disconnected | RTCPeerConnectionState::Closed => self.tell(PeerEvent::Disconnected),
            RTCPeerConnectionState::Failed => self.tell(PeerEvent::Failed("no path to the other side".to_owned())),
            _ => {}
        }
    }
}
