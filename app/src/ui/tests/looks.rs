//! What every screen owes to everybody: glyphs, names for those who can't see it, nothing cut off, targets that a
//! finger can hit.

use egui::accesskit::Role;
use egui_kittest::kittest::NodeT as _;

use super::*;
use crate::ui::theme;

/// Every screen of the window, by name.
fn screens(language: Language) -> Vec<(&'static str, Snapshot)> {
    let of = |call| in_call(language, call);
    let mut nameless = snapshot(language);
    nameless.me.name = None;
    let mut alone = snapshot(language);
    alone.people.clear();
    let mut crowd = snapshot(language);
    crowd.people = (1..60).map(|seed| person(seed, &"Maximiliane 李".repeat(3))).collect();
    let mut muted = active(CallKind::Video);
    muted.name = "W".repeat(40);
    muted.theirs.microphone = false;
    let since = SystemTime::UNIX_EPOCH;
    let mut mixed = snapshot(language);
    mixed.people = vec![
        PersonView { borrows_name: true, says: Some("W".repeat(40)), ..person(1, &"W".repeat(40)) },
        PersonView { standing: Standing::Favourite, has_namesake: true, ..person(2, &"W".repeat(40)) },
        PersonView { presence: Presence::Offline, standing: Standing::Contact, ..person(3, &"李".repeat(40)) },
    ];
    let careful = CallView::Incoming {
        call: CALL,
        peer: peer(1),
        name: "Ada".to_owned(),
        kind: CallKind::Video,
        borrows_name: true,
    };
    vec![
        ("mixed", mixed),
        ("careful", of(careful)),
        ("welcome", nameless),
        ("people", snapshot(language)),
        ("nobody", alone),
        ("crowd", crowd),
        ("calling", of(outgoing(true))),
        ("incoming", of(incoming(CallKind::Video))),
        ("connecting", of(CallView::Connecting(active(CallKind::Video)))),
        ("connected", of(connected(active(CallKind::Video)))),
        ("muted", of(connected(muted))),
        ("voice", of(connected(active(CallKind::Audio)))),
        ("reconnecting", of(CallView::Reconnecting { active: active(CallKind::Video), since })),
    ]
}

#[test]
fn nothing_is_cut_off_on_a_phone_or_a_desktop() {
    for size in [PHONE, DESKTOP] {
        let window = egui::Rect::from_min_size(egui::Pos2::ZERO, size.into());
        for language in LANGUAGES {
            for (screen, snapshot) in screens(language) {
                let scrolls = screen == "crowd";
                let harness = open(snapshot, size);
                for node in harness.root().children_recursive() {
                    let accesskit = node.accesskit_node();
                    if !matches!(accesskit.role(), Role::Button | Role::Label | Role::RadioButton | Role::TextInput) {
                        continue;
                    }
                    let rect = node.rect();
                    let inside = if scrolls {
                        rect.left() >= window.left() && rect.right() <= window.right()
                    } else {
                        window.contains_rect(rect)
                    };
                    assert!(inside, "{screen} {language:?} {size:?}: {:?} at {rect:?}", accesskit.label());
                }
            }
        }
    }
}

#[test]
fn everything_that_can_be_pressed_has_a_name_and_the_size_of_a_finger() {
    for language in LANGUAGES {
        for (screen, snapshot) in screens(language) {
            let harness = open(snapshot, PHONE);
            for node in harness.root().children_recursive() {
                let accesskit = node.accesskit_node();
                let pressable = [Role::Button, Role::RadioButton, Role::TextInput, Role::ComboBox, Role::Image];
                if !pressable.contains(&accesskit.role()) {
                    continue;
                }
                let label = accesskit.label().unwrap_or_default();
                assert!(!label.is_empty(), "{screen}: a {:?} without a name", accesskit.role());
                let size = node.rect().size();
                assert!(size.min_elem() >= theme::TOUCH, "{screen}: {label} is {size:?}");
            }
        }
    }
}

