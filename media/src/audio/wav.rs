//! WAV files as microphones and loudspeakers.

use std::{
    collections::VecDeque,
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};

use super::{Failure, PIECE, Piece, SAMPLE_RATE, resample::Resampler};
use crate::{Problem, pipe::refuse_pipe};

/// The smallest header there is: RIFF, `fmt ` and `data`.
const HEADER_LEN: u64 = 44;

/// A file that is played again and again, as 48 kHz mono.
pub(crate) struct WavLoop {
    path: PathBuf,
    reader: WavReader<BufReader<File>>,
    resampler: Resampler,
    ready: VecDeque<f32>,
    /// One read's worth of mono samples, kept to spare an allocation.
    mono: Vec<f32>,
}

impl WavLoop {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let bad = |words: &str| bad_file(path, words);
        // Opening a pipe would wait for a writer.
        if !std::fs::metadata(path).map_err(|error| bad(&error.to_string()))?.is_file() {
            return Err(bad("not a WAV file"));
        }
        let file = File::open(path).map_err(|error| bad(&error.to_string()))?;
        let file_len = file.metadata().map_err(|error| bad(&error.to_string()))?.len();
        let reader = WavReader::new(BufReader::new(file)).map_err(|error| bad(&words_for(&error)))?;
        let spec = reader.spec();
        if !matches!(
            (spec.sample_format, spec.bits_per_sample),
            (SampleFormat::Int, 8 | 16 | 24 | 32) | (SampleFormat::Float, 32)
        ) {
            return Err(bad(&format!("{} bit samples are not supported", spec.bits_per_sample)));
        }
        if spec.channels == 0 {
            return Err(bad("it has no channels"));
        }
        if reader.duration() == 0 {
            return Err(bad("it holds no sound"));
        }
        let promised = u64::from(reader.len()) * u64::from(spec.bits_per_sample / 8);
        let held = file_len.saturating_sub(HEADER_LEN);
        if held < promised {
            return Err(bad(&format!(
                "it is cut short: its header promises {promised} bytes of sound, {held} are there"
            )));
        }
        let resampler = Resampler::new(spec.sample_rate, SAMPLE_RATE).map_err(|failure| bad(&failure.detail))?;
        Ok(Self { path: path.to_owned(), reader, resampler, ready: VecDeque::new(), mono: Vec::new() })
    }

    /// The next 10 ms. An error is final.
    pub(crate) fn read(&mut self, piece: &mut Piece) -> Result<(), Failure> {
        while self.ready.len() < PIECE {
            self.read_chunk()?;
        }
        for (to, from) in piece.iter_mut().zip(self.ready.drain(..PIECE)) {
            *to = from;
        }
        Ok(())
    }

    fn read_chunk(&mut self) -> Result<(), Failure> {
        let spec = self.reader.spec();
        let frames = (spec.sample_rate as usize / 100).max(1);
        let wanted = frames * usize::from(spec.channels);
        self.mono.clear();
        let mut frame = Frame::new(spec.channels);
        let read = match spec.sample_format {
            SampleFormat::Float => self.reader.samples::<f32>().take(wanted).try_for_each(|sample| {
                frame.push(sample?, &mut self.mono);
                Ok(())
            }),
            SampleFormat::Int => {
                let scale = 1.0 / (1_i64 << (spec.bits_per_sample - 1)) as f32;
                self.reader.samples::<i32>().take(wanted).try_for_each(|sample| {
                    frame.push(sample? as f32 * scale, &mut self.mono);
                    Ok(())
                })
            }
        };
        read.map_err(|error: hound::Error| bad_file(&self.path, &words_for(&error)))?;
        if self.mono.len() < frames {
            // Opened anew, because hound's `seek` miscounts samples that are narrower than their container.
            self.reader = WavReader::open(&self.path).map_err(|error| bad_file(&self.path, &words_for(&error)))?;
            if self.reader.spec() != spec || self.reader.duration() == 0 {
                return Err(bad_file(&self.path, "it was changed while it was played"));
            }
        }
        let ready = &mut self.ready;
        self.resampler.process(&self.mono, |samples| ready.extend(samples));
        Ok(())
    }
}

