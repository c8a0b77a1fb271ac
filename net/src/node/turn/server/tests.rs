use std::net::Ipv4Addr;

use libp2p::PeerId;

use super::*;
use crate::node::turn::credentials::Access;

const CLIENT: Path = Path::Udp { socket: 0, remote: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)), 5000) };
const OTHER: Path = Path::Udp { socket: 0, remote: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 8)), 5000) };
const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)), 4000);
const UNIX_S: u64 = 1_000_000;

/// For how long access is given, seconds.
const TTL_S: u32 = 3600;

struct Relay {
    server: Server,
    credentials: Arc<Credentials>,
    now: Instant,
    unix_s: u64,
    port: u16,
    effects: Vec<Effect>,
}

/// An error response's code and a success's nothing.
type Answer = Result<Vec<u8>, u16>;

impl Relay {
    fn new() -> Self {
        let now = Instant::now();
        let credentials = Arc::new(Credentials::new().unwrap());
        let terms = Terms {
            allocations: 5,
            allocations_per_person: 2,
            bytes_per_second: 10_000,
            destinations: Destinations { private: false, loopback: false },
            own: HashSet::from([NODE]),
        };
        let server = Server::new(now, terms, credentials.clone());
        Self { server, credentials, now, unix_s: UNIX_S, port: 50_000, effects: Vec::new() }
    }

    fn access(&self) -> Access {
        self.credentials.give(self.unix_s, TTL_S, PeerId::random())
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.unix_s += time.as_secs();
        self.server.handle_timeout(self.now);
        self.work();
    }

    fn say(&mut self, path: Path, datagram: &[u8]) {
        self.server.client_sent(self.now, self.unix_s, path, datagram);
        self.work();
    }

    fn work(&mut self) {
        while let Some(effect) = self.server.poll_effect() {
            if let Effect::Open { relay, .. } = effect {
                self.port += 1;
                self.server.opened(self.now, relay, Some(SocketAddr::new(NODE, self.port)));
            } else {
                self.effects.push(effect);
            }
        }
    }

    fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// A request with a nonce that the server has just given.
    fn ask(&mut self, path: Path, access: &Access, method: Method, attributes: &[(u16, Vec<u8>)]) -> Answer {
        self.ask_as(path, access, method, attributes, rand::random())
    }

    fn ask_as(
        &mut self,
        path: Path,
        access: &Access,
        method: Method,
        attributes: &[(u16, Vec<u8>)],
        id: TransactionId,
    ) -> Answer {
        let nonce = self.nonce(path);
        let key = self.credentials.claim(&access.username).unwrap().key;
        let mut writer = Writer::new(method, Class::Request, id);
        for (typ, value) in attributes {
            writer = writer.add(*typ, value);
        }
        let datagram = writer
            .add(attribute::USERNAME, access.username.as_bytes())
            .add(attribute::REALM, b"parlor")
            .add(attribute::NONCE, nonce.as_bytes())
            .finish_with(&key);
        self.take();
        self.say(path, &datagram);
        self.answer(path, id)
    }

    fn answer(&mut self, path: Path, id: TransactionId) -> Answer {
        let answers = self.take();
        let datagram = answers.into_iter().find_map(|effect| match effect {
            Effect::ToClient { path: to, datagram } if to == path => Some(datagram),
            _ => None,
        });
        let datagram = datagram.expect("an answer");
        let message = Message::parse(&datagram).unwrap();
        assert_eq!(message.id, id);
        match message.get(attribute::ERROR_CODE) {
            Some(code) => Err(u16::from(code[2]) * 100 + u16::from(code[3])),
            None => Ok(datagram),
        }
    }

    fn nonce(&mut self, path: Path) -> String {
        self.credentials.nonce(
            self.unix_s,
            &match path {
                Path::Udp { remote, .. } => remote.ip().to_string(),
                Path::Stream(id) => format!("stream {id}"),
            },
        )
    }

    fn allocate(&mut self, path: Path, access: &Access) -> Answer {
        self.ask(path, access, Method::Allocate, &[udp()])
    }

    fn bind(&mut self, path: Path, access: &Access, number: u16, peer: SocketAddr) -> Answer {
        // The address is masked with the transaction's id.
        let id = rand::random();
        self.ask_as(path, access, Method::ChannelBind, &[channel(number), address(peer, id)], id)
    }

    fn permit(&mut self, path: Path, access: &Access, peer: SocketAddr) -> Answer {
        let id = rand::random();
        self.ask_as(path, access, Method::CreatePermission, &[address(peer, id)], id)
    }

    /// The payload that went to a peer over a channel.
    fn send(&mut self, path: Path, number: u16, data: &[u8]) -> Vec<Effect> {
        let mut datagram = number.to_be_bytes().to_vec();
        datagram.extend((data.len() as u16).to_be_bytes());
        datagram.extend_from_slice(data);
        self.take();
        self.say(path, &datagram);
        self.take()
    }
}

