//! What both systems' children share: how one is started, how its end is told, and what a failed start was.
//!
//! Nothing here touches the system: that is `unix/process.rs` and `windows/process.rs`, which look the same from outside.

use crate::{OsHandle, TreeMember};
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Write as _};
use std::io;
use std::path::PathBuf;
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus};
use std::time::Duration;

/// What is called when a child has ended.
pub type ExitCallback = Box<dyn FnOnce() + Send>;

/// Keeps what is called when a member of a tree has ended: dropped before, it takes the callback back.
pub type MemberWatch = Box<dyn fmt::Debug + Send + Sync>;

/// How the tree of a child is kept together, so that it can be ended as a whole.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Grouping {
    /// In our own process group (Unix): Ctrl-C reaches it as it reaches us. On Windows there is no difference.
    #[default]
    Ours,
    /// A process group of its own (Unix).
    Own,
}

/// How a child is started, beside what its `Command` says.
#[derive(Clone, Copy, Debug, Default)]
pub struct StartOptions {
    /// How its tree is kept together.
    pub grouping: Grouping,
    /// Windows: the creation flags the caller wants, in place of what the `Command` was told. Elsewhere nobody reads it.
    pub creation_flags: u32,
    /// Unix: as whom it is to run. Elsewhere nobody reads it.
    pub run_as: RunAs,
    /// Windows: the tree is killed when the [`Process`](crate::Process) is dropped or this process
    /// ends, however it ends. Elsewhere nobody reads it.
    pub ends_with_us: bool,
}

/// As whom a child is to run (Unix); where a number is missing, as this process.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RunAs {
    /// The user's number.
    pub user: Option<u32>,
    /// The group's number.
    pub group: Option<u32>,
}

impl fmt::Display for RunAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.user, self.group) {
            (Some(user), Some(group)) => write!(f, "user {user}, group {group}"),
            (Some(user), None) => write!(f, "user {user}"),
            (None, Some(group)) => write!(f, "group {group}"),
            (None, None) => f.write_str("as this process"),
        }
    }
}

/// What earlier starts have set on a `Command`, which std cannot take back.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(
    not(unix),
    allow(dead_code, reason = "Windows takes back what it sets")
)]
pub struct EarlierStarts {
    /// A process group of its own.
    pub(crate) has_own_group: bool,
    /// The signal mask of the start, and no handler.
    pub(crate) has_mask: bool,
    /// Descriptors or a terminal of its own: for these something runs between fork and exec.
    pub(crate) has_step: bool,
    /// The descriptors that it is to have, and no others.
    pub(crate) keeps_only: bool,
    /// An environment that was emptied first.
    pub(crate) has_empty_environment: bool,
}

impl EarlierStarts {
    /// The child's environment is emptied before anything is put into it, which std's `Command` does not show.
    pub fn note_empty_environment(&mut self) {
        self.has_empty_environment = true;
    }

    /// Whether std looks for the program along a `PATH` of the child's own. It does so between fork and exec.
    #[cfg(unix)]
    pub(crate) fn looks_in_another_path(&self, command: &std::process::Command) -> bool {
        let is_path = command.get_program().as_encoded_bytes().contains(&b'/');
        let has_path = || command.get_envs().any(|(name, _)| name == "PATH");
        !is_path && (self.has_empty_environment || has_path())
    }
}

/// Our ends of a new child's standard streams, as far as its `Command` asked for pipes.
#[derive(Debug, Default)]
pub struct StdStreams {
    /// What it reads.
    pub stdin: Option<ChildStdin>,
    /// What it writes.
    pub stdout: Option<ChildStdout>,
    /// What it complains to.
    pub stderr: Option<ChildStderr>,
}

/// How many rows and columns a terminal has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TerminalSize {
    /// Lines, from the top to the bottom.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

impl Default for TerminalSize {
    /// 24 rows of 80 columns.
    fn default() -> Self {
        Self {
            rows: 24,
            columns: 80,
        }
    }
}

/// Both ends of a new pseudo-terminal. Children inherit neither.
#[derive(Debug)]
pub struct TerminalEnds {
    /// Ours: what the program writes is read here, and what is written here the program reads.
    pub leading: OsHandle,
    /// The program's, for which it is a terminal.
    pub following: OsHandle,
}

/// What became of a child, as far as its parent can know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reaped {
    /// It is over, and this is how it ended.
    Ended(ExitStatus),
    /// It runs, or is stopped.
    Running,
    /// It is over, and somebody else took its status: SIGCHLD is ignored, or other code in this process waits for every child. Or the
    /// system refuses to tell.
    Unknown,
}

