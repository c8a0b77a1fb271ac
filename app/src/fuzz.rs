//! Whatever a link or a settings file holds: understood, or refused with a sentence.

#[path = "../../tests/fuzz/mutator.rs"]
mod mutator;

use mutator::fuzz;

use crate::{link::Link, name::validate_name, settings::Settings};

#[test]
fn fuzz_links() {
    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    let samples = [
        format!("parlor:{PEER}"),
        format!("parlor:{PEER}?addr=/ip4/192.0.2.7/tcp/4711&addr=/ip6/2001:db8::1/udp/1/quic-v1&later=1"),
        format!("parlor:{PEER}?addr=/dns4/node.example/tcp/443/wss/p2p/{PEER}/p2p-circuit"),
        "parlor:Qm?addr=%2Fip4".to_owned(),
        format!("parlor:{PEER}?name=Li%20Wei&node=/ip4/192.0.2.7/tcp/4001/p2p/{PEER}"),
        format!("parlor:node?addr=/ip4/192.0.2.7/tcp/4001/p2p/{PEER}"),
        format!("parlor:room?name=Chess&secret=e4%20e5&node=/ip4/192.0.2.7/tcp/4001/p2p/{PEER}"),
    ];
    fuzz(&samples, |bytes| match String::from_utf8_lossy(bytes).parse::<Link>() {
        Ok(link) => assert_eq!(link.to_string().parse(), Ok(link)),
        Err(error) => assert!(!error.to_string().is_empty()),
    });
}

#[test]
fn fuzz_names() {
    fuzz(&["Ann", "李伟 🎥", "a\u{202e}b\u{0}"], |bytes| {
        if let Ok(name) = validate_name(&String::from_utf8_lossy(bytes)) {
            assert!((1..=40).contains(&name.chars().count()) && !name.contains(char::is_control), "{name:?}");
        }
    });
}

#[test]
fn fuzz_settings() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("settings.toml");
    Settings { name: Some("Ann".into()), ..Settings::default() }.save(&file).unwrap();
    let samples =
        [std::fs::read(&file).unwrap(), b"name = [1, 2".to_vec(), b"# \xff\n[later]\nx = 1979-05-27".to_vec()];
    fuzz(&samples, |bytes| {
        std::fs::write(&file, bytes).unwrap();
        let (settings, damage) = Settings::load(&file);
        // What was read can be kept; what could not is set aside, whole.
        if damage.is_some() {
            assert_eq!(settings, Settings::default());
            let kept = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).find(|it| *it != file);
            let kept = kept.expect("the damaged file is kept");
            assert_eq!(std::fs::read(&kept).unwrap(), bytes);
            std::fs::remove_file(kept).unwrap();
        }
        settings.save(&file).unwrap();
        assert_eq!(Settings::load(&file).0, settings);
    });
}
