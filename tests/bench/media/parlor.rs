//! A call between two headless Parlors.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use parlor_tests::{Peer, SOON};

use crate::{
    links::{Beside, Link},
    options::Options,
    recording::{Line, ends, keep_some},
};

pub(crate) fn measure(link: &Link, run: u64, options: &Options, folder: &Path) -> anyhow::Result<()> {
    let mut path = Line::new(run, link.beside);
    let picture = |end: &str| folder.join(format!("{end}.y4m"));
    let [mut ann, mut bob] = [0, 1].map(|index| {
        let (end, host) = ends(&path.lan)[index];
        let file = |what: &str| folder.join(format!("{end}{what}"));
        let name = if index == 0 { "Ann" } else { "Bob" };
        let starting = Peer::named(name)
            .camera(format!("file:{}", options.clip.display()))
            .microphone(format!("file:{}", options.speech[index].display()))
            .speaker(format!("file:{}", file("-heard.wav").display()))
            .args(["--stats-every", "1", "--frame-log"])
            .args([file(".csv")])
            .args(["--video-out".into(), format!("samples:{}", picture(end).display())]);
        let kind = if link.video { "video" } else { "audio" };
        let starting = if index == 0 { starting.args(["--call", "Bob", "--kind", kind]) } else { starting.accepting() };
        starting.start(host)
    });
    let over = AtomicBool::new(false);
    thread::scope(|scope| -> anyhow::Result<()> {
        let is_over = || over.load(Ordering::Relaxed);
        if link.video {
            for (end, _) in ends(&path.lan) {
                let (growing, kept): (PathBuf, PathBuf) = (picture(end), folder.join(format!("{end}.luma")));
                scope.spawn(move || keep_some(&growing, &kept, &is_over));
            }
        }
        let first = if link.video { "first_video_frame" } else { "first_audio" };
        ann.expect(first, SOON);
        bob.expect(first, SOON);
        let _beside = (link.beside == Beside::Call).then(|| call_beside(&path, options));
        path.run(link, folder)?;
        let said = |peer: &mut Peer| (peer.so_far("stats"), peer.so_far("ended"));
        let [(ann_said, ann_ended), (bob_said, bob_ended)] = [said(&mut ann), said(&mut bob)];
        anyhow::ensure!(ann_ended.is_empty() && bob_ended.is_empty(), "the call ended by itself");
        ann.terminate();
        bob.terminate();
        over.store(true, Ordering::Relaxed);
        for (end, stats) in [("ann", ann_said), ("bob", bob_said)] {
            fs::write(folder.join(format!("{end}.json")), format!("{}\n", serde_json::Value::from(stats)))?;
        }
        Ok(())
    })?;
    for (index, (end, _)) in ends(&path.lan).into_iter().enumerate() {
        fs::copy(&options.speech[index], folder.join(format!("{end}-said.wav")))?;
        let _not_in_a_voice_call = fs::remove_file(picture(end));
    }
    Ok(())
}

/// A second call, of which nothing is kept.
fn call_beside(line: &Line, options: &Options) -> [Peer; 2] {
    let camera = || format!("file:{}", options.clip.display());
    let mut peers = ["Cid", "Dan"].map(|name| {
        let index = usize::from(name == "Dan");
        let starting = Peer::named(name)
            .camera(camera())
            .microphone(format!("file:{}", options.speech[index].display()))
            .args(["--stats-every", "1"]);
        let starting = if index == 0 { starting.args(["--call", "Dan"]) } else { starting.accepting() };
        starting.start(&line.lan[2 + index])
    });
    peers.iter_mut().for_each(|peer| drop(peer.expect("first_video_frame", SOON)));
    peers
}