/// What a child has used by its end: on Unix the child and those of its descendants that were waited for, on Windows the child
/// alone.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Usage {
    /// The time that processors spent on its own code.
    pub user: Duration,
    /// The time that processors spent in the system for it.
    pub system: Duration,
    /// The most memory, in bytes, that one of them had resident at one time, where the system tells it.
    ///
    /// On Linux this process's own memory at the start of the child counts too, for a new process begins in its parent's: a small
    /// child of a large parent looks large.
    pub memory_bytes_max: Option<u64>,
    /// How often memory had to be made ready for it at its first use, or once more (page faults, minor and major), where the system
    /// counts that.
    pub page_faults: Option<u64>,
    /// For how many of these something had to be read from a device (major page faults), where the system counts that: not on Windows.
    pub page_faults_major: Option<u64>,
    /// How often it gave its processor away to wait for something, where the system counts that: not on Windows.
    pub context_switches_voluntary: Option<u64>,
    /// How often its processor was taken from it for somebody else, where the system counts that: not on Windows.
    pub context_switches_involuntary: Option<u64>,
    /// How much was read from devices for it, where the system counts that (not on Windows): on Linux in blocks of 512 bytes, elsewhere
    /// in operations. What was in memory already does not count.
    pub blocks_read: Option<u64>,
    /// How much it wrote that is to go to devices, as [`blocks_read`](Self::blocks_read) is counted.
    pub blocks_written: Option<u64>,
}

/// One process of somebody's, as far as the system lets us see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// Its number.
    pub pid: u32,
    /// What the system calls it, which need not be text: Linux keeps the first 15 bytes.
    pub name: Option<OsString>,
}

/// What became of a tree.
#[derive(Debug, Default)]
pub struct TreeEnd {
    /// Whom a signal was sent to, the child first.
    pub signalled: Vec<Found>,
    /// Who is left: the signal was refused, or they are still there after a kill, or they left the tree while it was looked at. Also orphans
    /// in our own group (Linux) that may be of the tree of a child there, and of whom nothing says so: they are not signalled.
    pub left: Vec<Found>,
    /// The first thing that kept us from looking at or signalling all of it.
    pub error: Option<io::Error>,
}

/// Who of a tree is alive, the child aside.
#[derive(Debug)]
pub enum TreeLook {
    /// This one, and perhaps others. Its end can be waited for.
    Held(TreeMember),
    /// Nobody who can be seen.
    Over,
    /// Somebody whose end cannot be waited for: look again later.
    Unheld,
}

/// Which step of a start failed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum StartStep {
    /// Passing the arguments and the environment on: too long, or with a zero byte in them; on Windows also a line's end for a batch
    /// file.
    Arguments,
    /// Running a file that somebody has open for writing.
    Busy,
    /// Keeping from it the descriptors that it is not to have (Unix, `inherit_only`).
    Descriptors,
    /// Changing to the directory it is to run in.
    Directory,
    /// Making sense of the program's file: it is there, may be run, and is no program for this system.
    Format,
    /// Taking hold of the new child. It was killed and reaped.
    Hold,
    /// Running what a script's first line or a program's header names: it is not there, or may not be run itself.
    Interpreter,
    /// Following the program's name to a file: through what is no directory, or through symbolic links that lead round in a circle; or it is
    /// too long.
    Name,
    /// Something else.
    Other,
    /// Being allowed to.
    Permission,
    /// Finding the program.
    Program,
    /// Getting memory, descriptors or one process more, of which the user it is to run as may have too many.
    Resources,
    /// Making the terminal it is to have.
    Terminal,
    /// Becoming the user or the group that it is to run as.
    User,
}

#[cfg(unix)]
const NO_ARGUMENTS: &str = "its arguments and environment are too long or have a zero byte in them";
#[cfg(not(unix))]
const NO_ARGUMENTS: &str = "its arguments and environment are too long, or have a zero byte in them, or a line's end for a batch file";

#[cfg(unix)]
const NO_FORMAT: &str =
    "its file is there and in no format that the system can run (a script begins with #!)";
#[cfg(not(unix))]
const NO_FORMAT: &str = "its file is there and in no format that the system can run";

const NO_DESCRIPTORS_KEPT: &str = "it was to inherit no descriptors but some (inherit_only), and this system cannot see to that (Linux 5.11 can: \
     close_range); start it without inherit_only, and mark the others close-on-exec";

impl StartStep {
    /// What is wrong, for a person.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::Arguments => NO_ARGUMENTS,
            Self::Busy => "the file is open for writing",
            Self::Descriptors => NO_DESCRIPTORS_KEPT,
            Self::Directory => "the directory it is to run in cannot be entered",
            Self::Format => NO_FORMAT,
            Self::Hold => "it could not be held on to and was killed",
            Self::Interpreter => "the program is there, but what is to run it cannot be run",
            Self::Name => "no file can be found by its name",
            Self::Other => "the system refused",
            Self::Permission => "it may not be run",
            Self::Program => "there is no such program",
            Self::Resources => "the system has no more processes, memory or descriptors to give",
            Self::Terminal => "the terminal it is to have cannot be made",
            Self::User => "it may not run as somebody else",
        }
    }
}

/// A start that failed: no child is left behind.
#[derive(Debug)]
pub struct StartError {
    /// What failed, found out by looking when it had failed: somebody may have changed the file in between.
    pub step: StartStep,
    /// The program, as the `Command` names it.
    pub program: OsString,
    /// The directory that cannot be entered, or the interpreter that is missing or may not be run.
    pub path: Option<PathBuf>,
    /// As whom it was to run, if it is that which failed.
    pub run_as: Option<RunAs>,
    /// What the system said.
    pub error: io::Error,
}

