//! What a person chose, kept between starts.

use std::path::Path;

use parlor_media::{AudioSink, AudioSource, IcePolicy, VideoSource};
use parlor_net::{Circle, Multiaddr, PeerId};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{kept_file, link::node_of, name::validate_name, room::RoomKey};
pub use crate::{
    kept_file::{Damage, Fate, SaveError},
    name::MAX_NAME_CHARS,
};

/// What a person chose. Written as TOML; unknown keys are kept out, missing ones take their defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The name that others see; `None` until it was typed.
    #[serde(deserialize_with = "valid_name")]
    pub name: Option<String>,
    /// The language of the window.
    pub language: Language,
    /// Light or dark.
    pub theme: Theme,
    /// Where pictures come from.
    pub camera: VideoSource,
    /// Where sound comes from.
    pub microphone: AudioSource,
    /// Where sound goes.
    pub speaker: AudioSink,
    /// Free what the microphone hears of echo and noise, and bring it to an even level. Off is for music.
    pub voice_processing: bool,
    /// What becomes of devices that are plugged in.
    pub new_devices: NewDevices,
    /// Be listed in the lobby of the nodes, and see who is.
    pub lobby: bool,
    /// Use the nodes that ours know, too: be found there by contacts, and look for contacts there. Off unless somebody
    /// wants it, since nodes that nobody has chosen then see our address.
    pub learn_nodes: bool,
    /// Which paths calls may take.
    pub relay: IcePolicy,
    /// Open `parlor:` links that are clicked elsewhere.
    pub open_links: bool,
    /// Addresses of rendezvous nodes, each with `/p2p/<id>` at its end.
    #[serde(deserialize_with = "addresses_of_nodes")]
    pub nodes: Vec<Multiaddr>,
    /// The rooms that we are in.
    pub rooms: Vec<RoomKey>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: None,
            language: Language::default(),
            theme: Theme::default(),
            camera: VideoSource::default(),
            microphone: AudioSource::default(),
            speaker: AudioSink::default(),
            voice_processing: true,
            new_devices: NewDevices::Ask,
            lobby: true,
            learn_nodes: false,
            relay: IcePolicy::All,
            open_links: true,
            nodes: Vec::new(),
            rooms: Vec::new(),
        }
    }
}

impl Settings {
    /// Reads the settings. Without a file they are the defaults; with a damaged one too, and the second value says
    /// what became of it.
    pub fn load(path: &Path) -> (Self, Option<Damage>) {
        kept_file::load(path)
    }

    /// Writes the settings, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), SaveError> {
        kept_file::save(self, path)
    }

    /// Adds addresses of nodes that are not there yet, as far as there is space.
    pub fn add_nodes(&mut self, addresses: &[Multiaddr]) {
        for address in addresses {
            if self.nodes.len() < Circle::MAX_NODES && !self.nodes.contains(address) {
                self.nodes.push(address.clone());
            }
        }
    }

    /// Forgets a node with all of its addresses.
    pub fn remove_node(&mut self, node: PeerId) {
        self.nodes.retain(|address| node_of(address) != Some(node));
    }

    /// Adds a room, if there is space and it is not there yet.
    pub fn add_room(&mut self, room: RoomKey) {
        if self.rooms.len() < Circle::MAX_ROOMS && !self.rooms.contains(&room) {
            self.rooms.push(room);
        }
    }
}

fn valid_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let name = Option::<String>::deserialize(deserializer)?;
    name.map(|name| validate_name(&name)).transpose().map_err(de::Error::custom)
}

fn addresses_of_nodes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Multiaddr>, D::Error> {
    let addresses = Vec::<Multiaddr>::deserialize(deserializer)?;
    match addresses.iter().find(|address| node_of(address).is_none()) {
        Some(nameless) => Err(de::Error::custom(format!("{nameless} does not end with /p2p/ and the key of a node"))),
        None => Ok(addresses),
    }
}

/// The language of the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Language {
    /// As the system's, English if Parlor does not speak it.
    #[default]
    #[serde(rename = "system")]
    System,
    /// English.
    #[serde(rename = "en")]
    English,
    /// Simplified Chinese.
    #[serde(rename = "zh-CN")]
    Chinese,
}

