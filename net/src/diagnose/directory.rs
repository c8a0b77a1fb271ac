//! One conversation with a node's directory, by somebody whom nobody sees: in no place, watching nobody.

use std::{
    future::poll_fn,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use libp2p::{core::muxing::SubstreamBox, identity::Keypair};
use tokio::time::timeout;

use super::{
    DirectoryProblem, Offers, Tells,
    connection::{Connection, StreamError},
    now,
};
use crate::{
    Profile, Status,
    directory::{Card, MAX_PUSH_BYTES, NodeStatus, PROTOCOL, Push, Refusal, Request, TurnAccess, VERSION},
    presence::Announcement,
    wire::Framed,
};

/// How long the node may take for the welcome, and for later answers.
const WELCOME_WITHIN: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_millis(1200);

/// How often the way there and back is measured.
const BEATS: u32 = 3;

/// How much of a node's version is shown.
const MAX_VERSION_CHARS: usize = 32;

pub(super) struct Directory {
    stream: Framed<SubstreamBox>,
}

impl Directory {
    /// Says hello, and waits for the welcome: what the node offers, and its ports for STUN.
    pub(super) async fn join(
        connection: &Connection,
        keypair: &Keypair,
    ) -> Result<(Self, Offers, Vec<u16>), DirectoryProblem> {
        let profile = Profile { name: "Parlor".into(), status: Status::Free };
        let time = unix_ms();
        let card = Card::sign(keypair, &Announcement::new(&profile, time, 1, time))
            .map_err(|error| DirectoryProblem::Broken { reason: error.to_string() })?;
        let stream = connection.open(PROTOCOL.as_ref(), MAX_PUSH_BYTES).await.map_err(|error| match error {
            StreamError::Closed => DirectoryProblem::Silent,
            error => DirectoryProblem::Broken { reason: error.to_string() },
        })?;
        let mut directory = Self { stream };
        directory.say(&Request::Hello { v: VERSION, card }).await?;
        let (mut offers, stun) = directory
            .hear(WELCOME_WITHIN, |push| match push {
                Push::Welcome { relay, turn, stun, limits, .. } => {
                    let stun: Vec<u16> = stun.into_iter().filter(|port| *port != 0).collect();
                    let offers = Offers {
                        relay,
                        turn,
                        stun: !stun.is_empty(),
                        // Asked for below.
                        nodes: 0,
                        places: limits.places,
                        watches: limits.watches,
                    };
                    Some(Ok((offers, stun)))
                }
                Push::Refused { request, why } if request == "hello" => Some(Err(refused(why))),
                _ => None,
            })
            .await??;
        offers.nodes = directory.known_nodes().await;
        Ok((directory, offers, stun))
    }

    /// How many other nodes it knows. Those of an earlier version tell of none.
    async fn known_nodes(&mut self) -> usize {
        if self.say(&Request::Nodes {}).await.is_err() {
            return 0;
        }
        let nodes = |push| match push {
            Push::Nodes { nodes } => Some(nodes.len()),
            _ => None,
        };
        self.hear(ANSWER_WITHIN, nodes).await.unwrap_or_default()
    }

    /// To the node and back, the shortest of a few times.
    pub(super) async fn round_trip(&mut self) -> Option<Duration> {
        let mut shortest = None;
        for _ in 0..BEATS {
            let start = now();
            self.say(&Request::Beat {}).await.ok()?;
            let beat = |push| matches!(push, Push::Beat {}).then_some(());
            if self.hear(ANSWER_WITHIN, beat).await.is_err() {
                break;
            }
            let took = start.elapsed();
            shortest = Some(shortest.map_or(took, |shortest: Duration| shortest.min(took)));
        }
        shortest
    }

    /// What the node says of itself, and how far its clock is ahead of ours, milliseconds.
    pub(super) async fn status(&mut self) -> Option<(Tells, i64)> {
        let (start, asked_ms) = (now(), unix_ms());
        self.say(&Request::Status {}).await.ok()?;
        let status = |push| match push {
            Push::Status(status) => Some(status),
            _ => None,
        };
        let status = self.hear(ANSWER_WITHIN, status).await.ok()?;
        let half_way = u64::try_from(start.elapsed().as_millis() / 2).unwrap_or_default();
        let ahead = i128::from(status.unix_ms) - i128::from(asked_ms.saturating_add(half_way));
        let ahead = i64::try_from(ahead).unwrap_or(i64::MAX);
        Some((told(status), ahead))
    }

    /// Access to the relay of media.
    pub(super) async fn turn(&mut self) -> Option<TurnAccess> {
        self.say(&Request::Turn {}).await.ok()?;
        let access = |push| match push {
            Push::Turn(access) => Some(Some(access)),
            Push::Refused { request, .. } if request == "turn" => Some(None),
            _ => None,
        };
        self.hear(ANSWER_WITHIN, access).await.ok().flatten()
    }

    /// Leaves at once, rather than being waited for.
    pub(super) async fn leave(mut self) {
        // The connection is about to be closed anyway.
        let _ = timeout(ANSWER_WITHIN, self.say(&Request::Bye {})).await;
    }

    async fn say(&mut self, request: &Request) -> Result<(), DirectoryProblem> {
        let frame = serde_json::to_vec(request).expect("a request has string keys and plain values");
        self.stream.push(&frame);
        let flushed = timeout(ANSWER_WITHIN, poll_fn(|cx| self.stream.poll_flush(cx))).await;
        match flushed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(DirectoryProblem::Broken { reason: error.to_string() }),
            Err(_) => Err(DirectoryProblem::Silent),
        }
    }

    /// What is wanted of all that the node says within a while.
    async fn hear<T>(
        &mut self,
        within: Duration,
        mut wanted: impl FnMut(Push) -> Option<T>,
    ) -> Result<T, DirectoryProblem> {
        let broken = |reason: String| DirectoryProblem::Broken { reason };
        let hear = async {
            loop {
                let frame = poll_fn(|cx| self.stream.poll_next(cx)).await;
                let frame = frame.ok_or_else(|| broken("it closed the stream".into()))?;
                let frame = frame.map_err(|error| broken(error.to_string()))?;
                let push = serde_json::from_slice(&frame).map_err(|_| broken("it does not make sense".into()))?;
                if let Some(found) = wanted(push) {
                    return Ok(found);
                }
            }
        };
        timeout(within, hear).await.unwrap_or(Err(DirectoryProblem::Silent))
    }
}

