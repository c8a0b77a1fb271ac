//! The findings of the doctor, as a page of the window.

use std::net::Ipv4Addr;

use egui::Key;
use egui_kittest::kittest::Queryable as _;
use parlor_net::diagnose::{Family, Nat};

use super::*;
use crate::{
    doctor::{Fact, Finding, Level, say},
    engine::Checkup,
};

const TALL: [f32; 2] = [700.0, 2400.0];

fn findings() -> Vec<Finding> {
    let at = || "203.0.113.10:4001".to_owned();
    let good = |fact| Finding { level: Level::Good, fact };
    vec![
        good(Fact::Network { interface: "eth0".into(), addresses: vec![Ipv4Addr::new(10, 77, 0, 11).into()] }),
        good(Fact::LanSees { interface: "eth0".into(), family: Family::V4, others: 2 }),
        Finding { level: Level::Warning, fact: Fact::Nat { kind: Nat::PortForEach } },
        good(Fact::RelayUdp { node: peer(50), at: at(), took_ms: 25.4 }),
        Finding { level: Level::Broken, fact: Fact::NodeWrongKey { node: peer(50), at: at(), found: peer(51) } },
    ]
}

#[test]
fn the_connection_is_checked_from_the_settings_and_findings_are_read_with_their_advice() {
    for language in LANGUAGES {
        let mut harness = open(snapshot(language), TALL);
        let text = harness.state().text();
        harness.get_by_label(&text.people.settings).click();
        harness.run_steps(3);
        harness.get_by_label(&text.doctor.open).click();
        assert_eq!(commands(&mut harness), [Command::CheckConnection]);
        harness.state_mut().snapshot.checkup = Checkup::Running;
        harness.run_steps(2);
        harness.get_by_label(&text.doctor.checking);

        harness.state_mut().snapshot.checkup = Checkup::Done(findings().into());
        harness.run_steps(2);
        for finding in findings() {
            let said = say(&finding.fact, text);
            harness.get_by_label(&said.sentence);
            if let Some(advice) = said.advice {
                harness.get_by_label(&advice);
            }
        }
        harness.get_by_label(&text.doctor.level_warning);
        harness.get_by_label(&text.doctor.level_broken);
        harness.get_by_label(&text.doctor.again).click();
        assert_eq!(commands(&mut harness), [Command::CheckConnection]);
        harness.key_press(Key::Escape);
        harness.run_steps(3);
        harness.get_by_label(&text.settings.title);
    }
}

#[test]
fn on_a_phone_the_findings_are_scrolled() {
    for language in LANGUAGES {
        let mut harness = open(snapshot(language), TALL);
        let text = harness.state().text();
        harness.get_by_label(&text.people.settings).click();
        harness.run_steps(3);
        harness.get_by_label(&text.doctor.open).click();
        harness.state_mut().snapshot.checkup = Checkup::Done(findings().into());
        harness.set_size(PHONE.into());
        harness.run_steps(4);
        let title = harness.get_by_label(&text.doctor.title);
        assert!(title.rect().top() > 0.0 && title.rect().right() < PHONE[0], "{:?}", title.rect());
    }
}
