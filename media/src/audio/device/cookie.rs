//! The cookie that a client of PulseAudio shows to the server.
//!
//! A server refuses who shows none, even one that would let in anybody, and PipeWire's does the same. libpulse therefore
//! writes one when there is none yet; the client that cpal uses reads it only. Without this, Parlor would have no sound
//! on a system where no other program made a sound before.

use std::{
    env, fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process,
};

/// In bytes; `PA_NATIVE_COOKIE_LENGTH` of PulseAudio's protocol.
const LENGTH: usize = 256;

/// Writes a cookie where every client looks for one, unless there is one already.
///
/// # Errors
/// When the home directory cannot be written to.
pub(super) fn make_sure() -> io::Result<()> {
    let Some(home) = env::home_dir() else { return Ok(()) };
    let named = env::var_os("PULSE_COOKIE").is_some_and(|path| Path::new(&path).exists());
    if named || home.join(".pulse-cookie").exists() { Ok(()) } else { make_sure_in(&home.join(".config/pulse")) }
}

/// One that is cut short, as a full disk leaves it, is replaced, as libpulse does.
fn make_sure_in(dir: &Path) -> io::Result<()> {
    let cookie = dir.join("cookie");
    if fs::metadata(&cookie).is_ok_and(|cookie| cookie.len() == LENGTH as u64) {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    // Others that start now never see a part of it.
    let draft = dir.join(format!("cookie-{}", process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(&rand::random::<[u8; LENGTH]>())?;
    fs::rename(draft, cookie)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_cookie_is_written_once_and_for_its_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join(".config/pulse");
        make_sure_in(&dir).unwrap();
        let first = fs::read(dir.join("cookie")).unwrap();
        assert_eq!(first.len(), LENGTH);
        assert_eq!(fs::metadata(dir.join("cookie")).unwrap().permissions().mode() & 0o777, 0o600);
        make_sure_in(&dir).unwrap();
        assert_eq!(fs::read(dir.join("cookie")).unwrap(), first);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn a_cookie_that_was_cut_short_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cookie"), "short").unwrap();
        make_sure_in(dir.path()).unwrap();
        assert_eq!(fs::metadata(dir.path().join("cookie")).unwrap().len(), LENGTH as u64);
    }
}
