//! YUV4MPEG2, the simplest of all clip formats: a line of header, then raw frames. 4:2:0 with 8 bits alone.
//!
//! Frames are read from and written to disk one by one, so that a clip of any length costs the memory of one frame.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom, Write},
    path::Path,
};

use crate::{
    Frame,
    frame::{PlanesMut, Scaler},
};

const MAGIC: &[u8] = b"YUV4MPEG2";
/// Longer lines are no header of ours.
const MAX_LINE: u64 = 512;
/// What the encoder can take, either way up.
const SIZES: std::ops::RangeInclusive<u32> = 16..=3840;
const MAX_PIXELS: u64 = 3840 * 2160;

/// Why a clip can't be played.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Y4mError {
    /// The system says no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file is something else.
    #[error("not a YUV4MPEG2 file")]
    NotY4m,
    /// The header can't be understood or asks for what can't be played.
    #[error("{0}")]
    Header(String),
    /// The file has no whole frame.
    #[error("the file ends before its first frame is complete")]
    Empty,
    /// Where a frame has to begin, there is something else.
    #[error("frame {0} is damaged")]
    BadFrame(u64),
    /// The last frame is cut off.
    #[error("the file ends in the middle of frame {0}")]
    Truncated(u64),
}

/// Reads a clip, over and over.
pub(crate) struct Reader {
    file: BufReader<File>,
    header: Header,
    first_frame: u64,
    next: u64,
}

/// What the first line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Frames in so many seconds: 30000/1001 and the like are exact.
    pub(crate) frames: u32,
    pub(crate) seconds: u32,
}

impl Reader {
    pub(crate) fn open(path: &Path) -> Result<Self, Y4mError> {
        // Opening a pipe would wait for a writer, and a pipe has no beginning to go back to.
        if !std::fs::metadata(path)?.is_file() {
            return Err(Y4mError::NotY4m);
        }
        let mut file = BufReader::new(File::open(path)?);
        let line = read_line(&mut file)?.ok_or(Y4mError::NotY4m)?;
        let header = Header::parse(&line)?;
        let first_frame = file.stream_position()?;
        Ok(Self { file, header, first_frame, next: 0 })
    }

    pub(crate) fn header(&self) -> Header {
        self.header
    }

    /// Reads the next frame; `false` at the end of the clip.
    pub(crate) fn read(&mut self, planes: &mut PlanesMut<'_>) -> Result<bool, Y4mError> {
        if self.file.fill_buf()?.is_empty() {
            return if self.next == 0 { Err(Y4mError::Empty) } else { Ok(false) };
        }
        let cut = |next| if next == 0 { Y4mError::Empty } else { Y4mError::Truncated(next) };
        let line = read_line(&mut self.file)?.ok_or_else(|| cut(self.next))?;
        if line != b"FRAME" && !line.starts_with(b"FRAME ") {
            return Err(Y4mError::BadFrame(self.next));
        }
        for plane in [&mut *planes.y, &mut *planes.u, &mut *planes.v] {
            self.file.read_exact(plane).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => cut(self.next),
                _ => error.into(),
            })?;
        }
        self.next += 1;
        Ok(true)
    }

    /// Goes back to the first frame.
    pub(crate) fn rewind(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.first_frame))?;
        self.next = 0;
        Ok(())
    }
}

impl Header {
    fn parse(line: &[u8]) -> Result<Self, Y4mError> {
        let text = line.strip_prefix(MAGIC).and_then(|rest| std::str::from_utf8(rest).ok()).ok_or(Y4mError::NotY4m)?;
        let bad = |what: &str, token: &str| Y4mError::Header(format!("{what}: {token:?}"));
        let (mut width, mut height, mut rate) = (None, None, None);
        for token in text.split_ascii_whitespace() {
            let Some((kind, value)) = token.split_at_checked(1) else { return Err(bad("odd header", token)) };
            match kind {
                "W" => width = Some(value.parse().map_err(|_| bad("bad width", token))?),
                "H" => height = Some(value.parse().map_err(|_| bad("bad height", token))?),
                "F" => {
                    let parts = value.split_once(':').and_then(|(n, d)| Some((n.parse().ok()?, d.parse().ok()?)));
                    rate = Some(parts.ok_or_else(|| bad("bad frame rate", token))?);
                }
                "C" if !["420", "420jpeg", "420mpeg2", "420paldv"].contains(&value) => {
                    return Err(bad("only 4:2:0 with 8 bits can be played, this is", token));
                }
                "I" if !["p", "?"].contains(&value) => return Err(bad("interlaced clips can't be played", token)),
                // Chroma and interlacing that are fine, aspect ratio, comments.
                _ => {}
            }
        }
        let (Some(width), Some(height)) = (width, height) else {
            return Err(Y4mError::Header("the header has no size".to_owned()));
        };
        let pixels = u64::from(width) * u64::from(height);
        if !SIZES.contains(&width) || !SIZES.contains(&height) || pixels > MAX_PIXELS {
            return Err(Y4mError::Header(format!("pictures of {width} x {height} can't be played")));
        }
        let (frames, seconds): (u32, u32) = rate.unwrap_or((30, 1));
        if seconds == 0 || frames < seconds || u64::from(frames) > 240 * u64::from(seconds) {
            return Err(Y4mError::Header(format!("{frames}:{seconds} frames/s can't be played")));
        }
        Ok(Self { width, height, frames, seconds })
    }
}

/// A line without its end; `None` when the file ends before the line does.
fn read_line(file: &mut BufReader<File>) -> Result<Option<Vec<u8>>, Y4mError> {
    let mut line = Vec::new();
    file.take(MAX_LINE).read_until(b'\n', &mut line)?;
    Ok((line.pop() == Some(b'\n')).then_some(line))
}

