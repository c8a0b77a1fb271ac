//! Two whole engines in one process, on loopback: network, call machine and media together, without a process border.

#![expect(clippy::panic, reason = "a helper of tests fails as they do")]

use std::{sync::Arc, time::Duration};

use parlor::{
    contacts::{ContactChange, Contacts, Standing},
    engine::{
        self, CallView, Command, EndReason, EngineConfig, EngineLink, Notice, Overrides, PersonView, Presence,
        Snapshot, Wakes,
    },
    link::{Link, PersonLink},
    settings::Settings,
};
use parlor_media::{AudioSink, AudioSource, Interfaces, VideoSource};
use parlor_net::{Keypair, Multiaddr, signalling::CallKind};
use tokio::{task::JoinHandle, time::timeout};

/// What never takes this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

struct Person {
    link: EngineLink,
    task: JoinHandle<()>,
}

impl Person {
    /// Somebody with the test card and a tone, who dials those addresses.
    fn new(name: &str, dial: Vec<Multiaddr>) -> Self {
        let config = EngineConfig {
            keypair: Keypair::generate_ed25519(),
            settings: Settings { name: Some(name.to_owned()), ..Settings::default() },
            settings_file: None,
            contacts: Contacts::default(),
            contacts_file: None,
            watch: Vec::new(),
            url_handler: None,
            overrides: Overrides {
                camera: Some(VideoSource::TestCard),
                microphone: Some(AudioSource::Tone),
                speaker: Some(AudioSink::None),
                ..Overrides::default()
            },
            lan: true,
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")],
            dial,
            interfaces: Interfaces::Loopback,
            watch_devices: false,
            tones: false,
            always_busy: false,
            notices: Vec::new(),
        };
        let (link, task) = engine::spawn(config, Wakes::none());
        Self { link, task }
    }

