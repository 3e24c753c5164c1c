//! Functions of the caller's that are told of a child's output as it comes: by the piece, or line by line.

use crate::driver::panics;
use crate::lines::{Line, LineEnd};
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Which of a child's outputs.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum OutputStream {
    /// Its standard error, if that is a pipe of its own.
    Stderr,
    /// Its standard output, and what goes there with it ([`Output::to_stdout`](crate::Output::to_stdout)), or what it writes to its
    /// terminal.
    Stdout,
}

type OnOutput = dyn FnMut(OutputStream, &[u8]) + Send;
type OnLine = dyn FnMut(OutputStream, &Line) + Send;

/// A function of the caller's, if there is one. Its mutex is never locked: whoever calls has the run to itself. With it the run can
/// be shared between threads as a run without a function can.
struct Function<F: ?Sized>(Mutex<Option<Box<F>>>);

impl<F: ?Sized> Function<F> {
    const fn none() -> Self {
        Self(Mutex::new(None))
    }

    fn slot(&mut self) -> &mut Option<Box<F>> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_there(&mut self) -> bool {
        self.slot().is_some()
    }

    /// Calls it, and says whether it panicked: then it is called no more.
    fn panics(&mut self, call: impl FnOnce(&mut F)) -> bool {
        let slot = self.slot();
        let Some(function) = slot.as_mut() else {
            return false;
        };
        if !panics(|| call(function.as_mut())) {
            return false;
        }
        let broken = slot.take();
        // It may panic once more when it is dropped.
        let _ = panics(|| drop(broken));
        true
    }
}

/// Who is told of both outputs of one child.
pub(crate) struct Told {
    on_output: Function<OnOutput>,
    on_lines: Function<OnLine>,
    /// At least 1.
    line_bytes_max: usize,
    /// What came behind the last whole line.
    stdout: Line,
    stderr: Line,
    was_called: bool,
    has_panicked: bool,
}

impl Told {
    pub(super) fn new(line_bytes_max: usize) -> Self {
        Self {
            on_output: Function::none(),
            on_lines: Function::none(),
            // A bound of nothing would hand out nothing for ever.
            line_bytes_max: line_bytes_max.max(1),
            stdout: nothing(),
            stderr: nothing(),
            was_called: false,
            has_panicked: false,
        }
    }

    pub(crate) fn set_output(&mut self, function: Box<OnOutput>) {
        *self.on_output.slot() = Some(function);
    }

    pub(super) fn set_lines(&mut self, function: Box<OnLine>) {
        *self.on_lines.slot() = Some(function);
    }

    /// Whether one of them panicked.
    pub(super) const fn has_panicked(&self) -> bool {
        self.has_panicked
    }

    /// Whether one of them was called since this was asked before.
    pub(super) const fn was_called(&mut self) -> bool {
        std::mem::replace(&mut self.was_called, false)
    }

    /// Tells what came. Whether somebody has heard all of it.
    pub(super) fn tell(&mut self, stream: OutputStream, came: &[u8]) -> bool {
        if self.on_output.is_there() {
            self.was_called = true;
            let panicked = self.on_output.panics(|told| told(stream, came));
            self.has_panicked |= panicked;
        }
        if self.on_lines.is_there() {
            self.tell_lines(stream, came);
        }
        self.on_output.is_there() || self.on_lines.is_there()
    }

    /// The stream has ended: what is behind its last newline is told.
    pub(super) fn tell_end(&mut self, stream: OutputStream) {
        self.tell_rest(stream, LineEnd::Stream);
    }

