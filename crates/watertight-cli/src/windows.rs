//! What is different on Windows: names are Unicode, a command's arguments are one string, and there are drives.

use crate::outlook::Outlook;
use crate::requests::Signal;
pub(crate) use crate::windows_files::{
    appends, is_frozen, is_on_other_mount, is_system_name, is_unread_fifo, links, lock,
    lock_holder, open_options, open_to_write, private_options, rename, rename_new, resume_options,
    sync_folder, sync_renamed, take_over,
};
use console::Term;
use same_file::Handle;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, IsTerminal, Write};
use std::os::windows::io::{AsHandle, AsRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;
use watertight::{Child, TerminalSize};
use winapi_util::file::typ;

/// Whether `c:` begins a path.
pub(crate) const HAS_DRIVES: bool = true;
/// Whether `fd:N` means anything.
pub(crate) const HAS_DESCRIPTORS: bool = false;
/// Whether `fifo:PATH` means anything.
pub(crate) const HAS_FIFOS: bool = false;
/// Whether a question about a pipe may wait. A thread of the library's asks it.
pub(crate) const QUESTIONS_MAY_WAIT: bool = false;

/// What names those who may hold a command's output: who of its tree is alive. The system does not show who has a pipe.
pub(crate) const HELD_BY: &str = "its output may be held by";

/// Who of a command's tree is not seen when that is ended: all of it are in its job.
pub(crate) const UNSEEN: Option<&str> = None;

/// The end of the program with this code. std's `ExitCode` has room for a byte, and a command's own code may have 32 bits: such a one goes by
/// the library's `exit`, which settles what is still to be sent, for std's own kills all threads first. Nothing of ours is left to be dropped.
pub(crate) fn exit_code(code: i32) -> ExitCode {
    match u8::try_from(code) {
        Ok(code) => ExitCode::from(code),
        Err(_) => watertight::exit(code),
    }
}

/// Ctrl-C's number, as on Unix, so that the exit code is the same.
const INTERRUPT: i32 = 2;

/// Whether we have a console.
pub(crate) fn has_controlling_terminal() -> bool {
    watertight::is_in_terminals_foreground()
}

/// Whether the console moves its cursor if an escape code says so: it does where it can be told to heed such codes, and is told with this.
pub(crate) fn moves_cursor() -> bool {
    Term::stderr().features().colors_supported()
}

/// There is no such bound here.
pub(crate) fn survive_file_size_bound() {}

/// Nothing asks for the account so far.
pub(crate) const ACCOUNT_SIGNALS: &[i32] = &[];

/// A program and the rest of its command line.
#[derive(Clone, Debug)]
pub(crate) struct CommandLine {
    program: String,
    rest: String,
}

impl CommandLine {
    /// The rest goes to the program verbatim: each takes its own arguments apart. That of a batch file would be taken apart by cmd.exe,
    /// which runs what stands behind an `&` (CVE-2024-24576): there it is words, and std passes each on as it is, or refuses it.
    pub(crate) fn to_command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if is_batch_file(&self.program) {
            command.args(words(&self.rest));
        } else {
            command.raw_arg(&self.rest);
        }
        command
    }
}

/// Whether cmd.exe runs it.
fn is_batch_file(program: &str) -> bool {
    // The system takes these off the end of a name.
    let name = program.trim_end_matches([' ', '.']);
    let start = name.len().saturating_sub(".bat".len());
    let extension = name.get(start..).unwrap_or_default();
    let mut known = [".bat", ".cmd"].into_iter();
    known.any(|known| extension.eq_ignore_ascii_case(known))
}

/// Takes arguments apart as programs do: a backslash counts only before a quote, and two quotes within quotes are one of the word.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut current: Option<String> = None;
    let mut is_quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if !is_quoted && matches!(letter, ' ' | '\t') {
            words.extend(current.take());
            continue;
        }
        let word = current.get_or_insert_default();
        match letter {
            '\\' => {
                let mut count = 1;
                while letters.next_if_eq(&'\\').is_some() {
                    count += 1;
                }
                let is_before_quote = letters.peek() == Some(&'"');
                let kept = if is_before_quote { count / 2 } else { count };
                word.extend(std::iter::repeat_n('\\', kept));
                if is_before_quote && count % 2 == 1 {
                    word.extend(letters.next());
                }
            }
            '"' if is_quoted && letters.next_if_eq(&'"').is_some() => word.push('"'),
            '"' => is_quoted = !is_quoted,
            _ => word.push(letter),
        }
    }
    words.extend(current);
    words
}

/// The first word, which may be quoted, is the program.
pub(crate) fn command_line(text: OsString) -> Result<CommandLine, String> {
    let text = text
        .into_string()
        .map_err(|_| "the command is not valid Unicode".to_owned())?;
    let text = text.trim_start();
    let (program, rest) = match text.strip_prefix('"') {
        Some(quoted) => quoted
            .split_once('"')
            .ok_or("the quote around the program's name is not closed")?,
        None => text.split_at(text.find(char::is_whitespace).unwrap_or(text.len())),
    };
    if program.is_empty() {
        return Err(
            "the command is empty; write a program after the colon, as in `exec:findstr x`"
                .to_owned(),
        );
    }
    Ok(CommandLine {
        program: program.into(),
        rest: rest.trim_start().into(),
    })
}

