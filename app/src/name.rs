//! Names: labels that people choose for themselves, and that others' screens must be able to bear.

/// The longest name, in characters.
pub const MAX_NAME_CHARS: usize = 40;

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing of it can be seen.
    #[error("a name needs at least one visible character")]
    Empty,
    /// It has too many characters.
    #[error("a name has at most {MAX_NAME_CHARS} characters")]
    TooLong,
    /// It contains a character that controls how text is shown instead of being shown.
    #[error("a name can't contain control characters")]
    ControlCharacter,
}

/// The name that somebody typed: trimmed, 1 to [`MAX_NAME_CHARS`] characters of any script.
pub fn validate_name(text: &str) -> Result<String, NameError> {
    let name = text.trim();
    if !name.contains(is_visible) {
        return Err(NameError::Empty);
    }
    if name.contains(controls_text) {
        return Err(NameError::ControlCharacter);
    }
    if name.chars().count() > MAX_NAME_CHARS {
        return Err(NameError::TooLong);
    }
    Ok(name.to_owned())
}

/// The name that somebody else sent, made fit for display: it may be anything.
pub fn display_name(text: &str) -> String {
    let shown: String = text.trim().chars().filter(|&c| !controls_text(c)).take(MAX_NAME_CHARS).collect();
    let shown = shown.trim();
    if shown.contains(is_visible) { shown.to_owned() } else { NAMELESS.to_owned() }
}

/// Stands for a name of which nothing can be seen.
const NAMELESS: &str = "?";

/// Line breaks, control codes, and the marks that reorder text around them (Unicode TR 36, section 2.5). The joiners
/// U+200C and U+200D are not among them: Persian, Hindi and emoji are written with them.
fn controls_text(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061C}' | '\u{180E}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0001}'
        )
}

/// Leaves ink on the screen.
fn is_visible(c: char) -> bool {
    let blank = matches!(
        c,
        '\u{00AD}' | '\u{034F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{200C}' | '\u{200D}'
        | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FFA0}' | '\u{E0000}'..='\u{E0FFF}'
    );
    !(blank || c.is_whitespace() || controls_text(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_script_are_names_and_are_trimmed() {
        for name in ["Ada", "李伟", "محمد", "می‌خواهم", "Zoë 👩‍🚀", "O'Neill-Łoś", "a b"] {
            assert_eq!(validate_name(&format!("  {name}\t\n")).as_deref(), Ok(name));
            assert_eq!(display_name(&format!(" {name} ")), name);
        }
    }

    #[test]
    fn forty_characters_are_a_name_and_forty_one_are_not_whatever_their_bytes() {
        for c in ["x", "é", "伟", "🦀"] {
            assert!(validate_name(&c.repeat(40)).is_ok());
            assert_eq!(validate_name(&c.repeat(41)), Err(NameError::TooLong));
            assert_eq!(display_name(&c.repeat(10_000)), c.repeat(40));
        }
    }

    #[test]
    fn nothing_visible_is_no_name() {
        for text in ["", "   ", "\t\n", "\u{3000}", "\u{200D}", "\u{3164}\u{2800}", "\u{202E}", "\u{FE0F}"] {
            assert_eq!(validate_name(text), Err(NameError::Empty), "{text:?}");
            assert_eq!(display_name(text), "?", "{text:?}");
        }
    }

    #[test]
    fn what_controls_text_is_refused_when_typed_and_left_out_when_received() {
        for c in ["\n", "\0", "\u{1b}", "\u{7f}", "\u{85}", "\u{202E}", "\u{2066}", "\u{200F}", "\u{2028}", "\u{FEFF}"]
        {
            let text = format!("A{c}da");
            assert_eq!(validate_name(&text), Err(NameError::ControlCharacter), "{text:?}");
            assert_eq!(display_name(&text), "Ada", "{text:?}");
        }
    }
}
