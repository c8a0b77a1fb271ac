//! Links: given, opened, and looked at before anything happens.

use egui::{Key, accesskit::Role};
use egui_kittest::kittest::Queryable as _;
use parlor_net::NodeLink;

use super::*;
use crate::{
    contacts::{ContactChange, Standing},
    engine::{NodeView, Notice},
    fingerprint::Fingerprint,
    link::Link,
};

pub(super) fn node(seed: u8, link: NodeLink) -> NodeView {
    let address = format!("/ip4/203.0.113.{seed}/tcp/4001/p2p/{}", peer(seed)).parse().expect("an address");
    NodeView { node: peer(seed), addresses: vec![address], link, kept: true }
}

pub(super) fn online_node(seed: u8) -> NodeView {
    node(seed, NodeLink::Online { rtt: Duration::from_millis(27), turn: true })
}

fn opened(language: Language, link: &str) -> Harness<'static, Surface> {
    let mut harness = open(snapshot(language), PHONE);
    harness.state_mut().ui.notice(Notice::OpenLink(link.to_owned()));
    harness.run_steps(4);
    harness
}

fn copied(harness: &Harness<'static, Surface>) -> Option<String> {
    harness.output().platform_output.commands.iter().find_map(|command| match command {
        egui::OutputCommand::CopyText(text) => Some(text.clone()),
        _ => None,
    })
}

#[test]
fn a_link_to_a_person_shows_them_and_adds_them_only_when_that_is_accepted() {
    for language in LANGUAGES {
        let text = Text::of(language);
        let node = &online_node(50).addresses[0];
        let link = format!("parlor:{}?name=Cleo&node={node}", peer(9));
        let mut harness = opened(language, &link);
        harness.get_by_label("Cleo");
        let fingerprint = Fingerprint::of(&peer(9)).to_string();
        harness.get_by_label(&text.people.fingerprint.with("fingerprint", &fingerprint));
        harness.get_by_label_contains("203.0.113.50");
        assert_eq!(commands(&mut harness), [], "nothing happens before it is accepted");
        harness.get_by_label(&text.link.person_accept).click();
        let accepted: Link = link.parse().unwrap();
        assert_eq!(commands(&mut harness), [Command::AcceptLink(Box::new(accepted))]);
        assert!(harness.query_by_label("Cleo").is_none(), "the dialog is closed");
    }
}

#[test]
fn a_link_is_left_by_button_and_by_escape_without_a_trace() {
    for by_key in [false, true] {
        let mut harness = opened(Language::English, &format!("parlor:{}", peer(9)));
        if by_key {
            harness.key_press(Key::Escape);
        } else {
            harness.get_by_label("Cancel").click();
        }
        assert_eq!(commands(&mut harness), []);
        assert!(harness.query_by_label("Add this person?").is_none());
    }
}

#[test]
fn ones_own_link_and_a_broken_one_say_so_and_offer_nothing() {
    for language in LANGUAGES {
        let text = Text::of(language);
        for (link, sentence) in [
            (format!("parlor:{}", peer(99)), &text.link.self_title),
            ("parlor:Ada".to_owned(), &text.link_error.peer),
            (format!("parlor:{}?name=%E6%9", peer(9)), &text.link_error.encoding),
            ("parlor:room?name=Chess".to_owned(), &text.room_error.no_secret),
        ] {
            let mut harness = opened(language, &link);
            harness.get_by_label(sentence);
            assert!(harness.query_by_label(&text.link.person_accept).is_none());
            harness.get_by_label(&text.link.close).click();
            assert_eq!(commands(&mut harness), []);
        }
    }
}

#[test]
fn a_link_under_a_contacts_name_with_another_key_is_warned_of() {
    let mut snapshot = snapshot(Language::English);
    snapshot.people[0].standing = Standing::Contact;
    let mut harness = open(snapshot, PHONE);
    harness.state_mut().ui.notice(Notice::OpenLink(format!("parlor:{}?name=ada", peer(9))));
    harness.run_steps(3);
    harness.get_by_label_contains("another ada among your contacts");
}

#[test]
fn a_node_and_a_room_are_shown_before_they_are_used() {
    for language in LANGUAGES {
        let text = Text::of(language);
        let node = &online_node(50).addresses[0];
        for (link, title, accept) in [
            (format!("parlor:node?addr={node}"), &text.link.node_title, &text.link.node_accept),
            (format!("parlor:room?name=Chess&secret=e4&node={node}"), &text.link.room_title, &text.link.room_accept),
        ] {
            let mut harness = opened(language, &link);
            harness.get_by_label(title);
            harness.get_by_label_contains("203.0.113.50");
            harness.get_by_label(accept).click();
            assert_eq!(commands(&mut harness), [Command::AcceptLink(Box::new(link.parse().unwrap()))]);
        }
    }
}

