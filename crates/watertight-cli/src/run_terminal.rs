//! `watertight run --tty` (Unix): a command in a terminal of its own, to which ours is passed on.
//!
//! While it runs, our own terminal passes everything on as it is: its line mode, its echo and its signals are the command's
//! terminal's business. It is as it was again, whatever ends the run, but for a signal that cannot be heard (SIGKILL, SIGSTOP) and a fault of our own. In its
//! background we leave it alone (`foreground.rs`).

use crate::foreground::{Lent, Typed};
use rustix::termios::tcgetwinsize;
use signal_hook::consts::{SIGCONT, SIGWINCH};
use signal_hook::iterator::Signals;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use watertight::{
    Child, Direction, Error, OsHandle, PipeReader, PipeWriter, Terminal, TerminalSize,
    TerminalWindow,
};

/// How much of our input is passed on at once.
const INPUT_BYTES_MAX: usize = 4096;

/// What a command's terminal needs of our own streams.
pub(crate) struct OurTerminal {
    /// Our standard input, if that is a terminal.
    typed: Option<Typed>,
    /// The first of our standard streams that is a terminal: the command's terminal has its size.
    shown: Option<OwnedFd>,
    input: PipeReader,
    /// Signals: our terminal may have another size, or be ours again.
    changes: Signals,
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
            typed: typed.map(|stream| Typed::new(copy(stream)?)).transpose()?,
            // From here on, so that none is missed between the first size and the command.
            changes: Signals::new([SIGCONT, SIGWINCH])?,
            input: PipeReader::adopt(our_input()?)?,
        })
    }

    /// The size of the command's terminal.
    pub(crate) fn size(&self) -> TerminalSize {
        self.shown.as_ref().map(shown_size).unwrap_or_default()
    }
}

/// Our standard input. One that was closed when we were started has nothing, as for a command without a terminal.
fn our_input() -> io::Result<OsHandle> {
    if watertight::was_closed_at_start(0) {
        return Ok(File::open("/dev/null")?.into());
    }
    Ok(watertight::inherited(0, Direction::Read)?)
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
    lent: Option<Lent>,
    feeding: Feeding,
    following: Option<(signal_hook::iterator::Handle, JoinHandle<()>)>,
}

impl Meanwhile {
    /// From now on ours is passed on to the child's, and the child's has our size.
    pub(crate) fn begin(ours: OurTerminal, child: &Child) -> io::Result<Self> {
        let terminal = child
            .terminal
            .as_ref()
            .expect("a command that was told to have a terminal has one");
        let lent = ours.typed.map(Lent::begin).transpose()?;
        let typed = || lent.as_ref().map(|lent| lent.0.clone());
        let following = match ours.shown {
            Some(shown) => Some(follow(ours.changes, typed(), shown, terminal.window())?),
            None => None,
        };
        Ok(Self {
            feeding: Feeding::begin(ours.input, typed(), terminal.input.clone())?,
            lent,
            following,
        })
    }

    /// The command is over. Why our input did not get to it, if something failed.
    pub(crate) fn end(self) -> Option<String> {
        drop(self.lent);
        if let Some((handle, thread)) = self.following {
            handle.close();
            let _ = thread.join();
        }
        self.feeding.end()
    }
}

/// Passes on the sizes of our terminal, and tells `typed` when we go on after a stop.
fn follow(
    mut changes: Signals,
    typed: Option<Arc<Typed>>,
    shown: OwnedFd,
    window: TerminalWindow,
) -> io::Result<(signal_hook::iterator::Handle, JoinHandle<()>)> {
    let handle = changes.handle();
    let thread = Builder::new().name("changes".into()).spawn(move || {
        // They may have been blocked when we were started.
        watertight::unblock_signals(&[SIGCONT, SIGWINCH]);
        for signal in changes.forever() {
            if let Some(typed) = typed.as_ref().filter(|_| signal == SIGCONT) {
                typed.note_continued();
            }
            // Also after a stop: only the foreground is told of a new size. A terminal that is over refuses it: then nobody looks at it.
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
    fn begin(
        from: PipeReader,
        typed: Option<Arc<Typed>>,
        into: Arc<PipeWriter>,
    ) -> io::Result<Self> {
        let from = Arc::new(from);
        let thread = {
            let (from, into) = (from.clone(), into.clone());
            Builder::new()
                .name("input".into())
                .spawn(move || feed(&from, typed.as_deref(), &into))?
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
fn feed(from: &PipeReader, typed: Option<&Typed>, into: &PipeWriter) -> Result<(), Error> {
    let mut buf = [0; INPUT_BYTES_MAX];
    let mut is_in_line = false;
    let failed = loop {
        let goes_on = typed.is_none_or(Typed::wait);
        if !goes_on {
            return Ok(());
        }
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
