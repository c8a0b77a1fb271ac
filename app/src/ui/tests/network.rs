//! Nodes, rooms, contacts and privacy.

use egui::{Key, accesskit::Role};
use egui_kittest::kittest::Queryable as _;
use parlor_media::IcePolicy;
use parlor_net::NodeLink;

use super::{
    links::{node, online_node},
    *,
};
use crate::{
    contacts::ContactChange,
    engine::RoomView,
    link::{Link, RoomLink},
    room::RoomKey,
};

/// Tall enough that nothing needs to be scrolled.
const TALL: [f32; 2] = [700.0, 2200.0];

fn settings(snapshot: Snapshot) -> Harness<'static, Surface> {
    let mut harness = open(snapshot, TALL);
    let settings = &harness.state().text().people.settings;
    harness.get_by_label(settings).click();
    harness.run_steps(3);
    harness
}

fn type_into(harness: &mut Harness<'static, Surface>, field: &str, text: &str) {
    harness.get_by_role_and_label(Role::TextInput, field).focus();
    harness.run_steps(2);
    harness.get_by_role_and_label(Role::TextInput, field).type_text(text);
    harness.run_steps(2);
}

fn new_settings(harness: &mut Harness<'static, Surface>) -> Settings {
    match &commands(harness)[..] {
        [Command::SetSettings(settings)] => (**settings).clone(),
        other => panic!("one change of the settings, not {other:?}"),
    }
}

#[test]
fn a_node_is_added_by_address_or_link_and_a_wrong_one_explained() {
    for language in LANGUAGES {
        let address = online_node(50).addresses[0].clone();
        for typed in [address.to_string(), format!("parlor:node?addr={address}")] {
            let mut harness = settings(snapshot(language));
            let text = harness.state().text();
            type_into(&mut harness, &text.network.node_field, &typed);
            harness.get_by_label(&text.network.node_add).click();
            assert_eq!(new_settings(&mut harness).nodes, std::slice::from_ref(&address));
        }
        let mut harness = settings(snapshot(language));
        let text = harness.state().text();
        type_into(&mut harness, &text.network.node_field, "/ip4/192.0.2.7/tcp/1");
        harness.key_press(Key::Enter);
        assert_eq!(commands(&mut harness), []);
        harness.get_by_label(&text.link_error.nameless_node.with("address", "/ip4/192.0.2.7/tcp/1"));
    }
}

#[test]
fn every_state_of_a_node_is_said_in_words_and_it_can_be_removed() {
    for language in LANGUAGES {
        let text = Text::of(language);
        let failed = NodeLink::Failed { reason: "refused".to_owned() };
        let mut with_nodes = snapshot(language);
        with_nodes.nodes =
            vec![online_node(50), node(51, failed), node(52, NodeLink::Idle), node(53, NodeLink::Connecting)];
        with_nodes.settings.nodes = with_nodes.nodes.iter().flat_map(|node| node.addresses.clone()).collect();
        let mut harness = settings(with_nodes);
        for words in [
            text.network.node_online.with("ms", "27"),
            text.network.node_failed.with("reason", "refused"),
            text.network.node_idle.clone(),
            text.network.node_connecting.clone(),
        ] {
            harness.get_by_label_contains(&words);
        }
        harness.get_by_label(&text.network.node_remove.with("node", "203.0.113.51")).click();
        assert_eq!(new_settings(&mut harness).nodes.len(), 3);
    }
}

#[test]
fn an_empty_list_leads_to_where_a_node_is_added() {
    for language in LANGUAGES {
        let mut alone = snapshot(language);
        alone.people.clear();
        let mut harness = open(alone, PHONE);
        let text = harness.state().text();
        harness.get_by_label(&text.people.add_node).click();
        harness.run_steps(8);
        let field = harness.get_by_role_and_label(Role::TextInput, &text.network.node_field);
        assert!(field.rect().top() > 0.0 && field.rect().bottom() < PHONE[1], "{:?}", field.rect());
    }
}

#[test]
fn a_room_is_joined_its_link_copied_and_left() {
    for language in LANGUAGES {
        let text = Text::of(language);
        let key = RoomKey::new("Chess", "e4 e5").unwrap();
        let mut harness = settings(snapshot(language));
        harness.get_by_label(&text.network.room_join).click();
        harness.run_steps(2);
        harness.get_by_label(&text.name_error.empty);
        type_into(&mut harness, &text.network.room_name, "Chess");
        type_into(&mut harness, &text.network.room_secret, "e4 e5");
        harness.get_by_label(&text.network.room_join).click();
        assert_eq!(new_settings(&mut harness).rooms, std::slice::from_ref(&key));

        let mut in_room = snapshot(language);
        in_room.settings.rooms.push(key.clone());
        in_room.rooms.push(RoomView { key: key.clone(), id: None });
        in_room.nodes.push(online_node(50));
        let mut harness = settings(in_room);
        harness.get_by_label(&text.network.room_copy.with("room", "Chess")).click();
        harness.step();
        let link = Link::Room(RoomLink { room: key, nodes: online_node(50).addresses }).to_string();
        let copies = egui::OutputCommand::CopyText(link);
        assert!(harness.output().platform_output.commands.contains(&copies));
        harness.get_by_label(&text.network.room_leave.with("room", "Chess")).click();
        assert_eq!(new_settings(&mut harness).rooms, []);
    }
}

