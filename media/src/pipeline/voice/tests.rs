//! Voices back to back through channels, as the transport would join them.

use std::{
    sync::mpsc::{self, sync_channel},
    time::Duration,
};

use super::*;
use crate::audio::{clock, mixer::tests::level_at};

/// Joins one voice's packets to another's, on a thread that ends with the sender.
fn join(mut from: tokio::sync::mpsc::Receiver<OutgoingPacket>, to: mpsc::SyncSender<IncomingPacket>) {
    thread::spawn(move || {
        while let Some(packet) = from.blocking_recv() {
            let _ = to.try_send(IncomingPacket {
                sequence: packet.sequence,
                timestamp: packet.timestamp,
                marker: packet.marker,
                payload: packet.payload,
                codec: None,
                arrived: clock::now(),
                captured_unix_us: packet.captured_unix_us,
            });
        }
    });
}

struct Pair {
    voices: [Voice; 2],
    events: mpsc::Receiver<(usize, VoiceEvent)>,
}

fn pair(ends: [(AudioSource, AudioSink); 2]) -> Pair {
    let (told, events) = mpsc::channel();
    let (out_a, from_a) = tokio::sync::mpsc::channel(64);
    let (out_b, from_b) = tokio::sync::mpsc::channel(64);
    let (to_a, in_a) = sync_channel(256);
    let (to_b, in_b) = sync_channel(256);
    join(from_a, to_b);
    join(from_b, to_a);
    let [a, b] = ends;
    let open = |i: usize, (microphone, speaker): (AudioSource, AudioSink), outgoing, incoming| {
        let told = told.clone();
        Voice::open(&microphone, &speaker, true, Timing::default(), outgoing, incoming, move |event| {
            let _ = told.send((i, event));
        })
    };
    let voices = [open(0, a, out_a, in_a), open(1, b, out_b, in_b)];
    Pair { voices, events }
}

impl Pair {
    fn wait_for(&self, wanted: impl Fn(&(usize, VoiceEvent)) -> bool) -> (usize, VoiceEvent) {
        let deadline = clock::now() + Duration::from_secs(10);
        loop {
            let left = deadline.saturating_duration_since(clock::now());
            let event = self.events.recv_timeout(left).expect("the event comes");
            if wanted(&event) {
                return event;
            }
        }
    }

