//! Why a start failed. std passes on one error for all its steps, so the steps are looked at once more when it is too late: the
//! directory, the program's file, what that file wants to be run by, as whom it may run, and whether descriptors can be kept from it.

use super::descriptors::can_keep_only;
use super::refusal::{Refusal, look};
use super::run_as::may_be_refused;
use crate::process::{RunAs, StartError, StartStep};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::iter;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How much of a program's file is looked at for what it wants to be run by. The kernel takes the first 256 bytes of a script;
/// linkers put the name of the loader within the first kilobyte.
const HEAD_BYTES: u64 = 4096;

/// How many files are looked at, each of which is to run the one before. The kernel goes on to the fifth script's.
const FILES_MAX: usize = 8;

/// Where execvp looks in an environment without PATH.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Makes std's error one that says what failed. The child was to be `run_as`, and, if it `keeps_only` some descriptors, to have no others.
pub(super) fn explained(
    command: &Command,
    run_as: RunAs,
    keeps_only: bool,
    error: io::Error,
) -> StartError {
    let (step, path) = step_of(command, run_as, keeps_only, &error);
    StartError {
        step,
        program: command.get_program().to_owned(),
        path,
        run_as: (step == StartStep::User).then_some(run_as),
        error,
    }
}

fn step_of(
    command: &Command,
    run_as: RunAs,
    keeps_only: bool,
    error: &io::Error,
) -> (StartStep, Option<PathBuf>) {
    let Some(code) = Errno::from_io_error(error) else {
        // std's own: a zero byte.
        let is_argument = error.kind() == io::ErrorKind::InvalidInput;
        let step = if is_argument {
            StartStep::Arguments
        } else {
            StartStep::Other
        };
        return (step, None);
    };
    match code {
        _ if may_be_refused(run_as, code) => (StartStep::User, None),
        // No such call, no such flag, or forbidden.
        Errno::NOSYS | Errno::INVAL | Errno::PERM if keeps_only && !can_keep_only() => {
            (StartStep::Descriptors, None)
        }
        Errno::TOOBIG => (StartStep::Arguments, None),
        Errno::TXTBSY => (StartStep::Busy, None),
        Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE => (StartStep::Resources, None),
        Errno::NOEXEC => (StartStep::Format, None),
        Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP | Errno::NAMETOOLONG => {
            at_a_path(command, run_as, code)
        }
        Errno::PERM => (StartStep::Permission, None),
        _ => (StartStep::Other, None),
    }
}

/// The directory, or that one of the program's files of which the system says the same as of the start.
fn at_a_path(command: &Command, run_as: RunAs, code: Errno) -> (StartStep, Option<PathBuf>) {
    let directory = command.get_current_dir();
    // The child is in its directory when it looks, so that a relative path is relative to that.
    let files = files_of(command, directory.unwrap_or(Path::new("")));
    match look(run_as, directory, &files, code) {
        Refusal::Directory => (StartStep::Directory, directory.map(Path::to_owned)),
        Refusal::File(at) if at > 0 => (StartStep::Interpreter, files.get(at).cloned()),
        // The file may be run, and we do not see what is to run it.
        Refusal::Nothing if !files.is_empty() && code != Errno::ACCESS => {
            (StartStep::Interpreter, None)
        }
        Refusal::File(_) | Refusal::Nothing => (of_program(code), None),
    }
}

/// What is wrong with the program itself.
fn of_program(code: Errno) -> StartStep {
    match code {
        Errno::ACCESS => StartStep::Permission,
        Errno::NOENT => StartStep::Program,
        _ => StartStep::Name,
    }
}

/// The program's file, what is to run it, what is to run that, and so on, as the child names them when it is `here`. Empty, if its PATH
/// leads to no such file.
fn files_of(command: &Command, here: &Path) -> Vec<PathBuf> {
    let runs = |file: &PathBuf| interpreter_of(&here.join(file));
    let files = iter::successors(file_of(command, here), runs);
    files.take(FILES_MAX).collect()
}

fn file_of(command: &Command, here: &Path) -> Option<PathBuf> {
    let program = command.get_program();
    if program.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(program));
    }
    let folders = path_of(command);
    let mut files = std::env::split_paths(&folders).map(|folder| folder.join(program));
    files.find(|file| here.join(file).is_file())
}

