//! `Terminal`: the leading end of a child's pseudo-terminal.

use crate::handle::OsHandle;
use crate::options::{ReaderOptions, WriterOptions};
use crate::reader::PipeReader;
use crate::writer::PipeWriter;
use std::io;
use std::sync::Arc;
use watertight_os::{TerminalSize, duplicate, resize_terminal};

/// The leading end of a child's pseudo-terminal: see [`Command::terminal`](crate::Command::terminal).
///
/// A terminal is no pipe. What is sent to it is as if typed: it is echoed into `output`; a Ctrl-C (`0x03`) in it interrupts the
/// child; in line mode, in which a terminal begins, the child gets it line by line, and a line of more than 4,095 bytes is cut
/// there (Linux). A line that the child writes ends with `\r\n` in `output`. A child that changes the mode (a shell's line
/// editor, an editor) changes all that.
///
/// **The end of the input** is said by [`END_OF_INPUT`](Self::END_OF_INPUT), and by nothing else: finishing `input` closes one of
/// our two descriptors, and the child waits on. **The end of the output** comes when the child and all that it has started have
/// closed the terminal.
///
/// **Dropping** both ends, `input` with all its clones, hangs the child up (`SIGHUP`), once it has read what was sent.
#[derive(Debug)]
pub struct Terminal {
    /// What the child reads, as if typed. Shared, so that it can be sent to while the child is in
    /// [`communicate`](crate::Child::communicate).
    pub input: Arc<PipeWriter>,
    /// What the child writes, and the echo of what was typed.
    pub output: PipeReader,
}

impl Terminal {
    /// The byte that says the end of the input, at the beginning of a line in line mode (Ctrl-D; the child may have chosen another
    /// one). Within a line it hands over what there is of it, and a second one says the end.
    ///
    /// It ends the input once: whoever reads on, or the next program that reads, waits for more.
    pub const END_OF_INPUT: &'static [u8] = b"\x04";

    pub(crate) fn adopt(
        leading: OsHandle,
        input: WriterOptions,
        output: ReaderOptions,
    ) -> io::Result<Self> {
        let copy = duplicate(&leading)?;
        let output = PipeReader::adopt_with(leading, output)?;
        let input = Arc::new(PipeWriter::adopt_with(copy, input)?);
        Ok(Self { input, output })
    }

    /// Gives the terminal another size. If it was another one, the system tells the program in its foreground (`SIGWINCH`).
    ///
    /// # Errors
    /// `input` is over, or the system is out of descriptors.
    pub fn resize(&self, size: TerminalSize) -> io::Result<()> {
        resize(&self.input, size)
    }

    /// What sets its size from anywhere, also while the child is in [`communicate`](crate::Child::communicate).
    #[must_use]
    pub fn window(&self) -> TerminalWindow {
        TerminalWindow(self.input.clone())
    }
}

/// Sets the size of a child's terminal: see [`Terminal::window`]. It has a part in the terminal's `input`, which is not dropped as
/// long as this lives.
#[derive(Clone, Debug)]
pub struct TerminalWindow(Arc<PipeWriter>);

impl TerminalWindow {
    /// As [`Terminal::resize`].
    ///
    /// # Errors
    /// As there.
    pub fn resize(&self, size: TerminalSize) -> io::Result<()> {
        resize(&self.0, size)
    }
}

fn resize(input: &PipeWriter, size: TerminalSize) -> io::Result<()> {
    resize_terminal(&input.try_clone_handle()?, size)
}