    /// Waits until the statistics of a voice satisfy a condition.
    fn wait_until(&self, voice: usize, condition: impl Fn(&AudioRecvStats) -> bool) -> AudioRecvStats {
        let deadline = clock::now() + Duration::from_secs(10);
        loop {
            let stats = self.voices[voice].stats();
            if condition(&stats) {
                return stats;
            }
            assert!(clock::now() < deadline, "{stats:?}");
            clock::doze(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_tone_is_heard_at_the_other_end_at_its_pitch_and_level() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heard.wav");
    let pair = pair([(AudioSource::Tone, AudioSink::None), (AudioSource::None, AudioSink::File(path.clone()))]);
    pair.wait_for(|event| *event == (1, VoiceEvent::FirstSound));
    let stats = pair.wait_until(1, |stats| stats.packets >= 150);
    assert!((stats.level_dbfs + 15.05).abs() < 1.0, "{stats:?}");
    drop(pair);
    let heard: Vec<f32> =
        hound::WavReader::open(&path).unwrap().samples::<i16>().map(|s| f32::from(s.unwrap()) / 32_768.0).collect();
    // Piece by piece: on a busy machine, sound that comes late is stretched, and the tone's phase is then another.
    let median_level_at = |hz| {
        let mut levels: Vec<_> = heard[48_000..].chunks_exact(4800).map(|piece| level_at(hz, 48_000, piece)).collect();
        levels.sort_by(f32::total_cmp);
        levels[levels.len() / 2]
    };
    let tone = median_level_at(440.0);
    assert!((tone - 0.25).abs() < 0.03, "{tone} at 440 Hz");
    assert!(median_level_at(1_000.0) < 0.01);
}

#[test]
fn muting_silences_the_other_end_without_loss_and_unmuting_is_immediate() {
    let pair = pair([(AudioSource::Tone, AudioSink::None), (AudioSource::None, AudioSink::None)]);
    pair.wait_until(1, |stats| stats.level_dbfs > -20.0 && stats.packets > 60);
    pair.voices[0].set_muted(true);
    let muted = pair.wait_until(1, |stats| stats.level_dbfs < -100.0);
    assert!(muted.concealed < 0.05, "{muted:?}");
    pair.voices[0].set_muted(false);
    pair.wait_until(1, |stats| stats.level_dbfs > -30.0 && stats.packets > muted.packets + 10);
}

#[test]
fn files_that_cannot_be_used_are_told_and_the_call_goes_on() {
    let pair = pair([
        (AudioSource::File("/nonexistent/a.wav".into()), AudioSink::None),
        (AudioSource::None, AudioSink::File("/nonexistent/b.wav".into())),
    ]);
    let mut told: Vec<_> = (0..2)
        .map(|_| match pair.wait_for(|(_, event)| matches!(event, VoiceEvent::Problem(_))) {
            (voice, VoiceEvent::Problem(problem)) => (voice, problem.device, problem.problem, problem.detail),
            (_, VoiceEvent::FirstSound | VoiceEvent::InUse(_) | VoiceEvent::Refused(..)) => unreachable!("filtered"),
        })
        .collect();
    told.sort_by_key(|problem| problem.0);
    for (problem, device) in told.iter().zip([DeviceKind::Microphone, DeviceKind::Speaker]) {
        assert_eq!((problem.1, problem.2), (device, Problem::BadFile));
        assert!(problem.3.contains("/nonexistent/"), "{}", problem.3);
    }
    // Silence is sent in place of the one, and decoded in place of the other.
    pair.wait_until(1, |stats| stats.packets > 5);
}

#[test]
fn microphone_and_loudspeaker_are_replaced_while_the_voice_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heard.wav");
    let pair = pair([(AudioSource::None, AudioSink::None), (AudioSource::None, AudioSink::None)]);
    let before = pair.wait_until(1, |stats| stats.packets > 10);
    pair.voices[0].use_microphone(AudioSource::Tone);
    let in_use = VoiceEvent::InUse(DeviceChoice::Microphone(AudioSource::Tone));
    pair.wait_for(|event| *event == (0, in_use.clone()));
    pair.voices[1].use_speaker(AudioSink::File(path.clone()));
    pair.wait_for(|(voice, event)| *voice == 1 && matches!(event, VoiceEvent::InUse(DeviceChoice::Speaker(_))));
    let after = pair.wait_until(1, |stats| stats.level_dbfs > -20.0 && stats.packets > before.packets + 50);
    assert_eq!(after.late, before.late);
    let missing = AudioSource::File("/nonexistent/a.wav".into());
    pair.voices[0].use_microphone(missing.clone());
    let (_, refused) = pair.wait_for(|(_, event)| matches!(event, VoiceEvent::Refused(..)));
    let VoiceEvent::Refused(choice, problem) = refused else { unreachable!("filtered") };
    assert_eq!((choice, problem.problem), (DeviceChoice::Microphone(missing), Problem::BadFile));
    let refused = pair.voices[1].stats();
    pair.wait_until(1, |stats| stats.level_dbfs > -20.0 && stats.packets > refused.packets + 20);
    assert!(pair.voices[0].microphone_dbfs() > -20.0, "the tone goes on");
    drop(pair);
    assert!(hound::WavReader::open(&path).unwrap().len() > 20_000, "the tone was played into the file");
}

#[test]
fn stopping_is_prompt_and_waits_for_both_threads() {
    let pair = pair([(AudioSource::Tone, AudioSink::None), (AudioSource::Tone, AudioSink::None)]);
    pair.wait_until(0, |stats| stats.packets > 5);
    let shared: Vec<_> = pair.voices.iter().map(|voice| Arc::downgrade(&voice.shared)).collect();
    let started = clock::now();
    drop(pair.voices);
    assert!(started.elapsed() < Duration::from_millis(250), "{:?}", started.elapsed());
    assert!(shared.iter().all(|shared| shared.strong_count() == 0), "a thread outlives its voice");
}
