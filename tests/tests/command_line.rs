//! What a person or a script may do wrong when starting Parlor: each mistake gets a clear sentence, and nothing breaks.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of #[test]")]

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command, time::Duration};

use parlor_tests::{Peer, SOON, parlor};

/// Runs `parlor` to its end; exit code and stderr.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(parlor()).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn headless(name: &str, data_dir: &Path, rest: &[&str]) -> (Option<i32>, String) {
    let fixed = ["headless", "--name", name, "--no-lan", "--duration", "0.5", "--data-dir", data_dir.to_str().unwrap()];
    run(&[&fixed, rest].concat())
}

#[test]
fn a_wrong_flag_is_explained_and_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let wrong: [&[&str]; 13] = [
        &["--dial", "not-an-address"],
        &["--camera", "file:"],
        &["--camera", ""],
        &["--mic", "file:"],
        &["--speaker", ""],
        &["--video-out", "screen"],
        &["--video-codec", "av1"],
        &["--accept", "everybody"],
        &["--kind", "smell"],
        &["--hangup-after=-1"],
        &["--duration", "soon"],
        &["--stats-every", "0"],
        &["--no-such-flag"],
    ];
    for flags in wrong {
        let (code, message) = headless("Ann", dir.path(), flags);
        assert_eq!(code, Some(2), "{flags:?}: {message}");
        let flag = flags[0].split('=').next().unwrap();
        assert!(message.contains(flag), "{flags:?} is not named in: {message}");
        assert!(!message.contains("panicked"), "{message}");
    }
}

#[test]
fn a_name_that_is_no_name_is_explained_and_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["", "   ", "a\u{7}b", "a\nb", &"x".repeat(41)] {
        let (code, message) = headless(name, dir.path(), &[]);
        assert_eq!(code, Some(2), "{name:?}: {message}");
        assert!(!message.is_empty() && !message.contains("panicked"), "{name:?}: {message}");
    }
}

#[test]
fn a_second_copy_on_the_same_data_directory_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let mut first = Peer::named("Ann").without_media().data_dir(home.path()).launch_alone();
    first.wait_until_ready();
    let (code, message) = headless("Ann", home.path(), &[]);
    assert!(code.is_some_and(|code| code != 0), "{message}");
    assert!(message.contains(home.path().to_str().unwrap()), "the directory is not named in: {message}");
    // The first goes on, and makes room when it ends.
    assert!(first.terminate().success());
    assert_eq!(headless("Ann", home.path(), &[]).0, Some(0));
}

#[test]
fn a_data_directory_that_cannot_be_made_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a-file");
    fs::write(&file, "").unwrap();
    // /proc is read-only even for root.
    for impossible in [file.join("data"), "/proc/parlor".into()] {
        let (code, message) = headless("Ann", &impossible, &[]);
        assert!(code.is_some_and(|code| code != 0 && code != 101), "{message}");
        assert!(message.contains(impossible.to_str().unwrap()), "the directory is not named in: {message}");
    }
}

#[test]
fn damaged_settings_and_a_damaged_key_are_set_aside() {
    let home = tempfile::tempdir().unwrap();
    let start = || {
        let mut peer = Peer::named("Ann").without_media().data_dir(home.path()).launch_alone();
        peer.wait_until_ready();
        peer
    };
    let mut before = start();
    assert!(before.terminate().success());
    let (settings, identity) = (home.path().join("settings.toml"), home.path().join("identity"));
    assert_eq!(fs::metadata(&identity).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&settings, "name = [1, 2").unwrap();
    fs::write(&identity, "not a key").unwrap();

    let mut after = start();
    assert_ne!(before.id(), after.id());
    for file in ["settings", "identity"] {
        after.expect_where("error", SOON, |error| error["message"].as_str().is_some_and(|text| text.contains(file)));
    }
    assert!(after.terminate().success());
    let kept: Vec<String> = (fs::read_dir(home.path()).unwrap())
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok())
        .collect();
    assert!(kept.iter().any(|text| text == "name = [1, 2"), "the damaged settings are lost");
    assert!(kept.iter().any(|text| text == "not a key"), "the damaged key is lost");
}

#[test]
fn nonsense_on_stdin_is_answered_and_changes_nothing() {
    let mut ann = Peer::named("Ann").without_media().launch_alone();
    ann.wait_until_ready();
    let nonsense =
        [r#"{"do":"dance"}"#, r#"{"do":"call"}"#, r#"{"do":"call","peer":"Nobody"}"#, "[]", r#""""#, "42", "null"];
    for line in nonsense {
        ann.tell(&serde_json::from_str(line).unwrap());
        let error = ann.expect("error", SOON);
        assert!(!error["message"].as_str().unwrap().is_empty(), "{line}");
    }
    // Commands that make no sense now are ignored.
    for command in ["accept", "decline", "hangup", "quit"] {
        ann.tell(&serde_json::json!({ "do": command }));
    }
    assert!(ann.exit_status(SOON).success());
    assert!(ann.so_far("ended").is_empty());
}

#[test]
fn it_quits_by_itself_after_its_duration() {
    let mut ann = Peer::named("Ann").without_media().args(["--duration", "0.5"]).launch_alone();
    assert!(ann.exit_status(Duration::from_secs(10)).success());
}