    /// Nothing more is read: what is behind the last newlines is told.
    pub(super) fn tell_cut(&mut self) {
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            self.tell_rest(stream, LineEnd::Cut);
        }
    }

    fn tell_rest(&mut self, stream: OutputStream, end: LineEnd) {
        if !self.line(stream).bytes.is_empty() {
            self.tell_line(stream, end);
        }
    }

    fn tell_lines(&mut self, stream: OutputStream, mut came: &[u8]) {
        let line_bytes_max = self.line_bytes_max;
        while !came.is_empty() {
            let line = self.line(stream);
            let room = line_bytes_max - line.bytes.len();
            let window = &came[..came.len().min(room)];
            let newline = window.iter().position(|byte| *byte == b'\n');
            let (taken, end) = match newline {
                Some(at) => (at + 1, Some(LineEnd::Newline)),
                None if window.len() == room => (room, Some(LineEnd::Bound)),
                None => (window.len(), None),
            };
            line.bytes.extend_from_slice(&came[..taken]);
            came = &came[taken..];
            if let Some(end) = end {
                self.tell_line(stream, end);
            }
        }
    }

    /// Tells the line that is put together, and begins the next one.
    fn tell_line(&mut self, stream: OutputStream, end: LineEnd) {
        self.was_called = true;
        let line = match stream {
            OutputStream::Stderr => &mut self.stderr,
            OutputStream::Stdout => &mut self.stdout,
        };
        line.end = end;
        let panicked = self.on_lines.panics(|told| told(stream, line));
        line.bytes.clear();
        self.has_panicked |= panicked;
    }

    const fn line(&mut self, stream: OutputStream) -> &mut Line {
        match stream {
            OutputStream::Stderr => &mut self.stderr,
            OutputStream::Stdout => &mut self.stdout,
        }
    }
}

/// A line of which nothing has come.
const fn nothing() -> Line {
    Line {
        bytes: Vec::new(),
        end: LineEnd::Cut,
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told")
            .field("has_panicked", &self.has_panicked)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, channel};

    type Heard = (OutputStream, Vec<u8>, LineEnd);

    fn told_lines(line_bytes_max: usize) -> (Told, Receiver<Heard>) {
        let (to, heard) = channel();
        let mut told = Told::new(line_bytes_max);
        told.set_lines(Box::new(move |stream, line: &Line| {
            to.send((stream, line.bytes.clone(), line.end))
                .expect("the test listens");
        }));
        (told, heard)
    }

    #[test]
    fn lines_are_put_together_stream_by_stream_whatever_the_pieces() {
        let (mut told, heard) = told_lines(100);
        for piece in [&b"fi"[..], b"rst\nsec", b"", b"ond\n\nrest"] {
            assert!(told.tell(OutputStream::Stdout, piece));
            assert!(told.tell(OutputStream::Stderr, b"."));
        }
        told.tell_end(OutputStream::Stdout);
        told.tell_end(OutputStream::Stdout);
        told.tell_cut();
        let out = |bytes: &[u8], end| (OutputStream::Stdout, bytes.to_vec(), end);
        let expected = [
            out(b"first\n", LineEnd::Newline),
            out(b"second\n", LineEnd::Newline),
            out(b"\n", LineEnd::Newline),
            out(b"rest", LineEnd::Stream),
            (OutputStream::Stderr, b"....".to_vec(), LineEnd::Cut),
        ];
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_longer_line_comes_in_pieces_that_say_so() {
        for pieces in [1, 2, 5, 12] {
            let (mut told, heard) = told_lines(5);
            for piece in b"0123456789ab\n01234\n".chunks(pieces) {
                assert!(told.tell(OutputStream::Stdout, piece));
            }
            let lines: Vec<_> = heard.try_iter().map(|(_, line, end)| (line, end)).collect();
            let expected = [
                ("01234", LineEnd::Bound),
                ("56789", LineEnd::Bound),
                ("ab\n", LineEnd::Newline),
                ("01234", LineEnd::Bound),
                ("\n", LineEnd::Newline),
            ]
            .map(|(line, end)| (line.as_bytes().to_vec(), end));
            assert_eq!(lines, expected, "{pieces}");
        }
    }

    #[test]
    fn who_panics_is_called_no_more_and_the_other_goes_on() {
        let (mut told, heard) = told_lines(100);
        let held = Arc::new(());
        let witness = Arc::downgrade(&held);
        told.set_output(Box::new(move |_: OutputStream, _: &[u8]| {
            let _held = &held;
            std::panic::resume_unwind(Box::new("caught"));
        }));
        assert!(told.tell(OutputStream::Stdout, b"one\n"));
        assert!(told.has_panicked() && told.was_called());
        assert!(witness.upgrade().is_none(), "it is dropped");
        assert!(told.tell(OutputStream::Stdout, b"two\n"));
        assert_eq!(heard.try_iter().count(), 2);
    }

    #[test]
    fn without_anybody_to_be_told_nothing_is_kept() {
        let mut told = Told::new(100);
        assert!(!told.tell(OutputStream::Stdout, b"unheard"));
        told.tell_cut();
        assert!(!told.was_called() && told.stdout.bytes.is_empty());
    }
}
