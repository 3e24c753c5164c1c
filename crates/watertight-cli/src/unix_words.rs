//! What an address means on Unix: names are bytes, commands are word lists, and there are descriptor numbers.

use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// Whether `c:` begins a path.
pub(crate) const HAS_DRIVES: bool = false;
/// Whether `fd:N` means anything.
pub(crate) const HAS_DESCRIPTORS: bool = true;

/// How many links are followed to a descriptor's name: as many as Linux follows.
const LINKS_MAX: usize = 40;

/// The standard streams' own names. Here they count where /dev has no such links, too.
const STANDARD_STREAMS: [(&str, u32); 3] =
    [("/dev/stdin", 0), ("/dev/stdout", 1), ("/dev/stderr", 2)];

/// A program and its arguments.
#[derive(Clone, Debug)]
pub(crate) struct CommandLine {
    program: OsString,
    arguments: Vec<OsString>,
}

impl CommandLine {
    pub(crate) fn to_command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
    }
}

/// Takes a command apart by the shell's quoting rules; no shell runs, so nothing is expanded.
pub(crate) fn command_line(text: OsString) -> Result<CommandLine, String> {
    let words = shlex::bytes::split(text.as_bytes()).ok_or(
        "the quotes of the command do not match; close them, or write a literal one as \\' or \\\"",
    )?;
    let mut words = words.into_iter().map(OsString::from_vec);
    match words.next().filter(|program| !program.is_empty()) {
        None => Err(
            "the command is empty; write a program after the colon, as in `exec:sha256sum`"
                .to_owned(),
        ),
        Some(program) => Ok(CommandLine {
            program,
            arguments: words.collect(),
        }),
    }
}

/// A name from its bytes.
pub(crate) fn os_string(bytes: &[u8]) -> Option<OsString> {
    Some(OsStr::from_bytes(bytes).to_owned())
}

/// By its owner, its group or the others.
const MAY_BE_RUN: u32 = 0o111;

/// What the system says of a name that no file can be found by.
const NO_FILE: [Errno; 4] = [Errno::LOOP, Errno::NAMETOOLONG, Errno::NOENT, Errno::NOTDIR];

/// Where a start may look for programs if there is no `PATH`: each C library has some of these. `None`: not known.
const FOLDERS_WITHOUT_PATH: Option<&str> =
    if cfg!(any(target_os = "linux", target_vendor = "apple")) {
        Some(":/usr/local/bin:/usr/local/sbin:/bin:/sbin:/usr/bin:/usr/sbin")
    } else {
        None
    };

/// Whether no program has this name, where a start looks for programs: no file, or none that anybody may run, not even root. What is not known
/// is taken for there.
pub(crate) fn is_missing(program: &OsStr) -> bool {
    let is_no_program = |path: &Path| match std::fs::metadata(path) {
        Ok(found) => found.is_dir() || found.mode() & MAY_BE_RUN == 0,
        Err(error) => Errno::from_io_error(&error).is_some_and(|code| NO_FILE.contains(&code)),
    };
    if program.as_bytes().contains(&b'/') {
        return is_no_program(Path::new(program));
    }
    let folders = std::env::var_os("PATH").or_else(|| FOLDERS_WITHOUT_PATH.map(OsString::from));
    folders.is_some_and(|folders| {
        std::env::split_paths(&folders).all(|folder| is_no_program(&folder.join(program)))
    })
}

/// The number, if the path is a name of a descriptor of ours: /dev/stdout, /dev/fd/N, /proc/self/fd/N, or a link to one. What is opened by
/// such a name is not the descriptor: a file is opened once more, at its beginning, and a socket not at all.
pub(crate) fn own_descriptor(path: &Path) -> Option<u32> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let number = number_named(&path);
        // The links in /proc tell what is open there, and that is no name to follow.
        if number.is_some() || path.starts_with("/proc") {
            return number;
        }
        let target = std::fs::read_link(&path).ok()?;
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    None
}

fn number_named(path: &Path) -> Option<u32> {
    let mut standard = STANDARD_STREAMS.into_iter();
    if let Some((_, number)) = standard.find(|(name, _)| path == Path::new(name)) {
        return Some(number);
    }
    let name = path.file_name()?.to_str()?;
    let number: u32 = name.parse().ok()?;
    // As the system writes it: it knows no other name.
    let is_name = number.to_string() == name && i32::try_from(number).is_ok();
    (is_name && has_our_descriptors(path.parent()?)).then_some(number)
}

/// Whether the folder's files are our descriptors. All threads have the same.
fn has_our_descriptors(folder: &Path) -> bool {
    if ["/dev/fd", "/proc/self/fd", "/proc/thread-self/fd"]
        .iter()
        .any(|name| folder == Path::new(name))
    {
        return true;
    }
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let (Ok(folder), Ok(ours)) = (
        folder.canonicalize(),
        Path::new("/proc/self").canonicalize(),
    ) else {
        return false;
    };
    let Ok(rest) = folder.strip_prefix(&ours) else {
        return false;
    };
    let is_in_tasks = rest.parent().and_then(Path::parent) == Some(Path::new("task"));
    rest == Path::new("fd") || (is_in_tasks && rest.ends_with("fd"))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_descriptor_of_ours_has_many_names() {
        let id = std::process::id();
        let of_process = format!("/proc/{id}/fd/7");
        let of_thread = format!("/proc/{id}/task/{id}/fd/7");
        for (name, number) in [
            ("/dev/stdin", 0),
            ("/dev/stdout", 1),
            ("/dev//./stderr", 2),
            ("/dev/fd/0", 0),
            ("/dev/fd/77", 77),
            ("/proc/self/fd/7", 7),
            ("/proc/thread-self/fd/7", 7),
            ("/proc/../proc/self/fd/7", 7),
            (of_process.as_str(), 7),
            (of_thread.as_str(), 7),
        ] {
            assert_eq!(own_descriptor(Path::new(name)), Some(number), "{name}");
        }
        let of_parent = format!("/proc/{}/fd/1", std::os::unix::process::parent_id());
        for name in [
            "7",
            "/dev/null",
            "/dev/fd",
            "/dev/fd/07",
            "/dev/fd/+7",
            "/dev/fd/4294967295",
            "/dev/fd/7/7",
            "/proc/self/fdinfo/7",
            "/proc/self/task/fd/7",
            of_parent.as_str(),
        ] {
            assert_eq!(own_descriptor(Path::new(name)), None, "{name}");
        }
    }

    #[test]
    fn a_link_to_a_descriptors_name_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let link = |target: &str, name: &str| {
            let name = folder.path().join(name);
            symlink(target, &name).unwrap();
            name
        };
        let first = link("/dev/stdout", "first");
        let second = link("first", "second");
        let folder_link = link("/proc/self/fd", "descriptors");
        let circle = link("circle", "circle");
        let nowhere = link("missing", "nowhere");
        assert_eq!(own_descriptor(&first), Some(1));
        assert_eq!(own_descriptor(&second), Some(1));
        assert_eq!(own_descriptor(&folder_link.join("5")), Some(5));
        assert_eq!(own_descriptor(&circle), None);
        assert_eq!(own_descriptor(&nowhere), None);
    }
}