/// Light or dark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Theme {
    /// As the system's.
    #[default]
    System,
    /// Dark text on light.
    Light,
    /// Light text on dark.
    Dark,
}

/// What becomes of devices that are plugged in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewDevices {
    /// They are used at once.
    Use,
    /// The person is asked.
    #[default]
    Ask,
    /// Nothing.
    Ignore,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const NODE: &str = "/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    fn chosen() -> Settings {
        Settings {
            name: Some("李伟".into()),
            language: Language::Chinese,
            theme: Theme::Dark,
            camera: VideoSource::File("clip.y4m".into()),
            microphone: AudioSource::Tone,
            speaker: AudioSink::Device("hw:0".into()),
            voice_processing: false,
            new_devices: NewDevices::Use,
            lobby: false,
            learn_nodes: true,
            relay: IcePolicy::RelayOnly,
            open_links: false,
            nodes: vec![NODE.parse().unwrap()],
            rooms: vec![RoomKey::new("Chess", "e4 \"e5\"").unwrap()],
        }
    }

    #[test]
    fn settings_survive_being_saved_and_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("settings.toml");
        for settings in [Settings::default(), chosen()] {
            settings.save(&file).unwrap();
            assert_eq!(Settings::load(&file), (settings, None));
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing but the settings is left behind");
    }

    #[test]
    fn the_first_start_has_the_defaults_and_no_complaint() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Settings::load(&directory.path().join("settings.toml")), (Settings::default(), None));
    }

    #[test]
    fn missing_keys_are_defaults_and_unknown_ones_are_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("settings.toml");
        fs::write(&file, "theme = \"dark\"\nfrom_the_future = 7\n").unwrap();
        let expected = Settings { theme: Theme::Dark, ..Settings::default() };
        assert_eq!(Settings::load(&file), (expected, None));
    }

    #[test]
    fn a_damaged_file_is_set_aside_whole_and_none_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("settings.toml");
        let damaged: [&[u8]; 7] = [
            b"name = ",
            b"theme = \"mauve\"",
            b"name = \"a\\u202eb\"",
            b"camera = 7",
            b"\xff\xfe\0",
            b"nodes = [\"/ip4/192.0.2.7/tcp/4001\"]",
            b"[[rooms]]\nname = \"Chess\"\nsecret = \"\"",
        ];
        for (n, content) in damaged.into_iter().enumerate() {
            fs::write(&file, content).unwrap();
            let (settings, damage) = Settings::load(&file);
            let kept = directory.path().join(format!("settings.damaged-{}.toml", n + 1));
            let damage = damage.expect("the damage is told");
            assert_eq!(damage.fate, Fate::SetAside(kept.clone()));
            assert!(damage.to_string().contains(&kept.display().to_string()), "{damage}");
            assert_eq!(fs::read(kept).unwrap(), content);
            assert_eq!(settings, Settings::default());
        }
        assert!(!file.exists());
    }

    #[test]
    fn a_save_that_fails_says_why_and_keeps_the_old_settings() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("settings.toml");
        Settings::default().save(&file).unwrap();
        // A directory where the new file is to be written: nobody can write there, not even root.
        fs::create_dir(directory.path().join("settings.toml.new")).unwrap();
        let error = chosen().save(&file).unwrap_err();
        assert!(error.to_string().contains("settings.toml could not be saved: "), "{error}");
        assert_eq!(Settings::load(&file), (Settings::default(), None));
    }

    #[test]
    fn a_node_is_added_once_and_removed_with_all_its_addresses() {
        let mut settings = Settings::default();
        let tcp: Multiaddr = NODE.parse().unwrap();
        let quic: Multiaddr = NODE.replace("tcp/4001", "udp/4001/quic-v1").parse().unwrap();
        settings.add_nodes(&[tcp.clone(), quic.clone(), tcp.clone()]);
        assert_eq!(settings.nodes, [tcp.clone(), quic]);
        settings.remove_node(PeerId::random());
        assert_eq!(settings.nodes.len(), 2);
        settings.remove_node(node_of(&tcp).unwrap());
        assert_eq!(settings.nodes, []);
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_the_settings() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("settings.toml");
        chosen().save(&file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
