//! What the parts may know of each other.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the app is a member of the workspace").to_owned()
}

/// The sources of the call machine without its tests, and without comments.
fn sources() -> Vec<(PathBuf, String)> {
    let app = root().join("app/src");
    let inside = fs::read_dir(app.join("call")).unwrap().map(|entry| entry.unwrap().path());
    let files = inside.filter(|path| path.is_file() && !path.ends_with("tests.rs")).chain([app.join("call.rs")]);
    files.map(|path| (path.clone(), without_comments(&fs::read_to_string(path).unwrap()))).collect()
}

fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_call_machine_imports_plain_data_and_reads_no_clock() {
    let sources = sources();
    assert!(sources.len() > 8, "the sources were found");
    let forbidden = [
        "tokio",
        "futures",
        "async ",
        ".await",
        "egui",
        "eframe",
        "webrtc",
        "rtc::",
        "cpal",
        "nokhwa",
        "libp2p",
        "rand",
        "Instant::now",
        "SystemTime",
        ".elapsed()",
        "std::fs",
        "std::net",
        "std::thread",
        "std::sync",
        "crate::engine",
        "crate::ui",
        "crate::settings",
        "Session",
        "Handle",
    ];
    for (path, source) in sources {
        for word in forbidden {
            assert!(!source.contains(word), "{} uses {word}", path.display());
        }
        let imports = source.lines().filter_map(|line| line.trim_start_matches("pub ").strip_prefix("use "));
        for import in imports {
            let root = import.split("::").next().unwrap();
            let plain = ["std", "parlor_media", "parlor_net", "tracing", "serde", "super", "crate"];
            let own = path.with_extension("").join(root).with_extension("rs").is_file();
            assert!(plain.contains(&root) || own, "{} imports {import}", path.display());
        }
    }
}

#[test]
fn network_and_media_do_not_know_each_other_nor_the_app() {
    for (member, strangers) in
        [("net", ["parlor-media", "webrtc", "eframe"]), ("media", ["parlor-net", "libp2p", "eframe"])]
    {
        let manifest: toml::Table =
            fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap().parse().unwrap();
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(dependencies) = manifest.get(section).and_then(toml::Value::as_table) else { continue };
            for stranger in strangers.into_iter().chain(["parlor", "egui"]) {
                assert!(!dependencies.contains_key(stranger), "{member} has {stranger} among its {section}");
            }
        }
    }
}
