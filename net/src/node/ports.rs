//! Ports of the router at home: asks it to forward the node's, keeps them, and gives them back (UPnP IGD).
//!
//! One task keeps the mappings. It asks again every few minutes, since routers are restarted and given other addresses;
//! each mapping is a lease, so that it ends by itself should the node die.

mod gateway;
mod igd;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    ops::RangeInclusive,
    time::Duration,
};

use futures::StreamExt;
use libp2p::{Multiaddr, multiaddr};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use self::{
    gateway::{Gateway, Trouble},
    igd::{Action, Protocol, Refused},
};
use crate::address;

/// For how long the router is asked to forward, and how often anew.
const LEASE: Duration = Duration::from_secs(3600);
const RENEW_EVERY: Duration = Duration::from_secs(300);

/// How often a router is looked for while there is none.
const SEARCH_EVERY: Duration = Duration::from_secs(60);

/// How long giving back may take.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(4);

/// How many are given back at a time.
const AT_A_TIME: usize = 4;

/// After how many silences in a row a router is taken for gone.
const PATIENCE: u32 = 2;

/// How many ports of relayed media the router is asked for, if nothing else is said: home routers have small tables,
/// and few people are relayed by a node at home.
pub(super) const RELAY_PORTS: u16 = 32;

/// What came of asking the router to forward ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortMapping {
    /// Nothing yet.
    Asking,
    /// No router answers that forwards ports.
    NoRouter,
    /// The router forwards, but is itself behind another one: its outside is no public address.
    BehindAnother {
        /// The outside of the router.
        outside: Ipv4Addr,
    },
    /// The router forwards.
    Forwarded {
        /// Where the node is known outside.
        outside: Ipv4Addr,
        /// How many ports.
        ports: usize,
        /// Those that it does not forward.
        refused: Vec<RefusedPort>,
    },
}

/// A port that a router does not forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedPort {
    /// Such as `UDP 3478`.
    pub port: String,
    /// It forwards that to another machine.
    pub is_taken: bool,
}

impl PortMapping {
    /// Where the node is known outside.
    pub fn outside(&self) -> Option<Ipv4Addr> {
        match self {
            Self::Forwarded { outside, .. } => Some(*outside),
            Self::Asking | Self::NoRouter | Self::BehindAnother { .. } => None,
        }
    }

    /// Whether people can come to this address by way of the router.
    pub(super) fn forwards(&self, address: &Multiaddr) -> bool {
        match (self, port_of(address)) {
            (Self::Forwarded { refused, .. }, Some((protocol, port))) => {
                refused.iter().all(|refused| refused.port != label(protocol, port))
            }
            (Self::Asking | Self::NoRouter | Self::BehindAnother { .. } | Self::Forwarded { .. }, _) => false,
        }
    }

    /// How many ports are forwarded.
    pub fn ports(&self) -> usize {
        match self {
            Self::Forwarded { ports, .. } => *ports,
            Self::Asking | Self::NoRouter | Self::BehindAnother { .. } => 0,
        }
    }
}

/// What the router is to forward, most important first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Our addresses on networks where a router may be.
    locals: Vec<Ipv4Addr>,
    ports: Vec<(Protocol, u16)>,
    /// How many of them people need to find each other, and to ask for a relayed address.
    essential: usize,
    /// Whether an outside that is not public counts.
    allow_private: bool,
}

impl Wanted {
    /// For a node that listens at these addresses, and relays media at these ports.
    pub(super) fn new(local: &[Multiaddr], turn: Option<(u16, RangeInclusive<u16>)>, allow_private: bool) -> Self {
        let mut locals = BTreeSet::new();
        let mut ports = Vec::new();
        for address in local {
            let Some(IpAddr::V4(ip)) = address::of(address) else { continue };
            if ip.is_loopback() || ip.is_link_local() {
                continue;
            }
            locals.insert(ip);
            let Some(port) = port_of(address) else { continue };
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        ports.extend(turn.iter().map(|(port, _)| (Protocol::Udp, *port)));
        let essential = ports.len();
        ports.extend(turn.into_iter().flat_map(|(_, relay)| relay).map(|port| (Protocol::Udp, port)));
        Self { locals: locals.into_iter().collect(), ports, essential, allow_private }
    }
}

/// Keeps the router forwarding. Dropped: it ends, and the leases run out.
#[derive(Debug)]
pub(super) struct Keeper {
    told: watch::Receiver<PortMapping>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Starts to ask. Must be called on a tokio runtime.
    pub(super) fn start(wanted: Wanted) -> Self {
        let (tell, told) = watch::channel(PortMapping::Asking);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(keep(wanted, tell, stopped));
        Self { told, stop: Some(stop), task }
    }