/// Averages the channels of a frame.
struct Frame {
    channels: u16,
    filled: u16,
    sum: f32,
}

impl Frame {
    fn new(channels: u16) -> Self {
        Self { channels, filled: 0, sum: 0.0 }
    }

    fn push(&mut self, sample: f32, mono: &mut Vec<f32>) {
        // A float file may hold anything; what is no number is silence.
        self.sum += if sample.is_finite() { sample.clamp(-4.0, 4.0) } else { 0.0 };
        self.filled += 1;
        if self.filled == self.channels {
            mono.push(self.sum / f32::from(self.channels));
            (self.filled, self.sum) = (0, 0.0);
        }
    }
}

/// A file that sound is recorded in: 48 kHz mono 16 bit.
pub(crate) struct WavSink {
    path: PathBuf,
    writer: WavWriter<std::io::BufWriter<File>>,
    pieces: u32,
}

impl WavSink {
    /// How often the header is brought up to date, so that the file is whole even if the process is killed.
    const FLUSH_EVERY: u32 = 50;

    /// A WAV file ends at 4 GiB.
    const MOST_PIECES: u32 = (u32::MAX - 1_000_000) / (2 * PIECE as u32);

    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        let spec =
            WavSpec { channels: 1, sample_rate: SAMPLE_RATE, bits_per_sample: 16, sample_format: SampleFormat::Int };
        refuse_pipe(path).map_err(|error| bad_file(path, &error.to_string()))?;
        let mut writer = WavWriter::create(path, spec).map_err(|error| bad_file(path, &words_for(&error)))?;
        writer.flush().map_err(|error| bad_file(path, &words_for(&error)))?;
        Ok(Self { path: path.to_owned(), writer, pieces: 0 })
    }

    /// Appends 10 ms. An error is final.
    pub(crate) fn write(&mut self, piece: &Piece) -> Result<(), Failure> {
        let path = &self.path;
        let failed = |error: hound::Error| bad_file(path, &words_for(&error));
        if self.pieces == Self::MOST_PIECES {
            return Err(bad_file(path, "the recording has reached 4 GiB, the most that a WAV file holds"));
        }
        self.pieces += 1;
        let mut samples = self.writer.get_i16_writer(PIECE as u32);
        for sample in piece {
            samples.write_sample((sample * 32_767.0).round() as i16);
        }
        samples.flush().map_err(failed)?;
        if self.pieces.is_multiple_of(Self::FLUSH_EVERY) {
            self.writer.flush().map_err(failed)?;
        }
        Ok(())
    }
}

fn bad_file(path: &Path, words: &str) -> Failure {
    Failure::new(Problem::BadFile, format!("{}: {words}", path.display()))
}

