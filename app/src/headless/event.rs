//! What the headless app prints: one JSON object a line. A public interface, described in the README.

use parlor_media::{DeviceKind, PathKind, Problem, ScreenInfo, ScreenProblem, ScreenSource, Stats};
use parlor_net::{CallId, Multiaddr, NodeLink, OfflineReason, PeerId, Via, signalling::CallKind};
use serde::Serialize;

use crate::engine::{EndReason, Notice};

/// One line of output, without its time.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// The network is ready.
    Ready { peer: PeerId, name: String, listen: Vec<String> },
    /// Somebody came online.
    PeerOnline { peer: PeerId, name: String, via: Via },
    /// Somebody went offline.
    PeerOffline { peer: PeerId, name: String, reason: OfflineReason },
    /// Our invitation is on its way.
    Inviting { call: CallId, peer: PeerId },
    /// An invitation is shown: theirs here (`incoming`), or ours there.
    Ringing {
        call: CallId,
        peer: PeerId,
        incoming: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        kind: Option<CallKind>,
    },
    /// The invitation was accepted.
    Accepted { call: CallId, peer: PeerId },
    /// They declined. Followed by `ended`.
    Declined { call: CallId, peer: PeerId },
    /// They are in another call. Followed by `ended`.
    Busy { call: CallId, peer: PeerId },
    /// Media flows.
    Connected {
        call: CallId,
        path: PathKind,
        local: String,
        remote: String,
        rtt_ms: Option<f32>,
        /// From acceptance to now.
        setup_ms: u64,
    },
    /// The first remote picture.
    FirstVideoFrame { call: CallId, since_accept_ms: u64 },
    /// The first remote sound.
    FirstAudio { call: CallId, since_accept_ms: u64 },
    /// This screen or window is shared from now on.
    Sharing { call: CallId, name: String },
    /// Nothing is shared any more, or could be.
    SharingOver {
        call: CallId,
        #[serde(skip_serializing_if = "Option::is_none")]
        problem: Option<ScreenProblem>,
    },
    /// They share a screen now, or no longer.
    TheirScreen { call: CallId, on: bool },
    /// The first picture of their screen.
    FirstScreenFrame { call: CallId },
    /// What can be shared.
    Screens {
        screens: Vec<Screen>,
        #[serde(skip_serializing_if = "Option::is_none")]
        problem: Option<ScreenProblem>,
    },
    /// How the call does.
    Stats {
        call: CallId,
        #[serde(flatten)]
        stats: Box<Stats>,
        /// Capture to shown, median of the last second, when clocks can be compared.
        latency_ms: Option<f32>,
        cpu_s: Option<f64>,
        rss_bytes: Option<u64>,
    },
    /// The path broke.
    Reconnecting { call: CallId },
    /// The path is back.
    Reconnected { call: CallId },
    /// The call is over.
    Ended { call: CallId, peer: PeerId, reason: EndReason },
    /// Camera and microphone are closed.
    DevicesClosed { call: CallId, after_ms: u64 },
    /// Somebody called while we were in a call.
    MissedWhileBusy { peer: PeerId, name: String },
    /// How a rendezvous node is doing.
    Node {
        node: PeerId,
        state: NodeWord,
        #[serde(skip_serializing_if = "Option::is_none")]
        rtt_ms: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// These nodes, which ours know, are used, too, from now on.
    LearnedNodes { nodes: Vec<Multiaddr> },
    /// A device or file is not as it should be; the call goes on.
    Device { device: DeviceKind, problem: Problem, detail: String },
    /// Something else went wrong, or a line of input was not understood.
    Error { message: String },
}

/// A screen or window.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Screen {
    source: ScreenSource,
    name: String,
    width: u32,
    height: u32,
}

impl From<&ScreenInfo> for Screen {
    fn from(info: &ScreenInfo) -> Self {
        Self { source: info.source.clone(), name: info.name.clone(), width: info.width, height: info.height }
    }
}

/// How a rendezvous node is doing, in a word.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NodeWord {
    Connecting,
    Online,
    Failed,
    Idle,
}

impl Event {
    fn of_node(node: PeerId, link: NodeLink) -> Self {
        let (state, rtt_ms, reason) = match link {
            NodeLink::Connecting => (NodeWord::Connecting, None, None),
            NodeLink::Online { rtt, turn: _ } => (NodeWord::Online, Some(rtt.as_secs_f64() * 1000.0), None),
            NodeLink::Failed { reason } => (NodeWord::Failed, None, Some(reason)),
            NodeLink::Idle => (NodeWord::Idle, None, None),
        };
        Self::Node { node, state, rtt_ms, reason }
    }

