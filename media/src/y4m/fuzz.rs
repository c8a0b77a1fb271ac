//! Whatever a clip holds: frames or a sentence.

use super::{Header, Reader};
use crate::{Frame, MediaTime, frame::FramePool, mutator::fuzz};

#[test]
fn fuzz_y4m_clips() {
    let clip = |header: &str, frame: usize| {
        let frame = [b"FRAME\n", vec![7; frame].as_slice()].concat();
        [format!("YUV4MPEG2 {header}\n").as_bytes(), &frame, &frame].concat()
    };
    let samples = [
        clip("W16 H16 F30:1 Ip A1:1 C420jpeg", 384),
        clip("W17 H19 F30000:1001 C420 XSTUFF", 17 * 19 + 2 * 9 * 10),
        clip("W160 H120", 28_800),
    ];
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut pool = FramePool::default();
    fuzz(&samples, |bytes| {
        std::fs::write(file.path(), bytes).unwrap();
        let Ok(mut reader) = Reader::open(file.path()) else { return };
        let Header { width, height, frames, seconds } = reader.header();
        assert!(width >= 16 && height >= 16 && frames >= seconds && seconds > 0);
        // A header may promise more than a fuzzer has time for.
        if u64::from(width) * u64::from(height) > 1 << 18 {
            return;
        }
        for _ in 0..4 {
            let mut more = false;
            let read = pool.try_frame(width, height, MediaTime::default(), |mut planes| {
                more = reader.read(&mut planes)?;
                Ok::<_, super::Y4mError>(())
            });
            let _: Result<Frame, _> = read;
            if !more && reader.rewind().is_err() {
                return;
            }
        }
    });
}