fn words_for(error: &hound::Error) -> String {
    match error {
        hound::Error::IoError(error) => error.to_string(),
        hound::Error::FormatError(words) => format!("not a WAV file: {words}"),
        hound::Error::Unsupported => "this kind of WAV file is not supported".to_owned(),
        hound::Error::TooWide | hound::Error::InvalidSampleFormat => "its samples do not fit its header".to_owned(),
        hound::Error::UnfinishedSample => "it ends in the middle of a sample".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audio::mixer::tests::{level_at, sine};

    fn write(path: &Path, spec: WavSpec, samples: &[f32]) {
        let mut writer = WavWriter::create(path, spec).unwrap();
        for sample in samples {
            for _ in 0..spec.channels {
                match spec.sample_format {
                    SampleFormat::Float => writer.write_sample(*sample).unwrap(),
                    SampleFormat::Int => {
                        let full = (1_i64 << (spec.bits_per_sample - 1)) as f32;
                        writer.write_sample((sample * full) as i32).unwrap();
                    }
                }
            }
        }
        writer.finalize().unwrap();
    }

    fn read_pieces(wav: &mut WavLoop, pieces: usize) -> Vec<f32> {
        let mut sound = Vec::new();
        let mut piece = [0.0; PIECE];
        for _ in 0..pieces {
            wav.read(&mut piece).unwrap();
            sound.extend_from_slice(&piece);
        }
        sound
    }

    #[test]
    fn every_common_format_becomes_48_khz_mono_at_the_same_level() {
        let dir = tempfile::tempdir().unwrap();
        let formats = [
            (SampleFormat::Int, 8),
            (SampleFormat::Int, 16),
            (SampleFormat::Int, 24),
            (SampleFormat::Int, 32),
            (SampleFormat::Float, 32),
        ];
        for (sample_format, bits_per_sample) in formats {
            for (channels, sample_rate) in [(1, 48_000), (2, 44_100), (6, 16_000)] {
                let path = dir.path().join("a.wav");
                let spec = WavSpec { channels, sample_rate, bits_per_sample, sample_format };
                write(&path, spec, &sine(440.0, sample_rate, sample_rate as usize, 0.5));
                // Two seconds of a file of one second: it goes round.
                let sound = read_pieces(&mut WavLoop::open(&path).unwrap(), 200);
                let level = level_at(440.0, 48_000, &sound[4_800..91_200]);
                assert!((level - 0.5).abs() < 0.02, "{spec:?}: {level}");
            }
        }
    }

    #[test]
    fn damaged_files_are_named_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wav");
        let spec = WavSpec { channels: 1, sample_rate: 48_000, bits_per_sample: 16, sample_format: SampleFormat::Int };
        write(&path, spec, &sine(440.0, 48_000, 48_000, 0.5));
        let whole = std::fs::read(&path).unwrap();
        let mut no_rate = whole.clone();
        no_rate[24..28].copy_from_slice(&[0; 4]);
        let mut no_channels = whole.clone();
        no_channels[22..24].copy_from_slice(&[0; 2]);
        let mut empty = whole[..44].to_vec();
        empty[40..44].copy_from_slice(&[0; 4]);
        let cases: [(&[u8], &str); 6] = [
            (b"", ""),
            (b"It is a text, not a sound.", "not a WAV file"),
            (&whole[..whole.len() / 2], "cut short"),
            (&empty, "no sound"),
            (&no_rate, ""),
            (&no_channels, ""),
        ];
        for (bytes, words) in cases {
            std::fs::write(&path, bytes).unwrap();
            let failure = WavLoop::open(&path).err().expect("a damaged file is refused");
            assert_eq!(failure.problem, Problem::BadFile);
            assert!(failure.detail.contains(words), "{}", failure.detail);
        }
        assert_eq!(WavLoop::open(&dir.path().join("none.wav")).err().unwrap().problem, Problem::BadFile);
        assert_eq!(WavLoop::open(dir.path()).err().unwrap().problem, Problem::BadFile);
    }

    #[test]
    fn a_recording_is_readable_while_it_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.wav");
        let mut sink = WavSink::create(&path).unwrap();
        let tone = sine(440.0, 48_000, 48_000, 0.5);
        for piece in tone.chunks_exact(PIECE) {
            sink.write(piece.try_into().unwrap()).unwrap();
        }
        // The writer is still alive, as it would be in a process that is killed now.
        let sound: Vec<f32> =
            WavReader::open(&path).unwrap().samples::<i16>().map(|s| f32::from(s.unwrap()) / 32_768.0).collect();
        assert_eq!(sound.len(), 48_000);
        assert!((level_at(440.0, 48_000, &sound) - 0.5).abs() < 0.01);
        drop(sink);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let failure = WavSink::create(Path::new("/nonexistent/out.wav")).err().unwrap();
        assert_eq!(failure.problem, Problem::BadFile);
        assert!(failure.detail.contains("/nonexistent/out.wav"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn no_header_makes_it_panic(header in proptest::collection::vec((0_usize..60, any::<u8>()), 1..12)) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.wav");
            let spec = WavSpec { channels: 1, sample_rate: 8_000, bits_per_sample: 16, sample_format: SampleFormat::Int };
            write(&path, spec, &[0.25; 800]);
            let mut bytes = std::fs::read(&path).unwrap();
            for (at, byte) in header {
                bytes[at] = byte;
            }
            std::fs::write(&path, bytes).unwrap();
            if let Ok(mut wav) = WavLoop::open(&path) {
                let mut piece = [0.0; PIECE];
                for _ in 0..30 {
                    if wav.read(&mut piece).is_err() {
                        break;
                    }
                    prop_assert!(piece.iter().all(|sample| sample.is_finite()));
                }
            }
        }
    }
}