fn refused(why: Refusal) -> DirectoryProblem {
    match why {
        Refusal::Full | Refusal::TooOften | Refusal::TooMany => DirectoryProblem::Full,
        Refusal::UnknownVersion => DirectoryProblem::Version,
        Refusal::BadCard | Refusal::HelloFirst | Refusal::NotOffered | Refusal::Other => DirectoryProblem::Refused,
    }
}

/// A node may write anything: what is shown is short and plain.
fn told(status: NodeStatus) -> Tells {
    let fit = |c: &char| c.is_ascii_graphic();
    Tells {
        version: status.version.chars().filter(fit).take(MAX_VERSION_CHARS).collect(),
        uptime: Duration::from_secs(status.uptime_s),
        about_online: status.about_online,
        max_online: status.max_online,
        max_in_place: status.max_in_place,
        reached: status.reached,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "cards say when they were made, and the node's clock is compared with it"
)]
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_of_itself_is_fit_to_be_shown() {
        let status = NodeStatus {
            version: format!("1.0\u{1b}[2J 李\n{}", "x".repeat(100)),
            uptime_s: u64::MAX,
            unix_ms: 0,
            about_online: Some(u32::MAX),
            max_online: 0,
            max_in_place: 0,
            reached: None,
        };
        let version = told(status).version;
        assert!(version.starts_with("1.0[2Jxx") && version.len() == MAX_VERSION_CHARS, "{version}");
    }
}
