#![allow(clippy::panic, reason = "helpers of tests fail as they do")]
//! Calls with STUN and TURN servers, and what they tell the other side.

#[path = "common/pair.rs"]
mod pair;
#[path = "common/turn.rs"]
mod turn_server;

use pair::{End, Pair, config};
use parlor_media::{Ice, IcePolicy, IceServer, Path, PathKind, SessionEvent};
use turn_server::{RELAYS, TurnServer};

/// Where the sessions are.
const HOME: &str = "127.0.0.1";

fn ice(policy: IcePolicy, servers: &[IceServer]) -> Ice {
    Ice { servers: servers.to_vec(), policy }
}

fn pair(caller: Ice, callee: Ice) -> Pair {
    let (mut of_caller, mut of_callee) = (config(), config());
    (of_caller.0.ice, of_callee.0.ice) = (caller, callee);
    Pair::spawn(of_caller, of_callee)
}

/// What one end said on the way to a connection.
#[derive(Debug, Default)]
struct Said {
    description: String,
    candidates: Vec<String>,
    path: Option<Path>,
}

impl Said {
    fn hear(&mut self, event: SessionEvent, other: &End) {
        match event {
            SessionEvent::LocalCandidate(json) => {
                other.session.add_candidate(json.clone());
                self.candidates.push(json);
            }
            SessionEvent::Connected(path) => self.path = Some(path),
            other => panic!("{other:?}"),
        }
    }

    fn relayed(&self) -> Vec<&String> {
        self.candidates.iter().filter(|candidate| candidate.contains("typ relay")).collect()
    }

    fn kind(&self) -> PathKind {
        self.path.as_ref().expect("it is connected").kind
    }
}

fn of_connecting(event: &SessionEvent) -> bool {
    matches!(event, SessionEvent::LocalCandidate(_) | SessionEvent::Connected(_) | SessionEvent::Failed(_))
}

/// Exchanges descriptions and candidates until both ends are connected.
async fn connect(pair: &mut Pair) -> [Said; 2] {
    let (mut caller, mut callee) = (Said::default(), Said::default());
    caller.description = pair.caller.offer().await;
    pair.callee.session.accept_offer(caller.description.clone());
    callee.description = pair.callee.answer().await;
    pair.caller.session.accept_answer(callee.description.clone());
    pair.start();
    while caller.path.is_none() || callee.path.is_none() {
        tokio::select! {
            event = pair.caller.until(of_connecting) => caller.hear(event, &pair.callee),
            event = pair.callee.until(of_connecting) => callee.hear(event, &pair.caller),
        }
    }
    [caller, callee]
}

async fn call(caller: Ice, callee: Ice) -> [Said; 2] {
    let mut pair = pair(caller, callee);
    pair.caller.session.create_offer();
    let said = connect(&mut pair).await;
    pair.callee.until(|event| matches!(event, SessionEvent::FirstVideoFrame)).await;
    pair.caller.until(|event| matches!(event, SessionEvent::FirstVideoFrame)).await;
    pair.close().await;
    said
}

#[tokio::test]
async fn two_who_use_relays_alone_see_each_other_and_tell_no_address() {
    let server = TurnServer::start().await;
    let relay_only = ice(IcePolicy::RelayOnly, &[server.credentials()]);
    for said in call(relay_only.clone(), relay_only).await {
        assert_eq!(said.kind(), PathKind::Relayed);
        assert!(!said.candidates.is_empty());
        assert!(!said.description.contains(HOME), "{}", said.description);
        for candidate in &said.candidates {
            let from_relay = candidate.contains(&format!(" {RELAYS} ")) && candidate.contains("raddr 0.0.0.0 rport 9");
            assert!(from_relay && !candidate.contains(HOME), "{candidate}");
        }
    }
}