/// A name from its encoded bytes.
pub(crate) fn os_string(bytes: &[u8]) -> Option<OsString> {
    String::from_utf8(bytes.to_vec()).ok().map(OsString::from)
}

/// Whether no file has this name. A program's stands for several here: the start finds out.
pub(crate) fn is_missing(_: &OsStr) -> bool {
    false
}

/// The number, if the path is a name of a descriptor: here none is.
pub(crate) fn own_descriptor(_: &Path) -> Option<u32> {
    None
}

/// GetFileType: what is known of what is open here, if it is a file. Of a device (NUL, a console) the system tells std nothing, which would be an
/// error, and std takes a pipe for a file.
pub(crate) fn known(file: &File) -> io::Result<Option<Metadata>> {
    let is_file = typ(file)?.is_disk();
    is_file.then(|| file.metadata()).transpose()
}

/// Whether this is a FIFO.
pub(crate) fn is_fifo(_: &Metadata) -> bool {
    false
}

/// Which FIFO this is.
pub(crate) fn fifo(_: &Metadata) -> Option<(u64, u64)> {
    None
}

/// Which block device this is.
pub(crate) fn block_device(_: &Metadata) -> Option<u64> {
    None
}

/// How many bytes a block device has.
pub(crate) fn block_device_bytes(_: &File, _: &Metadata) -> Option<u64> {
    None
}

/// Which character device this is.
pub(crate) fn character_device(_: &Metadata) -> Option<u64> {
    None
}

/// GetFileType: a second handle to sync what this one leads to, if that is a file. std takes a pipe for one here, and to sync that would be to
/// wait for its reader.
pub(crate) fn to_sync(file: &File) -> io::Result<Option<File>> {
    let is_file = typ(file)?.is_disk();
    is_file.then(|| file.try_clone()).transpose()
}

/// GetStdHandle: an error, if this program was started without the standard stream of this number. What is written there goes nowhere then.
pub(crate) fn standard_at_start(number: u32) -> io::Result<()> {
    let handle = match number {
        0 => io::stdin().as_raw_handle(),
        1 => io::stdout().as_raw_handle(),
        _ => io::stderr().as_raw_handle(),
    };
    if handle.is_null() {
        return Err(io::Error::other("it is closed"));
    }
    Ok(())
}

/// Whether the file has this number: there are none here.
pub(crate) fn has_number(_: &File, _: u32) -> bool {
    false
}

/// Whether it is open for writing. Nobody asks here: no name is that of a descriptor.
pub(crate) fn is_writable(_: &File) -> bool {
    true
}

/// Looks at what is behind one of our standard streams, and takes no further handle for it.
pub(crate) fn look_at_standard<T>(number: u32, look: impl FnOnce(&File) -> Option<T>) -> Option<T> {
    let standard = match number {
        0 => Handle::stdin(),
        1 => Handle::stdout(),
        _ => Handle::stderr(),
    };
    look(standard.ok()?.as_file())
}

/// Whether this is where everything vanishes.
pub(crate) fn is_null_device(_: &File) -> bool {
    false
}

/// Whether this is where everything vanishes.
pub(crate) fn is_null(_: &Metadata) -> bool {
    false
}

/// Whether a source's end can be told without a read.
pub(crate) const TELLS_ENDS: bool = false;

/// What this source will bring: every one is read.
pub(crate) fn outlook(_: &File) -> Outlook {
    Outlook::Unknown
}

/// Whether this destination takes its end as every other one does.
pub(crate) fn takes_an_end(_: &File) -> bool {
    false
}

/// Whether a silent source has come to its end.
pub(crate) fn await_end(_: &File, _: &mut KeptSignals) -> bool {
    false
}

/// Which socket this is.
pub(crate) fn socket(_: &Metadata) -> Option<(u64, u64)> {
    None
}

/// Whether this is a local socket's name.
pub(crate) fn is_socket(_: &Metadata) -> bool {
    false
}

/// A console has no background.
pub(crate) fn is_in_background_of_stderr() -> bool {
    false
}

/// The signal that ended a child.
pub(crate) fn ending_signal(_: ExitStatus) -> Option<i32> {
    None
}

/// The most that is written at once of what we say, so that it is seen how it gets on.
pub(crate) const PIECE_BYTES_MAX: usize = 4096;

/// WriteFile to standard error. It blocks for as long as there is no room, and has no bound.
pub(crate) fn write_stderr(text: &[u8], _: Duration) -> io::Result<usize> {
    if io::stderr().is_terminal() {
        // A console takes UTF-16, which std makes of it. Nobody else in this program uses std's lock.
        return io::stderr().write(text);
    }
    File::from(standard_copy(2)?).write(text)
}

