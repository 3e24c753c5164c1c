//! A shell that leads the session of a terminal, at whose leading end the test types and reads.

use super::EXE;
use rustix::termios::{ControlModes, InputModes, LocalModes, OutputModes, tcgetattr};
use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};
use watertight::{Child, Command, PipeReader, Terminal, TerminalSize};

/// How long anything may take before the test calls it a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How a terminal goes about what is typed and shown.
pub(crate) type Modes = (InputModes, OutputModes, ControlModes, LocalModes);

/// Reads up to the end of this text.
pub(crate) fn read_until(output: &PipeReader, text: &str) -> String {
    let mut read = Vec::new();
    let mut buf = [0; 1];
    while !read.ends_with(text.as_bytes()) {
        let answer = output.receive(&mut buf).within(PATIENCE).wait();
        let so_far = String::from_utf8_lossy(&read);
        let n = answer.unwrap_or_else(|error| panic!("no {text:?} ({error}): {so_far:?}"));
        assert_eq!(n, 1, "it ended without {text:?}: {so_far:?}");
        read.push(buf[0]);
    }
    String::from_utf8(read).unwrap()
}

/// Whether the terminal keeps lines back, as it does unless somebody has told it otherwise.
pub(crate) fn is_in_line_mode(terminal: &Terminal) -> bool {
    let (_, _, _, modes) = modes(terminal);
    modes.contains(LocalModes::ICANON | LocalModes::ECHO)
}

fn modes(terminal: &Terminal) -> Modes {
    let leading = terminal.input.try_clone_handle().unwrap();
    let all = tcgetattr(&leading).unwrap();
    (
        all.input_modes,
        all.output_modes,
        all.control_modes,
        all.local_modes,
    )
}

/// A shell in a terminal, and what is typed and shown there.
pub(crate) struct Session {
    shell: Child,
    terminal: Terminal,
}

impl Session {
    /// The shell does `script`, in which `$C` is `command`: a script for a command of the program's.
    pub(crate) fn start(shell: &str, folder: &Path, script: &str, command: &str) -> Self {
        let mut leader = Command::new(shell);
        leader
            .args(["-c", script])
            .env("PATH", path())
            .env("C", command)
            .env("TERM", "xterm")
            .current_dir(folder)
            .kill_on_drop(true)
            .terminal(TerminalSize::default());
        let mut shell = leader.spawn().unwrap();
        let terminal = shell.terminal.take().unwrap();
        Self { shell, terminal }
    }

    /// Reads up to the end of this text.
    pub(crate) fn shows(&self, text: &str) -> String {
        read_until(&self.terminal.output, text)
    }

    pub(crate) fn types(&self, keys: &[u8]) {
        let typed = self.terminal.input.send(keys);
        typed.within(PATIENCE).wait().unwrap();
    }

    pub(crate) fn modes(&self) -> Modes {
        modes(&self.terminal)
    }

    /// Waits until the terminal passes everything on as it is.
    pub(crate) fn until_raw(&self) {
        until("the terminal to be raw", || {
            !is_in_line_mode(&self.terminal)
        });
    }

    /// The shell's exit code.
    pub(crate) fn code(self) -> Option<i32> {
        let exit = self.shell.wait().within(PATIENCE).wait().unwrap();
        exit.status().unwrap().code()
    }
}

/// Where programs are found, the one under test first.
pub(crate) fn path() -> OsString {
    let ours = Path::new(EXE).parent().unwrap().to_path_buf();
    let others = env::var_os("PATH").unwrap_or_default();
    env::join_paths([ours].into_iter().chain(env::split_paths(&others))).unwrap()
}

/// Waits for what nobody tells.
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::yield_now();
    }
}
