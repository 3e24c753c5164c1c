//! `watertight run --tty` (Unix): a command in a terminal of its own, to which ours is passed on.
//!
//! While it runs, our own terminal passes everything on as it is: its line mode, its echo and its signals are the command's
//! terminal's business. It is as it was again, whatever ends the run, but for a signal that cannot be heard (SIGKILL, SIGSTOP).

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::SIGWINCH;
use signal_hook::iterator::Signals;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use watertight::{
    Child, Direction, Error, PipeReader, PipeWriter, Terminal, TerminalSize, TerminalWindow,
};

/// How much of our input is passed on at once.
const INPUT_BYTES_MAX: usize = 4096;

/// What a command's terminal needs of our own streams.
pub(crate) struct OurTerminal {
    /// Our standard input, if that is a terminal.
    typed: Option<OwnedFd>,
    /// The first of our standard streams that is a terminal: the command's terminal has its size.
    shown: Option<OwnedFd>,
    input: PipeReader,
    resizes: Signals,
}

impl OurTerminal {
    /// Takes over our standard input. Before any other stream of ours is taken over.
    pub(crate) fn look() -> io::Result<Self> {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let all = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let shown = all.into_iter().find(|stream| stream.is_terminal());
        let typed = Some(stdin.as_fd()).filter(|stream| stream.is_terminal());
        let copy = |stream: BorrowedFd<'_>| stream.try_clone_to_owned();
        Ok(Self {
            shown: shown.map(copy).transpose()?,
            typed: typed.map(copy).transpose()?,
            // From here on, so that none is missed between the first size and the command.
            resizes: Signals::new([SIGWINCH])?,
            input: PipeReader::adopt(watertight::inherited(0, Direction::Read)?)?,
        })
    }

    /// The size of the command's terminal.
    pub(crate) fn size(&self) -> TerminalSize {
        self.shown.as_ref().map(shown_size).unwrap_or_default()
    }
}

/// The size of a terminal of ours. One that has none (0 by 0) is as large as any.
fn shown_size(terminal: &OwnedFd) -> TerminalSize {
    let known = tcgetwinsize(terminal)
        .ok()
        .filter(|size| size.ws_row > 0 && size.ws_col > 0);
    let size = known.map(|size| TerminalSize {
        rows: size.ws_row,
        columns: size.ws_col,
    });
    size.unwrap_or_default()
}

/// What goes on while the command runs. Dropped, it gives our terminal back; the rest ends with the process.
pub(crate) struct Meanwhile {
    /// Before anything else: whoever reads what we say has a terminal as it was.
    raw: Option<RawMode>,
    feeding: Feeding,
    resizing: Option<(signal_hook::iterator::Handle, JoinHandle<()>)>,
}

impl Meanwhile {
    /// From now on ours is passed on to the child's, and the child's has our size.
    pub(crate) fn begin(ours: OurTerminal, child: &Child) -> io::Result<Self> {
        let terminal = child
            .terminal
            .as_ref()
            .expect("a command that was told to have a terminal has one");
        let raw = ours.typed.map(RawMode::begin).transpose()?;
        let resizing = match ours.shown {
            Some(shown) => Some(resize(ours.resizes, shown, terminal.window())?),
            None => None,
        };
        Ok(Self {
            raw,
            feeding: Feeding::begin(ours.input, terminal.input.clone())?,
            resizing,
        })
    }

    /// The command is over. Why our input did not get to it, if something failed.
    pub(crate) fn end(self) -> Option<String> {
        drop(self.raw);
        if let Some((handle, thread)) = self.resizing {
            handle.close();
            let _ = thread.join();
        }
        self.feeding.end()
    }
}

/// Passes on the sizes of our terminal.
fn resize(
    mut signals: Signals,
    shown: OwnedFd,
    window: TerminalWindow,
) -> io::Result<(signal_hook::iterator::Handle, JoinHandle<()>)> {
    let handle = signals.handle();
    let thread = Builder::new().name("resizes".into()).spawn(move || {
        for _ in signals.forever() {
            // Refused by a terminal that is over: then nobody looks at it.
            let _ = window.resize(shown_size(&shown));
        }
    })?;
    Ok((handle, thread))
}

/// A thread that passes our input on.
struct Feeding {
    from: Arc<PipeReader>,
    into: Arc<PipeWriter>,
    thread: JoinHandle<Result<(), Error>>,
}

impl Feeding {
    fn begin(from: PipeReader, into: Arc<PipeWriter>) -> io::Result<Self> {
        let from = Arc::new(from);
        let thread = {
            let (from, into) = (from.clone(), into.clone());
            Builder::new()
                .name("input".into())
                .spawn(move || feed(&from, &into))?
        };
        Ok(Self { from, into, thread })
    }

    /// Stops it. The command is over: what it has not read, it did not want.
    fn end(self) -> Option<String> {
        // Else it is stopped here, and its failure is our doing.
        let was_done = self.thread.is_finished();
        let _ = self.from.abort().wait();
        let _ = self.into.abort().wait();
        match self.thread.join() {
            Ok(Err(error)) if was_done => Some(format!(
                "our standard input was not read to its end: {error}"
            )),
            Ok(_) => None,
            Err(_) => Some("the thread that passes our standard input on has panicked".to_owned()),
        }
    }
}

/// Passes on all of our input, and then says its end. Why it was not read to its end, if so. A terminal that takes no more is no
/// failure: the command is over.
fn feed(from: &PipeReader, into: &PipeWriter) -> Result<(), Error> {
    let mut buf = [0; INPUT_BYTES_MAX];
    let mut is_in_line = false;
    let failed = loop {
        match from.receive(&mut buf).wait() {
            Ok(0) => break Ok(()),
            Ok(n) => {
                if into.send(&buf[..n]).wait().is_err() {
                    return Ok(());
                }
                is_in_line = !matches!(buf[n - 1], b'\n' | b'\r');
            }
            Err(error) => break Err(error),
        }
    };
    if is_in_line {
        // This one only hands over the line that has no end.
        let _ = into.send(Terminal::END_OF_INPUT).wait();
    }
    let _ = into.send(Terminal::END_OF_INPUT).wait();
    failed
}

/// A terminal that passes everything on as it is, until this is dropped.
struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    fn begin(terminal: OwnedFd) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Now, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // It may be gone: then nobody needs it.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}