fn udp() -> (u16, Vec<u8>) {
    (attribute::REQUESTED_TRANSPORT, vec![17, 0, 0, 0])
}

fn channel(number: u16) -> (u16, Vec<u8>) {
    let [high, low] = number.to_be_bytes();
    (attribute::CHANNEL_NUMBER, vec![high, low, 0, 0])
}

fn address(peer: SocketAddr, id: TransactionId) -> (u16, Vec<u8>) {
    let bytes = Writer::new(Method::Send, Class::Request, id).add_address(attribute::XOR_PEER_ADDRESS, peer).finish();
    (attribute::XOR_PEER_ADDRESS, Message::parse(&bytes).unwrap().get(attribute::XOR_PEER_ADDRESS).unwrap().to_vec())
}

fn relayed(datagram: &[u8]) -> SocketAddr {
    let message = Message::parse(datagram).unwrap();
    message.address(message.get(attribute::XOR_RELAYED_ADDRESS).unwrap()).unwrap()
}

#[test]
fn a_binding_request_is_told_where_it_comes_from() {
    let mut relay = Relay::new();
    let id = [5; 12];
    relay.say(CLIENT, &Writer::new(Method::Binding, Class::Request, id).finish());
    let answer = relay.answer(CLIENT, id).unwrap();
    let message = Message::parse(&answer).unwrap();
    let Path::Udp { remote, .. } = CLIENT else { unreachable!() };
    assert_eq!(message.address(message.get(attribute::XOR_MAPPED_ADDRESS).unwrap()), Some(remote));
}

#[test]
fn who_has_no_access_is_challenged_and_gets_nothing() {
    let mut relay = Relay::new();
    let id = [5; 12];
    relay.say(CLIENT, &Writer::new(Method::Allocate, Class::Request, id).add(udp().0, &udp().1).finish());
    assert_eq!(relay.answer(CLIENT, id), Err(401));
    let of_another_node = Credentials::new().unwrap().give(UNIX_S, TTL_S, PeerId::random());
    // The key that the other node would hold.
    let key = Credentials::new().unwrap().claim(&of_another_node.username).unwrap().key;
    let nonce = relay.nonce(CLIENT);
    let forged = Writer::new(Method::Allocate, Class::Request, id)
        .add(udp().0, &udp().1)
        .add(attribute::USERNAME, of_another_node.username.as_bytes())
        .add(attribute::REALM, b"parlor")
        .add(attribute::NONCE, nonce.as_bytes())
        .finish_with(&key);
    relay.say(CLIENT, &forged);
    assert_eq!(relay.answer(CLIENT, id), Err(401));
    assert_eq!(relay.server.tally().allocations, 0);
}

#[test]
fn a_flood_of_strangers_is_answered_at_a_rate_and_remembered_within_bounds() {
    let mut relay = Relay::new();
    let request = Writer::new(Method::Allocate, Class::Request, [5; 12]).finish();
    for _ in 0..10_000 {
        relay.say(CLIENT, &request);
    }
    assert_eq!(relay.take().len(), STRANGER_BURST as usize);
    for n in 0..50_000_u32 {
        let remote = SocketAddr::new(Ipv4Addr::from_bits(0x0b00_0000 + n).into(), 1);
        relay.say(Path::Udp { socket: 0, remote }, &request);
    }
    assert!(relay.server.strangers.len() <= MAX_STRANGERS);
    relay.pass(Duration::from_secs(60));
    assert!(relay.server.strangers.is_empty());
}

#[test]
fn data_flows_both_ways_over_a_channel_and_as_indications() {
    let mut relay = Relay::new();
    let access = relay.access();
    let address = relayed(&relay.allocate(CLIENT, &access).unwrap());
    assert_eq!(address.ip(), NODE);
    relay.permit(CLIENT, &access, PEER).unwrap();
    relay.server.peer_sent(relay.now, 0, PEER, b"hello");
    relay.work();
    let [Effect::ToClient { datagram, .. }] = &relay.take()[..] else { panic!("one datagram") };
    let message = Message::parse(datagram).unwrap();
    assert_eq!((message.method, message.class), (Method::Data, Class::Indication));
    assert_eq!(message.get(attribute::DATA), Some(&b"hello"[..]));
    relay.bind(CLIENT, &access, 0x4001, PEER).unwrap();
    let sent = relay.send(CLIENT, 0x4001, b"there");
    assert_eq!(sent, [Effect::ToPeer { relay: 0, peer: PEER, datagram: b"there".to_vec() }]);
    relay.server.peer_sent(relay.now, 0, PEER, b"back");
    relay.work();
    assert_eq!(relay.take(), [Effect::ToClient { path: CLIENT, datagram: b"\x40\x01\x00\x04back".to_vec() }]);
}

