//! What a person must know to be in a room: its name and its secret.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::name::{NameError, validate_name};

/// The longest secret, in characters.
pub const MAX_SECRET_CHARS: usize = 128;

/// The name and the secret of a room. Whoever knows both is in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct RoomKey {
    /// The name: 1 to 40 characters.
    pub name: String,
    /// The secret.
    pub secret: Secret,
}

/// What nobody should read over a shoulder or in a log.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// Why something is no key of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    /// The name can't be one.
    #[error("the room's name is no name: {0}")]
    Name(NameError),
    /// Nothing was given as the secret.
    #[error("a room needs a secret: without one, anybody could join who guesses its name")]
    NoSecret,
    /// The secret is too long, or has characters that can't be typed.
    #[error("a room's secret has at most {MAX_SECRET_CHARS} characters, none of them invisible")]
    Secret,
}

impl RoomKey {
    /// Checks what was typed. Blanks around both do not count.
    pub fn new(name: &str, secret: &str) -> Result<Self, RoomError> {
        let name = validate_name(name).map_err(RoomError::Name)?;
        let secret = secret.trim();
        if secret.is_empty() {
            return Err(RoomError::NoSecret);
        }
        if secret.chars().count() > MAX_SECRET_CHARS || secret.contains(char::is_control) {
            return Err(RoomError::Secret);
        }
        Ok(Self { name, secret: Secret(secret.to_owned()) })
    }
}

impl Secret {
    /// The secret itself, for whoever derives keys from it or passes it on as the person wishes.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// `NAME:SECRET`, as on the command line.
impl FromStr for RoomKey {
    type Err = RoomError;

    fn from_str(text: &str) -> Result<Self, RoomError> {
        let (name, secret) = text.split_once(':').ok_or(RoomError::NoSecret)?;
        Self::new(name, secret)
    }
}

#[derive(Deserialize)]
struct Unchecked {
    name: String,
    secret: String,
}

impl TryFrom<Unchecked> for RoomKey {
    type Error = RoomError;

    fn try_from(Unchecked { name, secret }: Unchecked) -> Result<Self, RoomError> {
        Self::new(&name, &secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_has_a_name_and_a_secret_and_the_secret_may_hold_colons() {
        let room: RoomKey = "Chess club : e4:e5 ".parse().unwrap();
        assert_eq!((room.name.as_str(), room.secret.reveal()), ("Chess club", "e4:e5"));
    }

    #[test]
    fn what_is_no_room_says_what_is_missing() {
        assert_eq!("Chess".parse::<RoomKey>(), Err(RoomError::NoSecret));
        assert_eq!("Chess: ".parse::<RoomKey>(), Err(RoomError::NoSecret));
        assert_eq!(" :secret".parse::<RoomKey>(), Err(RoomError::Name(NameError::Empty)));
        assert_eq!(RoomKey::new("Chess", &"x".repeat(129)), Err(RoomError::Secret));
        assert_eq!(RoomKey::new("Chess", "a\u{1b}b"), Err(RoomError::Secret));
    }

    #[test]
    fn a_secret_is_not_printed() {
        let room = RoomKey::new("Chess", "e4 e5").unwrap();
        assert!(!format!("{room:?}").contains("e4"), "{room:?}");
    }
}
