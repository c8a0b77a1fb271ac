//! A microphone to a loudspeaker through two voices back to back, as in a call without a network; prints what happens
//! and how receiving does. For trying devices: unplugging, changing the default, busy machines.
//!
//! ```sh
//! cargo run -p parlor-media --example voice_loop -- SECONDS [MICROPHONE [SPEAKER]]
//! ```
#![allow(clippy::print_stdout, reason = "a command-line tool")]

use std::{
    sync::mpsc::sync_channel,
    thread,
    time::{Duration, Instant},
};

use parlor_media::{
    AudioSink, AudioSource, audio,
    pipeline::{Timing, voice::Voice},
    rtp::IncomingPacket,
};

#[expect(clippy::disallowed_methods, reason = "a tool that runs in real time")]
fn now() -> Instant {
    Instant::now()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let seconds: u64 = args.next().ok_or("usage: voice_loop SECONDS [MICROPHONE [SPEAKER]]")?.parse()?;
    let microphone: AudioSource = args.next().as_deref().unwrap_or("default").parse()?;
    let speaker: AudioSink = args.next().as_deref().unwrap_or("default").parse()?;
    println!("microphones: {:?}\nspeakers: {:?}", audio::microphones(), audio::speakers());

    let start = now();
    let told = move |who: &'static str| move |event| println!("{:6} ms  {who}: {event:?}", start.elapsed().as_millis());
    let (sent, mut packets) = tokio::sync::mpsc::channel(64);
    let (silence, _ignored) = tokio::sync::mpsc::channel(64);
    let (feed, incoming) = sync_channel(256);
    let (_nothing, from_nobody) = sync_channel(1);
    let from = Voice::open(&microphone, &AudioSink::None, true, Timing::default(), sent, from_nobody, told("sender"));
    let to = Voice::open(&AudioSource::None, &speaker, true, Timing::default(), silence, incoming, told("receiver"));
    let wire = thread::spawn(move || {
        while let Some(packet) = packets.blocking_recv() {
            let _ = feed.try_send(IncomingPacket {
                sequence: packet.sequence,
                timestamp: packet.timestamp,
                marker: packet.marker,
                payload: packet.payload,
                codec: None,
                arrived: now(),
                captured_unix_us: packet.captured_unix_us,
            });
        }
    });
    for _ in 0..seconds {
        thread::sleep(Duration::from_secs(1));
        println!("{:6} ms  {:?}", start.elapsed().as_millis(), to.stats());
    }
    let stopping = now();
    drop((from, to));
    println!("stopped in {} ms", stopping.elapsed().as_millis());
    wire.join().map_err(|_| "the wire panicked")?;
    Ok(())
}
