//! A clip that stands in for a camera.

use std::path::Path;

use crate::{
    Frame, MediaTime,
    frame::FramePool,
    y4m::{Reader, Y4mError},
};

/// Plays a YUV4MPEG2 file in a loop.
pub(super) struct Clip {
    reader: Reader,
    /// Damage behind the first frame shortens the loop and is told once.
    damage_told: bool,
}

impl Clip {
    pub(super) fn open(path: &Path) -> Result<Self, Y4mError> {
        Ok(Self { reader: Reader::open(path)?, damage_told: false })
    }

    /// Frames in so many seconds.
    pub(super) fn rate(&self) -> (u32, u32) {
        (self.reader.header().frames, self.reader.header().seconds)
    }

    /// The next frame, and what is wrong with the file if that was met now.
    pub(super) fn next(&mut self, pool: &mut FramePool) -> Result<(Frame, Option<Y4mError>), Y4mError> {
        let header = self.reader.header();
        let mut damage = None;
        let frame = pool.try_frame(header.width, header.height, MediaTime::default(), |mut planes| {
            loop {
                match self.reader.read(&mut planes) {
                    Ok(true) => return Ok(()),
                    Ok(false) => {}
                    Err(error @ (Y4mError::Truncated(number) | Y4mError::BadFrame(number))) if number > 0 => {
                        damage = Some(error);
                    }
                    Err(error) => return Err(error),
                }
                self.reader.rewind()?;
            }
        })?;
        let news = damage.filter(|_| !self.damage_told);
        self.damage_told |= news.is_some();
        Ok((frame, news))
    }
}