#[test]
fn a_link_that_comes_during_a_call_waits_for_its_end_and_asks_for_attention() {
    let mut harness = open(in_call(Language::English, connected(active(CallKind::Video))), PHONE);
    harness.state_mut().ui.notice(Notice::OpenLink(format!("parlor:{}?name=Cleo", peer(9))));
    harness.step();
    let asked = &harness.output().viewport_output[&egui::ViewportId::ROOT].commands;
    assert!(asked.contains(&egui::ViewportCommand::Focus), "{asked:?}");
    assert!(harness.query_by_label("Add this person?").is_none());
    harness.state_mut().snapshot.call = CallView::Idle;
    harness.run_steps(3);
    harness.get_by_label("Add this person?");
}

#[test]
fn the_own_link_is_shown_as_a_code_and_copied_with_nodes_that_work_and_no_address_of_ours() {
    for language in LANGUAGES {
        let mut with_nodes = snapshot(language);
        let failed = node(51, NodeLink::Failed { reason: String::new() });
        with_nodes.nodes = vec![failed, online_node(50)];
        let mut harness = open(with_nodes, PHONE);
        let text = harness.state().text();
        harness.get_by_label(&text.people.my_link).click();
        harness.run_steps(4);
        harness.get_by_label(&text.link.my_code);
        harness.get_by_label(&text.link.copy).click();
        harness.step();
        let link = copied(&harness).expect("something was copied");
        let Ok(Link::Person(person)) = link.parse() else { panic!("{link}") };
        assert_eq!((person.peer, person.name.as_deref()), (peer(99), Some("Alex")));
        assert_eq!((person.nodes, person.addresses), (online_node(50).addresses, vec![]));
        harness.run_steps(2);
        harness.get_by_label(&text.link.copied);
    }
}

#[test]
fn a_pasted_link_is_looked_at_and_a_wrong_one_explained() {
    let mut harness = open(snapshot(Language::English), PHONE);
    harness.get_by_label("Add…").click();
    harness.run_steps(3);
    harness.get_by_role_and_label(Role::TextInput, "Link").focus();
    harness.run_steps(2);
    harness.get_by_role_and_label(Role::TextInput, "Link").type_text("hello");
    harness.run_steps(2);
    harness.get_by_label("Continue").click();
    harness.run_steps(2);
    harness.get_by_label("A link begins with parlor:");
    assert_eq!(commands(&mut harness), []);
}

#[test]
fn the_camera_is_used_while_a_code_is_looked_for_and_not_longer() {
    let mut harness = open(snapshot(Language::English), PHONE);
    harness.get_by_label("Add…").click();
    harness.run_steps(3);
    harness.get_by_label("Scan a QR code").click();
    assert_eq!(commands(&mut harness), [Command::Scan(true)]);
    harness.state_mut().ui.preview_frame(frame());
    harness.run_steps(2);
    harness.get_by_label("What the camera sees");
    harness.get_by_label("Cancel").click();
    assert_eq!(commands(&mut harness), [Command::Scan(false)]);
    assert!(harness.query_by_label("What the camera sees").is_none());
}

#[test]
fn a_found_code_leads_to_the_link_and_a_call_ends_the_search() {
    for by_call in [false, true] {
        let mut harness = open(snapshot(Language::English), PHONE);
        harness.get_by_label("Add…").click();
        harness.run_steps(3);
        harness.get_by_label("Scan a QR code").click();
        commands(&mut harness);
        if by_call {
            harness.state_mut().snapshot.call = incoming(CallKind::Video);
            harness.run_steps(2);
            harness.state_mut().snapshot.call = CallView::Idle;
        } else {
            harness.state_mut().ui.notice(Notice::OpenLink(format!("parlor:{}", peer(9))));
        }
        harness.run_steps(3);
        assert!(harness.query_by_label("Hold the code in front of the camera.").is_none());
        assert_eq!(harness.query_by_label("Add this person?").is_some(), !by_call);
    }
}

#[test]
fn somebody_is_renamed_from_the_menu() {
    for language in LANGUAGES {
        let mut harness = open(snapshot(language), PHONE);
        let text = harness.state().text();
        harness.get_by_label(&text.people.more.with("name", "Ada")).click();
        harness.run_steps(3);
        harness.get_by_label(&text.people.rename).click();
        harness.run_steps(4);
        harness.get_by_role_and_label(Role::TextInput, &text.link.rename_field).type_text(" L.");
        harness.run_steps(2);
        harness.get_by_label(&text.settings.save).click();
        let [Command::ChangeContact { peer: whom, change: ContactChange::Name(Some(name)) }] =
            &commands(&mut harness)[..]
        else {
            panic!("one new name")
        };
        assert_eq!((*whom, name.contains("L.")), (peer(1), true), "{name}");
    }
}
