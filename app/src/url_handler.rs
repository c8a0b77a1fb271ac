//! Makes the desktop open `parlor:` links with Parlor (freedesktop.org's desktop entries; Linux alone).
//!
//! Nothing of it is needed for anything else: what fails is logged, and links can still be pasted.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const ENTRY: &str = "parlor.desktop";
const ICON: &str = include_str!("../../assets/icon.svg");

/// The directory that a person's programs are registered in; `None` where there is no such thing.
pub(crate) fn data_home() -> Option<PathBuf> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    directories::BaseDirs::new().map(|dirs| dirs.data_dir().to_owned())
}

/// Registers this program for `parlor:` links, or takes that back.
pub(crate) fn apply(data_home: &Path, wanted: bool) {
    let result = if wanted {
        std::env::current_exe().and_then(|program| install(data_home, &program))
    } else {
        remove(data_home)
    };
    match result {
        Ok(true) => tell_desktop(data_home, wanted),
        Ok(false) => {}
        Err(error) => tracing::info!(%error, "parlor: links are not registered with the desktop"),
    }
}

/// Whether anything changed.
fn install(data_home: &Path, program: &Path) -> io::Result<bool> {
    let entry = desktop_entry(program).ok_or(io::ErrorKind::InvalidFilename)?;
    let file = data_home.join("applications").join(ENTRY);
    if fs::read_to_string(&file).is_ok_and(|present| present == entry) {
        return Ok(false);
    }
    let icons = data_home.join("icons/hicolor/scalable/apps");
    fs::create_dir_all(&icons)?;
    fs::write(icons.join("parlor.svg"), ICON)?;
    fs::create_dir_all(data_home.join("applications"))?;
    fs::write(file, entry)?;
    Ok(true)
}

fn remove(data_home: &Path) -> io::Result<bool> {
    match fs::remove_file(data_home.join("applications").join(ENTRY)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// `None` for a path that can't be written into such a file.
fn desktop_entry(program: &Path) -> Option<String> {
    let program = program.to_str().filter(|path| !path.contains(char::is_control))?;
    // Quoting as in the Desktop Entry Specification, "The Exec key"; the backslashes are quoted once more as in every
    // value of type string.
    let mut quoted = String::new();
    for c in program.chars() {
        match c {
            '"' | '`' | '$' => quoted.extend(["\\\\", c.encode_utf8(&mut [0; 4])]),
            '\\' => quoted.push_str("\\\\\\\\"),
            '%' => quoted.push_str("%%"),
            _ => quoted.push(c),
        }
    }
    Some(format!(
        "[Desktop Entry]\nType=Application\nName=Parlor\nComment=Peer-to-peer video calls\nComment[zh_CN]=点对点视频通话\n\
         Exec=\"{quoted}\" %u\nIcon=parlor\nTerminal=false\nCategories=Network;VideoConference;\n\
         MimeType=x-scheme-handler/parlor;\nStartupWMClass=parlor\n"
    ))
}

/// Two programs that may not be there: desktops that have neither read the directory themselves.
fn tell_desktop(data_home: &Path, wanted: bool) {
    run(Command::new("update-desktop-database").arg(data_home.join("applications")));
    if wanted {
        run(Command::new("xdg-mime").args(["default", ENTRY, "x-scheme-handler/parlor"]));
    }
}

fn run(command: &mut Command) {
    let result = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    tracing::debug!(?command, ?result, "told the desktop");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_registered_once_moved_with_it_and_removed() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("applications/parlor.desktop");
        assert!(install(home.path(), Path::new("/opt/parlor")).unwrap());
        assert!(!install(home.path(), Path::new("/opt/parlor")).unwrap(), "nothing to do");
        assert!(install(home.path(), Path::new("/usr/bin/parlor")).unwrap());
        let entry = fs::read_to_string(&file).unwrap();
        assert!(entry.contains("\nExec=\"/usr/bin/parlor\" %u\n"), "{entry}");
        assert!(entry.contains("\nMimeType=x-scheme-handler/parlor;\n"), "{entry}");
        assert!(remove(home.path()).unwrap() && !file.exists());
        assert!(!remove(home.path()).unwrap());
    }

    #[test]
    fn a_strange_path_is_quoted_and_an_impossible_one_refused() {
        let entry = desktop_entry(Path::new("/home/a b/100% \"$x\"\\/parlor")).unwrap();
        assert!(entry.contains(r#"Exec="/home/a b/100%% \\"\\$x\\"\\\\/parlor" %u"#), "{entry}");
        assert_eq!(desktop_entry(Path::new("/home/a\nExec=evil")), None);
    }

    #[test]
    fn a_place_that_can_not_be_written_is_an_error_and_no_panic() {
        assert!(install(Path::new("/proc/parlor"), Path::new("/usr/bin/parlor")).is_err());
    }
}
