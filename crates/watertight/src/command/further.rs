//! What a child has beside its standard streams (Unix): pipes at numbers of its own, a terminal, a control group, and, if asked, nothing
//! else of ours.

use crate::child::FurtherPipes;
use crate::handle::OsHandle;
use crate::options::{ReaderOptions, WriterOptions};
use crate::reader::PipeReader;
use crate::writer::PipeWriter;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::process;
use watertight_os::{Cgroup, Descriptors, Direction, EarlierStarts, Prepared, plain_pipe};

/// What a child has beside its standard streams.
#[derive(Debug, Default)]
pub(super) struct Further {
    /// Pipes to be made: their number in the child, and what the child does with it.
    pub(super) pipes: Vec<(u32, Direction)>,
    pub(super) only: Option<Vec<u32>>,
    descriptors: Descriptors,
}

impl Further {
    /// Makes the pipes, and has the next child find its ends, lead a session with this terminal, and be in a control group of its own, where
    /// there can be one. With it come ours, until the child is started.
    pub(super) fn prepare(
        &mut self,
        command: &mut process::Command,
        earlier: &mut EarlierStarts,
        terminal: Option<BorrowedFd<'_>>,
        has_cgroup: bool,
    ) -> io::Result<FurtherEnds> {
        let cgroup = if has_cgroup { Cgroup::make() } else { None };
        let has_pipes = !self.pipes.is_empty();
        if !has_pipes && self.only.is_none() && terminal.is_none() && cgroup.is_none() {
            return Ok(FurtherEnds::default());
        }
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for (number, direction) in &self.pipes {
            let (from, into) = plain_pipe()?;
            let (our, their) = match direction {
                Direction::Read => (into, from),
                Direction::Write => (from, into),
            };
            ours.push((*number, *direction, our));
            theirs.push((their, *number));
        }
        let only = self.only.as_deref();
        let prepared = self
            .descriptors
            .prepare(command, earlier, theirs, only, terminal)?;
        Ok(FurtherEnds {
            ours,
            prepared: Some(prepared.join(cgroup)),
        })
    }
}

/// Our ends of a child's further pipes.
#[derive(Default)]
pub(super) struct FurtherEnds {
    ours: Vec<(u32, Direction, OsHandle)>,
    /// The child's, until it is started.
    prepared: Option<Prepared>,
}

impl FurtherEnds {
    /// The control group that the child is in, once it was started, if that is its own.
    pub(super) fn joined_cgroup(&mut self) -> Option<Cgroup> {
        self.prepared.as_mut()?.joined()
    }

    /// Our ends of the pipes, until they are adopted.
    pub(super) fn ours(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.ours.iter().map(|(_, _, ours)| ours.as_fd())
    }

    pub(super) fn adopt(self) -> io::Result<FurtherPipes> {
        let mut pipes = FurtherPipes::default();
        for (number, direction, ours) in self.ours {
            match direction {
                Direction::Read => {
                    let writer = PipeWriter::adopt_unshared(ours, WriterOptions::new())?;
                    pipes.writers.push((number, writer));
                }
                Direction::Write => {
                    let reader = PipeReader::adopt_unshared(ours, ReaderOptions::new())?;
                    pipes.readers.push((number, reader));
                }
            }
        }
        Ok(pipes)
    }
}