#[test]
fn what_was_not_permitted_or_has_run_out_does_not_pass() {
    let mut relay = Relay::new();
    let access = relay.access();
    relay.allocate(CLIENT, &access).unwrap();
    relay.server.peer_sent(relay.now, 0, PEER, b"unasked");
    relay.work();
    assert_eq!(relay.take(), []);
    assert_eq!(relay.send(CLIENT, 0x4001, b"x"), []);
    relay.bind(CLIENT, &access, 0x4001, PEER).unwrap();
    relay.pass(Duration::from_secs(301));
    assert_eq!(relay.send(CLIENT, 0x4001, b"x"), [], "the permission has run out before the channel");
    relay.permit(CLIENT, &access, PEER).unwrap();
    assert_eq!(relay.send(CLIENT, 0x4001, b"x").len(), 1);
    relay.pass(Duration::from_secs(300));
    assert_eq!(relay.send(CLIENT, 0x4001, b"x"), []);
}

#[test]
fn a_channel_belongs_to_one_peer_and_a_peer_to_one_channel() {
    let mut relay = Relay::new();
    let access = relay.access();
    relay.allocate(CLIENT, &access).unwrap();
    relay.bind(CLIENT, &access, 0x4001, PEER).unwrap();
    relay.bind(CLIENT, &access, 0x4001, PEER).unwrap();
    let other = SocketAddr::new(PEER.ip(), 4001);
    assert_eq!(relay.bind(CLIENT, &access, 0x4001, other), Err(400));
    assert_eq!(relay.bind(CLIENT, &access, 0x4002, PEER), Err(400));
    assert_eq!(relay.bind(CLIENT, &access, 0x3fff, other), Err(400));
    assert_eq!(relay.bind(CLIENT, &access, 0x5000, other), Err(400));
}

#[test]
fn the_nodes_own_network_is_out_of_reach() {
    let mut relay = Relay::new();
    let access = relay.access();
    relay.allocate(CLIENT, &access).unwrap();
    for ip in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "0.0.0.0"] {
        let peer = SocketAddr::new(ip.parse().unwrap(), 53);
        assert_eq!(relay.permit(CLIENT, &access, peer), Err(403), "{ip}");
        assert_eq!(relay.bind(CLIENT, &access, 0x4001, peer), Err(403), "{ip}");
    }
    assert_eq!(relay.permit(CLIENT, &access, "[2606:4700::1]:1".parse().unwrap()), Err(443));
    // The node itself: only for who is relayed there.
    relay.bind(CLIENT, &access, 0x4001, SocketAddr::new(NODE, 22)).unwrap();
    assert_eq!(relay.send(CLIENT, 0x4001, b"ssh?"), []);
}

#[test]
fn two_people_who_are_relayed_here_reach_each_other() {
    let mut relay = Relay::new();
    let (ann, bo) = (relay.access(), relay.access());
    let at_ann = relayed(&relay.allocate(CLIENT, &ann).unwrap());
    let at_bo = relayed(&relay.allocate(OTHER, &bo).unwrap());
    relay.bind(CLIENT, &ann, 0x4001, at_bo).unwrap();
    assert_eq!(relay.send(CLIENT, 0x4001, b"too soon"), []);
    relay.bind(OTHER, &bo, 0x4007, at_ann).unwrap();
    let sent = relay.send(CLIENT, 0x4001, b"hi");
    assert_eq!(sent, [Effect::ToClient { path: OTHER, datagram: b"\x40\x07\x00\x02hi".to_vec() }]);
}

#[test]
fn an_answer_that_was_lost_is_given_again_and_another_allocation_is_not() {
    let mut relay = Relay::new();
    let access = relay.access();
    let id = [6; 12];
    let first = relay.ask_as(CLIENT, &access, Method::Allocate, &[udp()], id).unwrap();
    let again = relay.ask_as(CLIENT, &access, Method::Allocate, &[udp()], id).unwrap();
    assert_eq!(relayed(&first), relayed(&again));
    assert_eq!(relay.allocate(CLIENT, &access), Err(437));
    let other = relay.access();
    assert_eq!(relay.ask(CLIENT, &other, Method::Refresh, &[]), Err(441), "with somebody else's access");
}

#[test]
fn a_call_may_last_longer_than_its_access_but_nothing_new_begins() {
    let mut relay = Relay::new();
    let access = relay.access();
    relay.allocate(CLIENT, &access).unwrap();
    for _ in 0..10 {
        relay.pass(Duration::from_secs(590));
        relay.ask(CLIENT, &access, Method::Refresh, &[]).unwrap();
        relay.bind(CLIENT, &access, 0x4001, PEER).unwrap();
        assert_eq!(relay.send(CLIENT, 0x4001, b"still here").len(), 1);
    }
    assert_eq!(relay.allocate(OTHER, &access), Err(401));
    relay.pass(Duration::from_secs(601));
    assert_eq!(relay.server.tally().allocations, 0);
    assert_eq!(relay.take(), [Effect::Close { relay: 0 }]);
    assert_eq!(relay.ask(CLIENT, &access, Method::Refresh, &[]), Err(401));
}

