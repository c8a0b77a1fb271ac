//! Two people in two homes, online through one node.

use std::{thread, time::Duration};

use parlor_tests::{Event, Home, Impairment, Internet, Nat, Peer, Rendezvous, SOON, Starting, Wire, unix_ms};
use serde_json::json;

/// How long a person looks at a ringing phone. Much is prepared meanwhile.
const A_PERSON: Duration = Duration::from_millis(400);

/// Two homes, and a node between them.
pub(crate) struct World {
    // In the order in which they go.
    _wires: Vec<Wire>,
    node: Rendezvous,
    internet: Internet,
}

impl World {
    /// With so many milliseconds of one-way delay on each home's link.
    pub(crate) fn new(nats: [Nat; 2], delays_ms: [u32; 2]) -> Self {
        Self::with(nats, delays_ms, &[])
    }

    /// The same, with arguments for the node.
    pub(crate) fn with(nats: [Nat; 2], delays_ms: [u32; 2], node: &[&str]) -> Self {
        let internet = Internet::new(&nats);
        let node = Rendezvous::with(internet.public(), &[Internet::PUBLIC_ADDRESS], node);
        let homes = internet.homes().iter().zip(delays_ms).filter(|(_, delay_ms)| *delay_ms > 0);
        let wires =
            homes.map(|(home, delay_ms)| home.host.impair(Impairment { delay_ms, ..Impairment::default() })).collect();
        Self { _wires: wires, node, internet }
    }

    /// A Parlor in one of the homes, before it runs.
    pub(crate) fn person(&self, name: &str) -> Starting {
        Peer::named(name).args(["--node", self.node.address()])
    }

    pub(crate) fn home(&self, number: usize) -> &Home {
        &self.internet.homes()[number]
    }

    /// Starts both, and waits until they see each other.
    pub(crate) fn pair(&self, caller: Starting, callee: Starting) -> Pair {
        let mut pair = Pair { caller: caller.start(&self.home(0).host), callee: callee.start(&self.home(1).host) };
        let (of_caller, of_callee) = (pair.caller.id().to_owned(), pair.callee.id().to_owned());
        pair.caller.expect_where("peer_online", SOON, |event| event["peer"] == of_callee);
        pair.callee.expect_where("peer_online", SOON, |event| event["peer"] == of_caller);
        pair
    }

    /// Two with test cards for cameras.
    pub(crate) fn ann_and_bob(&self) -> Pair {
        self.pair(self.person("Ann"), self.person("Bob"))
    }
}

/// Who calls, and who is called.
pub(crate) struct Pair {
    pub(crate) caller: Peer,
    pub(crate) callee: Peer,
}

/// What one call took, milliseconds, and how it went.
pub(crate) struct Times {
    pub(crate) to_ringing: f64,
    /// From acceptance to the first picture on both sides.
    pub(crate) to_pictures: f64,
    /// `direct` or `relayed`.
    pub(crate) path: String,
}

impl Pair {
    /// Calls, accepts after a moment, and waits for sound and pictures on both sides. `None` when they don't come.
    pub(crate) fn call(&mut self) -> Option<Times> {
        let clicked = unix_ms() as f64;
        self.caller.call(&self.callee);
        let rings = self.callee.next_where("ringing", SOON, |event| event["incoming"] == true)?;
        thread::sleep(A_PERSON);
        let accepted = unix_ms() as f64;
        self.callee.tell(&json!({ "do": "accept" }));
        let same = |event: &Event| event["call"] == rings["call"];
        let (mut to_pictures, mut path) = (0.0_f64, String::new());
        for side in self.both() {
            path = side.next_where("connected", SOON, same)?["path"].as_str()?.to_owned();
            let picture = side.next_where("first_video_frame", SOON, same)?;
            to_pictures = to_pictures.max(picture["t_ms"].as_f64()? - accepted);
            side.next_where("first_audio", SOON, same)?;
        }
        Some(Times { to_ringing: rings["t_ms"].as_f64()? - clicked, to_pictures, path })
    }

    /// Ends the call, and waits until both have.
    pub(crate) fn hang_up(&mut self) -> Option<()> {
        self.caller.tell(&json!({ "do": "hangup" }));
        self.both().into_iter().try_for_each(|side| side.next_where("devices_closed", SOON, |_| true).map(drop))
    }

    pub(crate) fn both(&mut self) -> [&mut Peer; 2] {
        [&mut self.caller, &mut self.callee]
    }
}
