//! Whatever a peer says of itself: nothing panics, nothing grows without bound.

use std::task::{Context, Poll, Waker};

use futures::io::Cursor;

use super::frame::{Frame, MAX_FRAME_BYTES};
use crate::{Profile, Status, mutator::fuzz, presence::Announcement, wire::Framed};

fn announcement() -> Announcement {
    let profile = Profile { name: "李伟 Ann".into(), status: Status::InCall };
    Announcement::new(&profile, 1_800_000_000_000, 7, 1_800_000_000_001)
}

#[test]
fn fuzz_announcements() {
    let later = br#"{"v":2,"name":"x","status":"free","session":1,"seq":2,"time":3,"new":[{}]}"#.to_vec();
    fuzz(&[announcement().encode(), later], |bytes| {
        if let Ok(said) = Announcement::decode(bytes) {
            assert_eq!(Announcement::decode(&said.encode()).unwrap(), said);
        }
    });
}

#[test]
fn fuzz_heartbeats_on_a_stream() {
    let mut stream = Framed::new(Cursor::new(Vec::new()), MAX_FRAME_BYTES);
    let frames = [Frame::Hello(announcement()), Frame::Beat, Frame::Goodbye { session: 7 }, Frame::Beat];
    let mut cx = Context::from_waker(Waker::noop());
    frames.iter().for_each(|frame| stream.push(&frame.encode()));
    assert!(stream.poll_flush(&mut cx).is_ready());
    let whole = stream.into_inner().into_inner();
    let samples = [whole, vec![0x80, 0x80, 1, b'{'], vec![0xff; 12], vec![0; 100]];
    fuzz(&samples, |bytes| {
        let mut stream = Framed::new(Cursor::new(bytes.to_vec()), MAX_FRAME_BYTES);
        while let Poll::Ready(Some(Ok(frame))) = stream.poll_next(&mut cx) {
            assert!(frame.len() <= MAX_FRAME_BYTES);
            let _understood_or_not = Frame::decode(&frame);
        }
    });
}