/// The PATH that the program is looked for in: the child's, if the `Command` changes it.
fn path_of(command: &Command) -> OsString {
    let changed = command.get_envs().find(|(name, _)| *name == "PATH");
    let path = match changed {
        Some((_, path)) => path.map(OsStr::to_owned),
        None => std::env::var_os("PATH"),
    };
    path.unwrap_or_else(|| DEFAULT_PATH.into())
}

/// What a file wants to be run by.
fn interpreter_of(file: &Path) -> Option<PathBuf> {
    // Opening a FIFO would wait.
    if !file.is_file() {
        return None;
    }
    let mut head = Vec::new();
    let file = File::open(file).ok()?;
    file.take(HEAD_BYTES).read_to_end(&mut head).ok()?;
    let name = match head.strip_prefix(b"#!") {
        Some(line) => of_script(line),
        None => of_elf(&head)?,
    };
    let name = OsString::from_vec(name.to_owned());
    Some(PathBuf::from(name)).filter(|name| !name.as_os_str().is_empty())
}

/// The first word behind `#!`, as the kernel takes it: only a blank, a tab or the line's end ends it, and a carriage return is a part of it.
fn of_script(line: &[u8]) -> &[u8] {
    let line = line.split(|byte| matches!(byte, b'\n' | 0)).next();
    let mut words = line
        .unwrap_or_default()
        .split(|byte| matches!(byte, b' ' | b'\t'));
    words.find(|word| !word.is_empty()).unwrap_or_default()
}

/// The loader that an ELF file of this machine's kind names in its program header of type `PT_INTERP` (elf(5)).
fn of_elf(head: &[u8]) -> Option<&[u8]> {
    const PT_INTERP: u64 = 3;
    let is_64 = match head.get(..5)? {
        b"\x7fELF\x02" => true,
        b"\x7fELF\x01" => false,
        _ => return None,
    };
    let number = |at: u64, bytes: usize| -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let mut all = [0; 8];
        let field = head.get(at..at.checked_add(bytes)?)?;
        // In this machine's order of bytes: a file in another one's is not for this machine, and its numbers lead nowhere.
        let into = if cfg!(target_endian = "little") {
            0
        } else {
            8 - bytes
        };
        all[into..into + bytes].copy_from_slice(field);
        Some(u64::from_ne_bytes(all))
    };
    // Where the headers are, how long each is, how many; and in each, where its part of the file is and how long.
    let (table, size, count, offset, length, word) = if is_64 {
        (number(32, 8)?, number(54, 2)?, number(56, 2)?, 8, 32, 8)
    } else {
        (number(28, 4)?, number(42, 2)?, number(44, 2)?, 4, 16, 4)
    };
    let header = (0..count)
        .filter_map(|index| table.checked_add(index.checked_mul(size)?))
        .find(|header| number(*header, 4) == Some(PT_INTERP))?;
    let from = usize::try_from(number(header.checked_add(offset)?, word)?).ok()?;
    let bytes = usize::try_from(number(header.checked_add(length)?, word)?).ok()?;
    let name = head.get(from..from.checked_add(bytes)?)?;
    name.split(|byte| *byte == 0).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_script_names_its_interpreter() {
        for line in [
            "/bin/x\nrest",
            " /bin/x -a b\n",
            "\t/bin/x\t\n",
            "/bin/x -a\r\n",
            "/bin/x\0rest",
            "/bin/x",
        ] {
            assert_eq!(of_script(line.as_bytes()), b"/bin/x", "{line:?}");
        }
        assert_eq!(of_script(b"\n/bin/x"), b"");
        // A line that ends as on Windows.
        assert_eq!(of_script(b" /bin/x\r\n"), b"/bin/x\r");
    }

    #[test]
    fn a_program_names_its_loader_and_nonsense_does_not() {
        let this = std::env::current_exe().unwrap();
        if let Some(loader) = interpreter_of(&this) {
            assert!(loader.is_file(), "{}", loader.display());
        }
        assert_eq!(of_elf(b"\x7fELF\x02"), None);
        let mut endless = b"\x7fELF\x02".to_vec();
        endless.resize(64, 0xff);
        assert_eq!(of_elf(&endless), None);
    }
}