/// WriteFile, likewise.
pub(crate) fn write_within(mut file: &File, text: &[u8], _: Duration) -> io::Result<usize> {
    file.write(text)
}

/// Nothing: every write may wait.
pub(crate) fn write_stderr_at_once(_: &[u8]) -> Option<usize> {
    None
}

/// How many bytes lie unread in the pipe that standard error is: Windows does not say so at this end.
pub(crate) fn unread_of_stderr() -> Option<u64> {
    None
}

/// Nor of any other pipe.
pub(crate) fn unread_of(_: &File) -> Option<u64> {
    None
}

/// A second handle of one of our standard streams.
pub(crate) fn standard_copy(number: u32) -> io::Result<OwnedHandle> {
    match number {
        0 => io::stdin().as_handle().try_clone_to_owned(),
        1 => io::stdout().as_handle().try_clone_to_owned(),
        _ => io::stderr().as_handle().try_clone_to_owned(),
    }
}

/// Nothing: no command gets a terminal here.
pub(crate) struct OurTerminal;

impl OurTerminal {
    pub(crate) fn look() -> io::Result<Self> {
        Ok(Self)
    }

    /// Any size: the library says why there is no terminal.
    pub(crate) fn size(&self) -> TerminalSize {
        TerminalSize::default()
    }
}

/// Nothing goes on: no command is started with a terminal.
pub(crate) struct Meanwhile;

impl Meanwhile {
    pub(crate) fn begin(_: OurTerminal, _: &Child) -> io::Result<Self> {
        Ok(Self)
    }

    pub(crate) fn end(self) -> Option<String> {
        None
    }
}

/// Signals from the beginning: here the system has a thread for them.
pub(crate) struct KeptSignals;

impl KeptSignals {
    /// From now on `hear` is called with each.
    pub(crate) fn keep(
        _account: &[i32],
        _ends_at_another: bool,
        hear: impl FnMut(Signal) + Send + 'static,
    ) -> io::Result<Self> {
        watch_signals(hear).map(|()| Self)
    }

    /// They are heard already.
    pub(crate) fn begin(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// None is kept.
    pub(crate) fn is_any_waiting(&self) -> bool {
        false
    }
}

/// They do in any case: nobody can block them.
pub(crate) fn let_requests_end_us() {}

/// From now on `hear` is called at Ctrl-C and Ctrl-Break. There are no others.
pub(crate) fn watch_signals(mut hear: impl FnMut(Signal) + Send + 'static) -> io::Result<()> {
    let signal = Signal {
        number: INTERRUPT,
        // The console sends it to everybody who is there.
        is_typed: true,
        is_asking: true,
    };
    ctrlc::set_handler(move || hear(signal)).map_err(io::Error::other)
}

/// A thread of the system's own hears them.
pub(crate) fn leave_signals() {}

/// Not to be had here.
pub(crate) fn watch_children(_: impl FnMut() + Send + 'static) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Nobody knows here, and nothing has to: a source that is stopped comes back.
pub(crate) fn has_room(_: &OwnedHandle) -> bool {
    false
}

/// Nobody asks here, for the question would wait with whoever reads the pipe. A command's tree is in a job, which few can leave.
pub(crate) fn has_reader(_: &OwnedHandle) -> bool {
    false
}

/// A pipe keeps its size here.
pub(crate) fn enlarge(_: &OwnedHandle) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_behind_a_stream_can_be_synced_and_a_pipe_is_left_alone() {
        let file = tempfile::tempfile().unwrap();
        let copy = to_sync(&file).unwrap().expect("it is a file");
        copy.sync_all().unwrap();
        let (_reader, writer) = io::pipe().unwrap();
        let pipe = File::from(OwnedHandle::from(writer));
        assert!(to_sync(&pipe).unwrap().is_none());
    }

    #[test]
    fn a_batch_file_is_one_however_its_name_is_written() {
        for name in ["x.bat", r"C:\a b\X.BAT", "x.Cmd", "x.bat. .", ".bat"] {
            assert!(is_batch_file(name), "{name}");
        }
        for name in ["x.exe", "x", "bat", "x.bat.exe", "x.bät", "", "..."] {
            assert!(!is_batch_file(name), "{name}");
        }
    }

    #[test]
    fn words_are_what_a_program_would_make_of_them() {
        let known: [(&str, &[&str]); 8] = [
            ("", &[]),
            ("a  b\tc ", &["a", "b", "c"]),
            (r#""a b" "" c"d e"f"#, &["a b", "", "cd ef"]),
            (r"C:\x \\y\ z", &[r"C:\x", r"\\y\", "z"]),
            (r#"\"a\" "b \"c\\" d"#, &["\"a\"", "b \"c\\", "d"]),
            (r#""say ""so""" x"#, &["say \"so\"", "x"]),
            ("a&b >c %d% ^e", &["a&b", ">c", "%d%", "^e"]),
            (r#""not closed "#, &["not closed "]),
        ];
        for (text, expected) in known {
            assert_eq!(words(text), expected, "{text}");
        }
    }
}
