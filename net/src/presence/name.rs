use libp2p::PeerId;

/// The longest name that is shown, in characters.
const MAX_NAME_CHARS: usize = 40;

/// Makes a name that somebody else chose fit to be shown: one line, nothing invisible, nothing that turns the text
/// around, not empty.
pub(super) fn sanitise(name: &str, peer: PeerId) -> String {
    let visible: String =
        name.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|c| !is_trick(*c)).collect();
    let mut shown = String::new();
    for word in visible.split_whitespace() {
        if !shown.is_empty() {
            shown.push(' ');
        }
        shown.push_str(word);
    }
    if let Some((end, _)) = shown.char_indices().nth(MAX_NAME_CHARS) {
        shown.truncate(end);
    }
    let shown = shown.trim_end();
    if shown.is_empty() {
        let id = peer.to_base58();
        return id[id.len().saturating_sub(6)..].to_owned();
    }
    shown.to_owned()
}

/// Control characters, and the format characters that hide text or reverse it (Unicode Standard Annex 9). The joiners
/// stay: scripts and emoji need them.
fn is_trick(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_any_script_stay_as_they_are() {
        for name in ["Li Wei", "李伟", "Zoë", "👩‍👩‍👧", "نور"] {
            assert_eq!(sanitise(name, PeerId::random()), name);
        }
    }

    #[test]
    fn tricks_are_taken_out() {
        assert_eq!(sanitise(" a\nb\u{202e}c\u{200b}\t\u{7}  d ", PeerId::random()), "a bc d");
        assert_eq!(sanitise(&"x".repeat(500), PeerId::random()).len(), MAX_NAME_CHARS);
    }

    #[test]
    fn a_name_of_nothing_becomes_the_end_of_the_id() {
        let peer = PeerId::random();
        assert!(peer.to_base58().ends_with(&sanitise("\u{200b} \n", peer)));
    }

    proptest! {
        #[test]
        fn a_shown_name_is_short_one_line_and_stays_so(name in any::<String>()) {
            let peer = PeerId::random();
            let shown = sanitise(&name, peer);
            prop_assert!((1..=MAX_NAME_CHARS).contains(&shown.chars().count()));
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert_eq!(sanitise(&shown, peer), shown.clone());
        }
    }
}