    async fn until<T>(&mut self, what: &str, mut of: impl FnMut(Notice) -> Option<T>) -> T {
        let wait = async {
            loop {
                let notice = self.link.notices.recv().await.expect("the engine runs");
                if let Some(found) = of(notice) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
    }

    async fn tell(&self, command: Command) {
        self.link.commands.send(command).await.expect("the engine runs");
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.link.snapshot.borrow())
    }

    async fn until_snapshot(&mut self, what: &str, mut is: impl FnMut(&Snapshot) -> bool) {
        let wait = self.link.snapshot.wait_for(|snapshot| is(snapshot));
        let Ok(found) = timeout(PATIENCE, wait).await else { panic!("waited in vain for {what}") };
        drop(found.expect("the engine runs"));
    }

    async fn calls_whoever_comes(&mut self) {
        let peer = self.until("somebody", |notice| match notice {
            Notice::PeerOnline { peer, .. } => Some(peer),
            _ => None,
        });
        let peer = peer.await;
        self.tell(Command::Call { peer, kind: CallKind::Video }).await;
    }

    async fn sees_and_hears(&mut self) {
        let (mut picture, mut voice) = (false, false);
        self.until("picture and voice", |notice| {
            picture |= matches!(notice, Notice::FirstVideoFrame { .. });
            voice |= matches!(notice, Notice::FirstAudio { .. });
            (picture && voice).then_some(())
        })
        .await;
    }

    async fn ended(&mut self) -> EndReason {
        let reason = self.until("the end of the call", |notice| match notice {
            Notice::Ended { reason, .. } => Some(reason),
            _ => None,
        });
        let reason = reason.await;
        self.until("closed devices", |notice| matches!(notice, Notice::DevicesClosed { .. }).then_some(())).await;
        reason
    }

    async fn quits(self) {
        self.tell(Command::Quit).await;
        timeout(PATIENCE, self.task).await.expect("the engine stops").expect("the engine does not panic");
    }
}

async fn two_people() -> (Person, Person) {
    let mut ada = Person::new("Ada", Vec::new());
    let listen = ada.until("an address", |notice| match notice {
        Notice::Ready { listen } => Some(listen),
        _ => None,
    });
    let address = listen.await[0].parse().expect("an address");
    (ada, Person::new("Bo", vec![address]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_engines_call_talk_hang_up_and_call_again() {
    let (mut ada, mut bo) = two_people().await;
    for round in 0..2 {
        if round == 0 {
            ada.calls_whoever_comes().await;
        } else {
            let peer = ada.snapshot().people[0].peer;
            ada.tell(Command::Call { peer, kind: CallKind::Video }).await;
        }
        bo.until("an invitation", |notice| matches!(notice, Notice::Incoming { .. }).then_some(())).await;
        assert!(bo.link.preview.take().is_none(), "nothing is captured before the callee accepts");
        bo.tell(Command::Accept).await;
        ada.sees_and_hears().await;
        bo.sees_and_hears().await;
        assert!(matches!(ada.snapshot().call, CallView::Connected { .. }));
        ada.tell(Command::HangUp).await;
        assert_eq!(ada.ended().await, EndReason::HungUp);
        assert_eq!(bo.ended().await, EndReason::RemoteHungUp);
        assert!(ada.link.remote.take().is_none(), "no old picture greets the next call");
        assert_eq!(ada.snapshot().call, CallView::Idle);
    }
    ada.quits().await;
    bo.quits().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_quits_in_a_call_ends_it_for_the_other() {
    let (mut ada, mut bo) = two_people().await;
    ada.calls_whoever_comes().await;
    bo.until("an invitation", |notice| matches!(notice, Notice::Incoming { .. }).then_some(())).await;
    bo.tell(Command::Accept).await;
    bo.sees_and_hears().await;
    ada.quits().await;
    assert_eq!(bo.ended().await, EndReason::RemoteHungUp);
    bo.quits().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_blocked_is_not_listed_can_not_ring_and_is_not_told() {
    let (mut ada, mut bo) = two_people().await;
    let (ada_key, bo_key) = (ada.snapshot().me.peer, bo.snapshot().me.peer);
    ada.until_snapshot("Bo in Ada's list", |snapshot| !snapshot.people.is_empty()).await;
    bo.until_snapshot("Ada in Bo's list", |snapshot| !snapshot.people.is_empty()).await;
    bo.tell(Command::ChangeContact { peer: ada_key, change: ContactChange::Blocked(true) }).await;
    bo.until_snapshot("an empty list", |snapshot| snapshot.people.is_empty() && snapshot.blocked.len() == 1).await;
    ada.tell(Command::Call { peer: bo_key, kind: CallKind::Audio }).await;
    assert_eq!(ada.ended().await, EndReason::Unreachable);
    while let Ok(notice) = bo.link.notices.try_recv() {
        assert!(!matches!(notice, Notice::Incoming { .. } | Notice::MissedWhileBusy { .. }), "{notice:?}");
    }
    ada.quits().await;
    bo.quits().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_accepted_makes_a_contact_and_connects_to_them() {
    let mut ada = Person::new("Ada", Vec::new());
    let listen = ada.until("an address", |notice| match notice {
        Notice::Ready { listen } => Some(listen),
        _ => None,
    });
    let addresses = listen.await.iter().map(|address| address.parse().expect("an address")).collect();
    let peer = ada.snapshot().me.peer;
    let mut bo = Person::new("Bo", Vec::new());
    bo.until("an address", |notice| matches!(notice, Notice::Ready { .. }).then_some(())).await;
    let link = PersonLink { peer, name: Some("Ada".to_owned()), nodes: Vec::new(), addresses };
    bo.tell(Command::AcceptLink(Box::new(Link::Person(link)))).await;
    bo.until_snapshot("Ada", |snapshot| {
        let is_there = |person: &PersonView| matches!(person.presence, Presence::Online { .. });
        snapshot.people.iter().any(|person| person.peer == peer && is_there(person))
    })
    .await;
    assert_eq!(bo.snapshot().people[0].standing, Standing::Contact);
    bo.tell(Command::ChangeContact { peer, change: ContactChange::Name(Some("Sis".to_owned())) }).await;
    bo.until_snapshot("her new name", |snapshot| snapshot.people[0].name == "Sis").await;
    ada.quits().await;
    bo.until_snapshot("her absence", |snapshot| snapshot.people[0].presence == Presence::Offline).await;
    bo.quits().await;
}