    /// Waits until something else has come of it.
    pub(super) async fn changed(&mut self) -> PortMapping {
        if self.told.changed().await.is_err() {
            // The task ends when it is told to, or with a fault, and has nothing to say then.
            return std::future::pending().await;
        }
        self.told.borrow_and_update().clone()
    }

    /// Has the router forward no longer.
    pub(super) async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have ended before.
            let _ = stop.send(());
        }
        let _ = (&mut self.task).await;
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(wanted: Wanted, tell: watch::Sender<PortMapping>, mut stopped: oneshot::Receiver<()>) {
    let mut gateway: Option<Gateway> = None;
    let mut forwarded: BTreeSet<(Protocol, u16)> = BTreeSet::new();
    loop {
        let pause = tokio::select! {
            mapping = forward(&wanted, &mut gateway, &mut forwarded, &tell) => {
                say(&tell, mapping);
                if gateway.is_some() { RENEW_EVERY } else { SEARCH_EVERY }
            }
            _ = &mut stopped => break,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = &mut stopped => break,
        }
    }
    if let Some(gateway) = gateway {
        give_back(&gateway, forwarded).await;
    }
}

fn say(tell: &watch::Sender<PortMapping>, mapping: PortMapping) {
    tell.send_if_modified(|told| {
        let news = *told != mapping;
        *told = mapping;
        news
    });
}

/// Has the router forward all that is wanted; finds it first if need be. Some routers take long for each port: at first
/// it is told as soon as the essential ones are forwarded.
async fn forward(
    wanted: &Wanted,
    gateway: &mut Option<Gateway>,
    forwarded: &mut BTreeSet<(Protocol, u16)>,
    tell: &watch::Sender<PortMapping>,
) -> PortMapping {
    let found = match gateway.take() {
        Some(known) => Ok(known),
        None => Gateway::find(&wanted.locals).await,
    };
    let outside = match &found {
        Ok(found) => found.external().await,
        Err(_) => Err(Trouble::NoRouter),
    };
    let (found, outside) = match (found, outside) {
        (Ok(found), Ok(outside)) => (found, outside),
        (Ok(_), Err(error)) | (Err(error), _) => {
            tracing::debug!(%error, "no router forwards ports");
            return PortMapping::NoRouter;
        }
    };
    let found = gateway.insert(found);
    let outcome = |forwarded: &BTreeSet<_>, refused: &[RefusedPort]| {
        if wanted.allow_private || is_public(outside) {
            PortMapping::Forwarded { outside, ports: forwarded.len(), refused: refused.to_vec() }
        } else {
            PortMapping::BehindAnother { outside }
        }
    };
    let mut refused: Vec<RefusedPort> = Vec::new();
    let mut silences = 0;
    for (number, &(protocol, port)) in wanted.ports.iter().enumerate() {
        if number == wanted.essential && tell.borrow().outside().is_none() {
            say(tell, outcome(forwarded, &refused));
        }
        match add(found, protocol, port).await {
            Ok(()) => {
                silences = 0;
                forwarded.insert((protocol, port));
            }
            Err(error) => {
                tracing::debug!(%error, port, "the router does not forward a port");
                silences = if matches!(error, Trouble::Refused(_)) { 0 } else { silences + 1 };
                forwarded.remove(&(protocol, port));
                let is_taken = matches!(error, Trouble::Refused(Refused::Code(igd::CONFLICT)));
                refused.push(RefusedPort { port: label(protocol, port), is_taken });
            }
        }
        if silences >= PATIENCE && number < wanted.essential {
            *gateway = None;
            return PortMapping::NoRouter;
        }
        if silences >= PATIENCE {
            // It is slow, or has had enough: what it forwards by now is kept, and the rest tried when it is renewed.
            let rest = wanted.ports.iter().skip(number + 1).map(|&(protocol, port)| label(protocol, port));
            refused.extend(rest.map(|port| RefusedPort { port, is_taken: false }));
            break;
        }
    }
    outcome(forwarded, &refused)
}

async fn add(gateway: &Gateway, protocol: Protocol, port: u16) -> Result<(), Trouble> {
    let lease_s = u32::try_from(LEASE.as_secs()).unwrap_or_default();
    let action = |lease_s| Action::Add { protocol, port, to: gateway.local, lease_s };
    match gateway.ask(action(lease_s)).await {
        Err(Trouble::Refused(Refused::Code(igd::ONLY_PERMANENT))) => gateway.ask(action(0)).await.map(drop),
        outcome => outcome.map(drop),
    }
}

async fn give_back(gateway: &Gateway, forwarded: BTreeSet<(Protocol, u16)>) {
    let deletions = futures::stream::iter(forwarded)
        .map(|(protocol, port)| gateway.ask(Action::Delete { protocol, port }))
        .buffer_unordered(AT_A_TIME)
        .for_each(|outcome| async {
            if let Err(error) = outcome {
                tracing::debug!(%error, "the router goes on forwarding, until the lease ends");
            }
        });
    if timeout(GIVE_BACK_WITHIN, deletions).await.is_err() {
        tracing::info!("the router does not take back all ports; their leases end within an hour");
    }
}

fn port_of(address: &Multiaddr) -> Option<(Protocol, u16)> {
    match address.iter().nth(1)? {
        multiaddr::Protocol::Tcp(port) => Some((Protocol::Tcp, port)),
        multiaddr::Protocol::Udp(port) => Some((Protocol::Udp, port)),
        _ => None,
    }
}

fn label(protocol: Protocol, port: u16) -> String {
    format!("{} {port}", protocol.name())
}

/// Documentation's addresses are as public as can be.
fn is_public(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    let shared = a == 100 && b & 0xc0 == 64;
    !(ip.is_private() || shared || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_is_wanted_once_from_networks_that_may_have_a_router() {
        let local: Vec<Multiaddr> = [
            "/ip4/127.0.0.1/tcp/4001",
            "/ip4/192.168.1.7/tcp/4001",
            "/ip4/192.168.1.7/udp/4001/quic-v1",
            "/ip4/10.0.0.7/tcp/4001",
            "/ip4/169.254.1.7/tcp/4009",
            "/ip6/fd00::7/tcp/4001",
        ]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
        let wanted = Wanted::new(&local, Some((3478, 50_000..=50_001)), false);
        assert_eq!(wanted.locals, [Ipv4Addr::new(10, 0, 0, 7), Ipv4Addr::new(192, 168, 1, 7)]);
        let udp = |port| (Protocol::Udp, port);
        assert_eq!(wanted.ports, [(Protocol::Tcp, 4001), udp(4001), udp(3478), udp(50_000), udp(50_001)]);
        assert_eq!(wanted.essential, 3);
        assert_eq!(Wanted::new(&local, None, false).ports, [(Protocol::Tcp, 4001), udp(4001)]);
    }

    #[test]
    fn people_are_sent_to_ports_that_are_forwarded() {
        let [tcp, udp] = ["/ip4/10.0.0.7/tcp/4001", "/ip4/10.0.0.7/udp/4001/quic-v1"].map(|text| text.parse().unwrap());
        let refused = vec![RefusedPort { port: "TCP 4001".into(), is_taken: true }];
        let mapping = PortMapping::Forwarded { outside: Ipv4Addr::new(8, 8, 8, 8), ports: 1, refused };
        assert!(mapping.forwards(&udp) && !mapping.forwards(&tcp));
        assert!(!PortMapping::NoRouter.forwards(&tcp));
    }

    #[test]
    fn the_outside_of_a_router_behind_another_is_not_public() {
        for public in ["8.8.8.8", "203.0.113.7", "100.128.0.1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in ["192.168.1.2", "10.0.0.1", "100.64.0.1", "100.127.255.255", "169.254.0.1", "0.0.0.0"] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }
}