#[test]
fn every_sentence_and_every_common_chinese_character_has_glyphs() {
    let harness = open(snapshot(Language::Chinese), PHONE);
    let locales =
        [include_str!("../../../../assets/locales/en.toml"), include_str!("../../../../assets/locales/zh-CN.toml")];
    let missing = |font: &egui::FontId, text: &str| -> String {
        harness
            .ctx
            .fonts_mut(|fonts| text.chars().filter(|&c| !c.is_whitespace() && !fonts.has_glyph(font, c)).collect())
    };
    for font in [theme::regular(15.0), theme::semibold(15.0)] {
        for locale in locales {
            assert_eq!(missing(&font, locale), "");
        }
        // The first and last characters of GB 2312, some between, other scripts, and punctuation.
        assert_eq!(missing(&font, "啊齄龙鑫淼かナЖΩßŁőế«»、。！？·—…“”‘’"), "");
    }
}

#[test]
fn every_symbol_on_a_button_has_a_glyph() {
    let harness = open(snapshot(Language::English), PHONE);
    use egui_phosphor::{fill, regular};
    for (font, symbols) in [
        (theme::icon(20.0), [regular::GEAR_SIX, regular::PHONE, regular::ARROW_LEFT, regular::X, regular::CARET_DOWN]),
        (
            theme::icon(20.0),
            [regular::QR_CODE, regular::DOTS_THREE_VERTICAL, regular::DOOR, regular::GLOBE, regular::MOON],
        ),
        (
            theme::filled_icon(20.0),
            [fill::MICROPHONE, fill::MICROPHONE_SLASH, fill::VIDEO_CAMERA, fill::PHONE_DISCONNECT, fill::PHONE_X],
        ),
    ] {
        for symbol in symbols {
            assert!(harness.ctx.fonts_mut(|fonts| fonts.has_glyphs(&font, symbol)), "{symbol:?}");
        }
    }
}

#[test]
fn an_idle_window_draws_nothing() {
    for (screen, snapshot) in screens(Language::English) {
        if !matches!(screen, "people" | "nobody" | "crowd") {
            continue;
        }
        let harness = open(snapshot, DESKTOP);
        let delay = harness.output().viewport_output[&egui::ViewportId::ROOT].repaint_delay;
        assert!(delay > Duration::from_secs(60), "{screen} wants to be drawn again after {delay:?}");
    }
}

#[test]
fn a_call_without_new_pictures_is_drawn_once_a_second() {
    let harness = open(in_call(Language::English, connected(active(CallKind::Video))), DESKTOP);
    let delay = harness.output().viewport_output[&egui::ViewportId::ROOT].repaint_delay;
    // egui subtracts the time of one frame, a quarter of a second here.
    assert!(delay >= Duration::from_millis(750), "{delay:?}");
}

#[test]
fn every_dialog_fits_a_phone_and_has_targets_for_fingers() {
    let window = egui::Rect::from_min_size(egui::Pos2::ZERO, PHONE.into());
    let node = &super::links::online_node(50).addresses[0];
    let links = [
        format!("parlor:{}?name={}&node={node}&addr=/ip4/192.0.2.7/tcp/1", peer(9), "W".repeat(40)),
        format!("parlor:node?addr={node}"),
        format!("parlor:room?name=Chess&secret=x&node={node}"),
        "parlor:x".to_owned(),
    ];
    for language in LANGUAGES {
        for link in &links {
            let mut harness = open(snapshot(language), PHONE);
            harness.state_mut().ui.notice(crate::engine::Notice::OpenLink(link.clone()));
            harness.run_steps(5);
            for node in harness.root().children_recursive() {
                let accesskit = node.accesskit_node();
                if matches!(accesskit.role(), Role::Button | Role::Label) {
                    let (label, rect) = (accesskit.label(), node.rect());
                    assert!(window.contains_rect(rect), "{language:?} {link}: {label:?} at {rect:?}");
                    let is_small = accesskit.role() == Role::Button && rect.size().min_elem() < theme::TOUCH;
                    assert!(!is_small, "{language:?} {link}: {label:?} is {rect:?}");
                }
            }
        }
    }
}