#[test]
fn lobby_and_relays_are_chosen_and_people_are_unblocked() {
    for language in LANGUAGES {
        let text = Text::of(language);
        let mut with_blocked = snapshot(language);
        with_blocked.blocked.push((peer(8), "Spam".to_owned()));
        let mut harness = settings(with_blocked);
        harness.get_by_label(&text.network.lobby).click();
        assert!(!new_settings(&mut harness).lobby);
        harness.get_by_label(&text.network.learn_nodes).click();
        assert!(new_settings(&mut harness).learn_nodes);
        harness.get_by_label(&text.network.relay_only).click();
        assert_eq!(new_settings(&mut harness).relay, IcePolicy::RelayOnly);
        harness.get_by_label(&text.network.relay_never).click();
        assert_eq!(new_settings(&mut harness).relay, IcePolicy::DirectOnly);
        harness.get_by_label(&text.network.unblock.with("name", "Spam")).click();
        let unblocks = Command::ChangeContact { peer: peer(8), change: ContactChange::Blocked(false) };
        assert_eq!(commands(&mut harness), [unblocks]);
    }
}

#[test]
fn the_menu_of_a_person_offers_what_fits_them() {
    let choose = |standing, presence, item: &str| {
        let mut snapshot = snapshot(Language::English);
        snapshot.people[0].standing = standing;
        snapshot.people[0].presence = presence;
        let mut harness = open(snapshot, PHONE);
        harness.get_by_label("More about Ada").click();
        harness.run_steps(3);
        harness.get_by_label(item).click();
        commands(&mut harness)
    };
    let online = Presence::Online { status: Status::Free, via: Via::Node };
    let change = |change| [Command::ChangeContact { peer: peer(1), change }];
    let becomes = |standing| change(ContactChange::Standing(standing));
    assert_eq!(choose(Standing::Stranger, online, "Add to contacts"), becomes(Standing::Contact));
    assert_eq!(choose(Standing::Contact, online, "Make a favourite"), becomes(Standing::Favourite));
    assert_eq!(choose(Standing::Favourite, online, "No longer a favourite"), becomes(Standing::Contact));
    let gone = Presence::Offline;
    assert_eq!(choose(Standing::Contact, gone, "Remove from contacts"), becomes(Standing::Stranger));
    assert_eq!(choose(Standing::Stranger, online, "Block"), change(ContactChange::Blocked(true)));
    let call = Command::Call { peer: peer(1), kind: CallKind::Audio };
    assert_eq!(choose(Standing::Stranger, online, "Voice call"), [call]);
    assert_eq!(choose(Standing::Stranger, online, "Copy link"), []);
}

#[test]
fn who_is_offline_is_listed_and_a_click_offers_everything_but_a_call() {
    for language in LANGUAGES {
        let text = Text::of(language);
        let mut snapshot = snapshot(language);
        snapshot.people[0] =
            PersonView { presence: Presence::Offline, standing: Standing::Contact, ..person(1, "Ada") };
        let mut harness = open(snapshot, PHONE);
        harness.get_by_label(&format!("{} (1)", text.people.offline));
        harness.get_by_label(&format!("Ada ({})", text.people.is_offline)).click();
        harness.run_steps(3);
        harness.get_by_label(&text.people.remove_contact);
        assert!(harness.query_by_label(&text.people.menu_video).is_none());
        assert_eq!(commands(&mut harness), []);
    }
}

#[test]
fn another_key_under_a_contacts_name_is_told_in_the_list_and_when_they_call() {
    for language in LANGUAGES {
        let text = Text::of(language);
        let mut snapshot = snapshot(language);
        snapshot.people[0].borrows_name = true;
        let mut harness = open(snapshot, PHONE);
        harness.get_by_label_contains(&text.people.borrowed);
        harness.state_mut().snapshot.call = CallView::Incoming {
            call: CALL,
            peer: peer(1),
            name: "Ada".to_owned(),
            kind: CallKind::Video,
            borrows_name: true,
        };
        harness.run_steps(2);
        harness.get_by_label_contains(&text.ringing.borrowed.with("name", "Ada"));
    }
}

#[test]
fn the_call_says_whether_it_is_direct_or_relayed_and_how_far_it_is() {
    for language in LANGUAGES {
        let text = Text::of(language);
        for (kind, words) in
            [(PathKind::Direct, &text.quality.direct_short), (PathKind::Relayed, &text.quality.relayed_short)]
        {
            let mut call = connected(active(CallKind::Video));
            if let CallView::Connected { path, stats, .. } = &mut call {
                path.kind = kind;
                stats.rtt_ms = Some(61.4);
            }
            let harness = open(in_call(language, call), PHONE);
            harness.get_by_label(&format!("{words} · {}", text.quality.round_trip.with("ms", "61")));
        }
    }
}

#[test]
fn the_caller_sees_themselves_while_it_rings() {
    let mut harness = open(in_call(Language::English, outgoing(true)), PHONE);
    assert!(harness.query_by_label("Your own picture").is_none());
    harness.state_mut().ui.preview_frame(frame());
    harness.run_steps(2);
    harness.get_by_label("Your own picture");
}