    /// What a notice prints: one event, or two where an end has an event of its own.
    pub(super) fn from_notice(notice: Notice, me: PeerId, my_name: &str) -> Vec<Self> {
        match notice {
            Notice::Ready { listen } => vec![Self::Ready { peer: me, name: my_name.to_owned(), listen }],
            Notice::PeerOnline { peer, name, via } => vec![Self::PeerOnline { peer, name, via }],
            Notice::PeerOffline { peer, name, reason } => vec![Self::PeerOffline { peer, name, reason }],
            Notice::Inviting { call, peer } => vec![Self::Inviting { call, peer }],
            Notice::RingingThere { call, peer } => {
                vec![Self::Ringing { call, peer, incoming: false, name: None, kind: None }]
            }
            Notice::Incoming { call, peer, name, kind } => {
                vec![Self::Ringing { call, peer, incoming: true, name: Some(name), kind: Some(kind) }]
            }
            Notice::Accepted { call, peer } => vec![Self::Accepted { call, peer }],
            Notice::Connected { call, path, setup_ms } => vec![Self::Connected {
                call,
                path: path.kind,
                local: path.local,
                remote: path.remote,
                rtt_ms: None,
                setup_ms,
            }],
            Notice::FirstVideoFrame { call, since_accept_ms } => vec![Self::FirstVideoFrame { call, since_accept_ms }],
            Notice::FirstAudio { call, since_accept_ms } => vec![Self::FirstAudio { call, since_accept_ms }],
            Notice::Sharing { call, name } => vec![Self::Sharing { call, name }],
            Notice::SharingOver { call, problem } => vec![Self::SharingOver { call, problem }],
            Notice::TheirScreen { call, on } => vec![Self::TheirScreen { call, on }],
            Notice::FirstScreenFrame { call } => vec![Self::FirstScreenFrame { call }],
            Notice::ScreensListed(found) => {
                let (screens, problem) = match found {
                    Ok(found) => (found.iter().map(Screen::from).collect(), None),
                    Err(problem) => (Vec::new(), Some(problem)),
                };
                vec![Self::Screens { screens, problem }]
            }
            Notice::Reconnecting { call } => vec![Self::Reconnecting { call }],
            Notice::Reconnected { call } => vec![Self::Reconnected { call }],
            Notice::Ended { call, peer, name: _, reason } => {
                let cause = match reason {
                    EndReason::RemoteDeclined => Some(Self::Declined { call, peer }),
                    EndReason::Busy => Some(Self::Busy { call, peer }),
                    EndReason::HungUp
                    | EndReason::RemoteHungUp
                    | EndReason::Cancelled
                    | EndReason::RemoteCancelled
                    | EndReason::Declined
                    | EndReason::NoAnswer
                    | EndReason::Missed
                    | EndReason::Unreachable
                    | EndReason::ConnectionLost
                    | EndReason::MediaFailed
                    | EndReason::Incompatible => None,
                };
                cause.into_iter().chain([Self::Ended { call, peer, reason }]).collect()
            }
            Notice::DevicesClosed { call, after_ms } => vec![Self::DevicesClosed { call, after_ms }],
            Notice::MissedWhileBusy { peer, name } => vec![Self::MissedWhileBusy { peer, name }],
            Notice::Node { node, link } => vec![Self::of_node(node, link)],
            Notice::LearnedNodes(nodes) => vec![Self::LearnedNodes { nodes }],
            // Nobody is here to look at it, and nobody looks what is plugged in.
            Notice::OpenLink(_) | Notice::NewDevicesUsed(_) => Vec::new(),
            Notice::ContactsFull => vec![Self::Error { message: "there are too many contacts".to_owned() }],
            Notice::Device(problem) | Notice::DeviceRefused(problem) => {
                vec![Self::Device { device: problem.device, problem: problem.problem, detail: problem.detail }]
            }
            Notice::IdentityReplaced { kept, problem } => {
                let message = format!("the identity was damaged ({problem}) and is kept as {}", kept.display());
                vec![Self::Error { message }]
            }
            Notice::Storage(message) | Notice::Network(message) => vec![Self::Error { message }],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_node_is_told_in_a_word_with_what_belongs_to_it() {
        let node = PeerId::random();
        let printed = |link| {
            let events = Event::from_notice(Notice::Node { node, link }, node, "Ada");
            serde_json::to_value(&events[0]).unwrap()
        };
        let node = node.to_string();
        let online = NodeLink::Online { rtt: Duration::from_micros(12_500), turn: true };
        assert_eq!(
            printed(online),
            serde_json::json!({ "event": "node", "node": node, "state": "online", "rtt_ms": 12.5 })
        );
        assert_eq!(
            printed(NodeLink::Failed { reason: "refused".to_owned() }),
            serde_json::json!({ "event": "node", "node": node, "state": "failed", "reason": "refused" })
        );
        assert_eq!(printed(NodeLink::Idle), serde_json::json!({ "event": "node", "node": node, "state": "idle" }));
    }
}