impl StartError {
    /// Whether a script's first line has a carriage return behind its interpreter: to Unix that is a part of the name.
    fn is_of_windows_line(&self) -> bool {
        let path = self.path.as_ref();
        let path = path.filter(|_| self.step == StartStep::Interpreter);
        path.is_some_and(|path| path.as_os_str().as_encoded_bytes().ends_with(b"\r"))
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let explanation = self.step.explanation();
        write!(f, "cannot start {}: {explanation}", Quoted(&self.program))?;
        if let Some(path) = &self.path {
            // Quoted: what it ends with may be what is wrong with it.
            write!(f, " ({}", Quoted(path.as_os_str()))?;
            if self.is_of_windows_line() {
                f.write_str(", for the script's lines end as on Windows: CR LF")?;
            }
            f.write_str(")")?;
        }
        if let Some(run_as) = self.run_as {
            write!(f, " ({run_as})")?;
        }
        write!(f, ": {}", self.error)
    }
}

/// A name in a message: as it is, but for what would leave the line or turn its direction around, and for bytes that are no text.
struct Quoted<'a>(&'a OsStr);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for chunk in self.0.as_encoded_bytes().utf8_chunks() {
            for char in chunk.valid().chars() {
                let turns = matches!(char, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
                if char.is_control() || turns {
                    write!(f, "{}", char.escape_default())?;
                } else {
                    f.write_char(char)?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_char('"')
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// What an operation is answered with in a process that was forked from the one that started the child.
#[cfg(unix)]
pub(crate) fn wrong_process() -> io::Error {
    io::Error::other("this process was forked from the one that started the child")
}

/// Tells that a child has ended. A panic ends there: it is the caller's, and the thread is not.
pub(crate) fn call_back(callback: ExitCallback) {
    // Whoever called `on_exit` has nothing that a panic of their own could leave half done to us.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(callback));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_failure_says_what_failed_at_which_path_and_keeps_the_systems_words() {
        let error = StartError {
            step: StartStep::Interpreter,
            program: "tool".into(),
            path: Some("/no/such".into()),
            run_as: None,
            error: io::Error::other("what the system said"),
        };
        let text = error.to_string();
        for part in ["\"tool\"", "(\"/no/such\")", "what the system said"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains('\n'));
    }

    #[test]
    fn a_name_is_told_as_it_is_and_keeps_its_line() {
        let told = |name: &str| Quoted(OsStr::new(name)).to_string();
        assert_eq!(told(r"C:\a b\töne"), "\"C:\\a b\\töne\"");
        assert_eq!(told("e\u{301}"), "\"e\u{301}\"");
        assert_eq!(told("a\nb\u{202e}c"), "\"a\\nb\\u{202e}c\"");
    }

    #[test]
    #[cfg(unix)]
    fn a_name_that_is_no_text_is_told_with_its_bytes() {
        use std::os::unix::ffi::OsStrExt;

        let name = OsStr::from_bytes(b"a\xffb");
        assert_eq!(Quoted(name).to_string(), "\"a\\xffb\"");
    }

    #[test]
    fn a_script_with_windows_line_ends_is_told_as_one() {
        let mut error = StartError {
            step: StartStep::Interpreter,
            program: "tool".into(),
            path: Some("/bin/sh\r".into()),
            run_as: None,
            error: io::Error::other("what the system said"),
        };
        let text = error.to_string();
        let told = r#"("/bin/sh\r", for the script's lines end as on Windows: CR LF)"#;
        assert!(text.contains(told) && !text.contains('\r'), "{text}");
        // A folder may be called anything.
        error.step = StartStep::Directory;
        assert!(!error.to_string().contains("Windows"));
    }

    #[test]
    fn a_user_and_a_group_are_told_by_their_numbers() {
        let told = |user, group| RunAs { user, group }.to_string();
        assert_eq!(told(Some(5), None), "user 5");
        assert_eq!(told(None, Some(6)), "group 6");
        assert_eq!(told(Some(5), Some(6)), "user 5, group 6");
    }

    #[test]
    fn every_step_says_something_of_its_own() {
        let steps = [
            StartStep::Arguments,
            StartStep::Busy,
            StartStep::Descriptors,
            StartStep::Directory,
            StartStep::Format,
            StartStep::Hold,
            StartStep::Interpreter,
            StartStep::Name,
            StartStep::Other,
            StartStep::Permission,
            StartStep::Program,
            StartStep::Resources,
            StartStep::Terminal,
            StartStep::User,
        ];
        let told: HashSet<&str> = steps.map(StartStep::explanation).into_iter().collect();
        assert_eq!(told.len(), steps.len());
    }

    #[test]
    fn a_panic_of_the_told_ends_there() {
        call_back(Box::new(|| std::panic::resume_unwind(Box::new("caught"))));
    }
}