#[test]
fn an_old_nonce_is_replaced() {
    let mut relay = Relay::new();
    let access = relay.access();
    let old = relay.nonce(CLIENT);
    relay.pass(Duration::from_secs(3599));
    let key = relay.credentials.claim(&access.username).unwrap().key;
    let ask = |relay: &mut Relay, nonce: &str| {
        let datagram = Writer::new(Method::Allocate, Class::Request, [1; 12])
            .add(udp().0, &udp().1)
            .add(attribute::USERNAME, access.username.as_bytes())
            .add(attribute::REALM, b"parlor")
            .add(attribute::NONCE, nonce.as_bytes())
            .finish_with(&key);
        relay.say(CLIENT, &datagram);
        relay.answer(CLIENT, [1; 12])
    };
    assert!(ask(&mut relay, &old).is_ok());
    relay.pass(Duration::from_secs(2));
    assert_eq!(ask(&mut relay, &old), Err(438));
}

#[test]
fn quotas_hold_for_a_person_and_for_all() {
    let mut relay = Relay::new();
    let access = relay.access();
    let path = |n: u16| Path::Udp { socket: 0, remote: SocketAddr::from(([198, 51, 100, 9], n)) };
    for n in 0..2 {
        relay.allocate(path(n), &access).unwrap();
    }
    assert_eq!(relay.allocate(path(2), &access), Err(486));
    let others: Vec<Access> = (0..4).map(|_| relay.access()).collect();
    for (n, other) in others.iter().take(3).enumerate() {
        relay.allocate(path(10 + n as u16), other).unwrap();
    }
    assert_eq!(relay.allocate(path(20), &others[3]), Err(508));
    // One ends theirs.
    relay.ask(path(0), &access, Method::Refresh, &[(attribute::LIFETIME, vec![0; 4])]).unwrap();
    assert!(relay.allocate(path(20), &others[3]).is_ok());
}

#[test]
fn bandwidth_is_that_of_a_person_not_of_an_allocation() {
    let mut relay = Relay::new();
    let access = relay.access();
    for path in [CLIENT, OTHER] {
        relay.allocate(path, &access).unwrap();
        relay.bind(path, &access, 0x4001, PEER).unwrap();
    }
    let mut passed = 0;
    for _ in 0..100 {
        relay.pass(Duration::from_millis(10));
        for path in [CLIENT, OTHER] {
            passed += relay.send(path, 0x4001, &[0; 1000]).len();
        }
    }
    // The burst, and a second's worth.
    assert!((19..=20).contains(&passed), "{passed}");
    assert_eq!(relay.server.tally().over_limit, 200 - passed as u64);
}

#[test]
fn a_stream_that_ends_takes_its_allocation_with_it() {
    let mut relay = Relay::new();
    let access = relay.access();
    relay.allocate(Path::Stream(3), &access).unwrap();
    relay.server.closed(Path::Stream(3));
    relay.work();
    assert_eq!(relay.take(), [Effect::Close { relay: 0 }]);
    assert!(relay.server.relayed.is_empty() && relay.server.paths.is_empty());
}

#[test]
fn what_is_not_understood_is_named() {
    let mut relay = Relay::new();
    let access = relay.access();
    let dont_fragment = (0x001a, Vec::new());
    assert_eq!(relay.ask(CLIENT, &access, Method::Allocate, &[udp(), dont_fragment]), Err(420));
    assert_eq!(relay.ask(CLIENT, &access, Method::Allocate, &[]), Err(400));
    assert_eq!(
        relay.ask(CLIENT, &access, Method::Allocate, &[(attribute::REQUESTED_TRANSPORT, vec![6, 0, 0, 0])]),
        Err(442)
    );
    let v6 = (attribute::REQUESTED_ADDRESS_FAMILY, vec![2, 0, 0, 0]);
    assert_eq!(relay.ask(CLIENT, &access, Method::Allocate, &[udp(), v6]), Err(440));
    assert_eq!(relay.ask(CLIENT, &access, Method::Allocate, &[udp(), (attribute::EVEN_PORT, vec![128])]), Err(508));
}

proptest::proptest! {
    #[test]
    fn garbage_never_panics_and_allocates_nothing(datagrams in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100), 0..50)) {
        let mut relay = Relay::new();
        for datagram in datagrams {
            relay.say(CLIENT, &datagram);
        }
        proptest::prop_assert_eq!(relay.server.tally().allocations, 0);
    }
}