/// Writes a clip, all of whose frames have the size of the first.
pub(crate) struct Writer<W> {
    out: W,
    width: u32,
    height: u32,
    scaler: Scaler,
}

impl<W: Write> Writer<W> {
    /// Writes the header. There are no times in this format: `fps` is what a player will assume.
    pub(crate) fn new(mut out: W, width: u32, height: u32, fps: u32) -> io::Result<Self> {
        writeln!(out, "YUV4MPEG2 W{width} H{height} F{fps}:1 Ip A1:1 C420jpeg XCOLORRANGE=LIMITED")?;
        Ok(Self { out, width, height, scaler: Scaler::default() })
    }

    /// Writes a frame; one of another size is stretched to the size of the clip.
    pub(crate) fn write(&mut self, frame: &Frame) -> io::Result<()> {
        self.out.write_all(b"FRAME\n")?;
        if (frame.width(), frame.height()) == (self.width, self.height) {
            return [frame.y(), frame.u(), frame.v()].into_iter().try_for_each(|plane| self.out.write_all(plane));
        }
        let frame = self.scaler.stretch(frame, self.width, self.height);
        [frame.y(), frame.u(), frame.v()].into_iter().try_for_each(|plane| self.out.write_all(plane))
    }

    /// Writes what is buffered.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MediaTime, frame::FramePool};

    fn open(content: &[u8]) -> Result<Reader, Y4mError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        Reader::open(file.path())
    }

    fn read(reader: &mut Reader) -> Result<bool, Y4mError> {
        let Header { width, height, .. } = reader.header();
        let mut more = false;
        FramePool::default()
            .try_frame(width, height, MediaTime::default(), |mut planes| {
                more = reader.read(&mut planes)?;
                Ok(())
            })
            .map(|_: Frame| more)
    }

    #[test]
    fn what_was_written_reads_back_in_a_loop() {
        let mut pool = FramePool::default();
        let mut content = Vec::new();
        let mut writer = Writer::new(&mut content, 17, 19, 25).unwrap();
        for value in [10, 20] {
            writer.write(&pool.frame(17, 19, MediaTime::default(), |planes| planes.y.fill(value))).unwrap();
        }
        let mut reader = open(&content).unwrap();
        assert_eq!(reader.header(), Header { width: 17, height: 19, frames: 25, seconds: 1 });
        for _ in 0..2 {
            assert!(read(&mut reader).unwrap());
            assert!(read(&mut reader).unwrap());
            assert!(!read(&mut reader).unwrap());
            reader.rewind().unwrap();
        }
    }

    #[test]
    fn a_frame_of_another_size_is_stretched_to_the_clips_size() {
        let mut pool = FramePool::default();
        let mut content = Vec::new();
        let mut writer = Writer::new(&mut content, 32, 16, 30).unwrap();
        writer.write(&pool.frame(63, 33, MediaTime::default(), |planes| planes.y.fill(7))).unwrap();
        let pixels = &content[content.len() - 32 * 16 * 3 / 2..];
        assert!(pixels[..32 * 16].iter().all(|&luma| luma == 7));
        assert!(read(&mut open(&content).unwrap()).unwrap());
    }

    #[test]
    fn clips_that_cannot_be_played_say_why() {
        let cases: [(&[u8], &str); 12] = [
            (b"", "not a YUV4MPEG2 file"),
            (b"RIFF....AVI \n", "not a YUV4MPEG2 file"),
            (b"YUV4MPEG2 W64 H64", "not a YUV4MPEG2 file"),
            (b"YUV4MPEG2\n", "the header has no size"),
            (b"YUV4MPEG2 W64 Hx F30:1\n", "bad height: \"Hx\""),
            (b"YUV4MPEG2 W4000000000 H4000000000\n", "pictures of 4000000000 x 4000000000 can't be played"),
            (b"YUV4MPEG2 W99999999999 H2\n", "bad width: \"W99999999999\""),
            (b"YUV4MPEG2 W8 H8\n", "pictures of 8 x 8 can't be played"),
            (b"YUV4MPEG2 W64 H64 F30:0\n", "30:0 frames/s can't be played"),
            (b"YUV4MPEG2 W64 H64 F30\n", "bad frame rate: \"F30\""),
            (b"YUV4MPEG2 W64 H64 C420p10\n", "only 4:2:0 with 8 bits can be played, this is: \"C420p10\""),
            (b"YUV4MPEG2 W64 H64 It\n", "interlaced clips can't be played: \"It\""),
        ];
        for (content, message) in cases {
            assert_eq!(open(content).err().map(|error| error.to_string()).as_deref(), Some(message));
        }
        assert!(matches!(Reader::open(Path::new("/nowhere/clip.y4m")), Err(Y4mError::Io(_))));
    }

    #[test]
    fn a_clip_that_is_cut_off_or_damaged_says_where() {
        let header = b"YUV4MPEG2 W16 H16\n".to_vec();
        let frame = [b"FRAME Ip\n".as_slice(), &[0; 16 * 16 * 3 / 2]].concat();
        let after_one_frame = |rest: &[u8]| {
            let mut reader = open(&[&header, &frame, rest].concat()).unwrap();
            assert!(read(&mut reader).unwrap());
            read(&mut reader).unwrap_err().to_string()
        };
        assert_eq!(after_one_frame(&frame[..200]), "the file ends in the middle of frame 1");
        assert_eq!(after_one_frame(b"FRA"), "the file ends in the middle of frame 1");
        assert_eq!(after_one_frame(b"garbage\n"), "frame 1 is damaged");
        for nothing in [&header[..], &[&header[..], &frame[..99]].concat()] {
            let error = read(&mut open(nothing).unwrap()).unwrap_err();
            assert_eq!(error.to_string(), "the file ends before its first frame is complete");
        }
    }
}