#[tokio::test]
async fn a_path_through_the_relay_of_one_side_is_relayed_on_both() {
    let server = TurnServer::start().await;
    let [caller, callee] = call(ice(IcePolicy::RelayOnly, &[server.credentials()]), ice(IcePolicy::All, &[])).await;
    assert_eq!((caller.kind(), callee.kind()), (PathKind::Relayed, PathKind::Relayed));
    assert!(caller.candidates.iter().all(|candidate| !candidate.contains(HOME)), "{caller:?}");
}

#[tokio::test]
async fn a_restart_in_a_call_over_relays_tells_no_address() {
    let server = TurnServer::start().await;
    let relay_only = ice(IcePolicy::RelayOnly, &[server.credentials()]);
    let mut pair = pair(relay_only.clone(), relay_only);
    pair.caller.session.create_offer();
    connect(&mut pair).await;
    pair.caller.session.restart_ice();
    for said in connect(&mut pair).await {
        assert!(!said.description.contains("a=candidate"), "{}", said.description);
        assert!(!said.description.contains(HOME), "{}", said.description);
        assert!(said.candidates.iter().all(|candidate| !candidate.contains(HOME)), "{said:?}");
    }
    pair.close().await;
}

#[tokio::test]
async fn whoever_forbids_relays_uses_none() {
    let server = TurnServer::start().await;
    let servers = [server.credentials()];
    for said in call(ice(IcePolicy::DirectOnly, &servers), ice(IcePolicy::DirectOnly, &servers)).await {
        assert_eq!(said.kind(), PathKind::Direct);
        assert_eq!(said.relayed(), Vec::<&String>::new());
    }
}

#[tokio::test]
async fn a_direct_path_wins_over_a_relayed_one() {
    let server = TurnServer::start().await;
    let all = ice(IcePolicy::All, &[server.credentials()]);
    for said in call(all.clone(), all).await {
        assert_eq!(said.kind(), PathKind::Direct);
    }
}

#[tokio::test]
async fn servers_that_do_not_work_do_not_keep_a_call_from_connecting() {
    let server = TurnServer::start().await;
    let of = |url: &str| IceServer { url: url.to_owned(), username: "user".to_owned(), password: "x".to_owned() };
    let broken = [
        server.with_password("wrong"),
        of("turn:127.0.0.2:1?transport=udp"),
        of("stun:127.0.0.2:1"),
        of("nonsense"),
        of("stun:[::1"),
    ];
    for said in call(ice(IcePolicy::All, &broken), ice(IcePolicy::All, &broken)).await {
        assert_eq!(said.kind(), PathKind::Direct);
        assert_eq!(said.relayed(), Vec::<&String>::new());
    }
}

#[tokio::test]
async fn without_a_relay_relay_only_fails_with_a_reason() {
    let mut pair = pair(ice(IcePolicy::RelayOnly, &[]), Ice::default());
    pair.caller.session.create_offer();
    let failed = pair.caller.until(|event| matches!(event, SessionEvent::Failed(_))).await;
    assert!(matches!(failed, SessionEvent::Failed(reason) if reason.contains("relay")));
    pair.close().await;
}

#[tokio::test]
async fn a_restart_uses_the_newest_credentials() {
    let server = TurnServer::start().await;
    let expired = ice(IcePolicy::All, &[server.with_password("expired")]);
    let mut pair = pair(expired, Ice::default());
    pair.caller.session.create_offer();
    let [before, _] = connect(&mut pair).await;
    assert_eq!(before.relayed(), Vec::<&String>::new());
    pair.caller.session.set_ice(ice(IcePolicy::All, &[server.credentials()]));
    pair.caller.session.restart_ice();
    let [after, _] = connect(&mut pair).await;
    if after.relayed().is_empty() {
        // It took longer than the direct path.
        let relayed =
            |event: &SessionEvent| matches!(event, SessionEvent::LocalCandidate(json) if json.contains("relay"));
        pair.caller.until(relayed).await;
    }
    pair.close().await;
}
