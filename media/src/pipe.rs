//! Named pipes where a file is expected.

use std::{io, path::Path};

/// Opening a pipe waits until somebody opens its other end, which may be never: a call could not end until then.
pub(crate) fn refuse_pipe(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        if std::fs::metadata(path).is_ok_and(|it| it.file_type().is_fifo()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a pipe can't be recorded to"));
        }
    }
    let _ = path;
    Ok(())
}
