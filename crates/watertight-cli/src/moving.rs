//! Moving everything on from the source, where nobody needs a queue of this program's: to one destination by the library's `transfer`, to
//! several by its `Tee`, and to one too whose queue is to be filled; inside the kernel where that is offered, unless the bytes are to be seen
//! or copied.
//!
//! Never here: what is in the destinations' queues when the source is over. The copy's own thread waits for that.

use crate::end::End;
use crate::extent::Extent;
use crate::gate::Gate;
use crate::hashing::Hashing;
use crate::platform;
use crate::shared_position::GivenFiles;
use crate::source_ending::{SourceEnding, shrinkage, untaken};
use crate::stop_request::StopRequest;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;
use watertight::{
    Child, DeadDestination, Error, ErrorKind, PipeReader, PipeWriter, Tee, TeeEnd, TeeError,
    TeeOutcome, Transfer, TransferEnd, TransferError, Wait, transfer,
};

/// What moves everything on.
pub(crate) struct Moving {
    /// Of one destination, or of several in their order.
    pub(crate) writers: Vec<Arc<PipeWriter>>,
    /// What is said of each of them meanwhile.
    pub(crate) gates: Vec<Arc<Gate>>,
    /// So many bytes were read before, and compared with what the destinations have.
    pub(crate) bytes_before: u64,
    /// The bytes go through this program: so that they are seen, or that nobody who changes or reads the source meanwhile changes what a
    /// destination gets. A pipe of our own may have been lent a file's pages, too.
    pub(crate) is_copied: bool,
    /// If somebody else may move the position of one of these, they go through it too, for that is right for everybody.
    pub(crate) given_files: Arc<GivenFiles>,
    /// Of several destinations those that take no more are left out, and the others go on.
    pub(crate) drops_dead: bool,
    /// What one does not take at once is queued there, so that the source is read on, and the others go on.
    pub(crate) fills_queues: bool,
    /// How often a `Tee`'s thread looks what the gates say, and whether it is to stop. Where there is one destination and nobody says anything
    /// of it, there is nothing to look for: whoever stops that copy aborts its source.
    pub(crate) look_every: Option<Duration>,
    /// No more than so many bytes behind those.
    pub(crate) limit: Option<u64>,
    /// No more than so many bytes a second.
    pub(crate) rate: Option<NonZeroU64>,
    /// The ends whose pipes may be enlarged.
    pub(crate) to_enlarge: Vec<End>,
    /// Is shown all data, if their hash is wanted. The source's thread gives it what has seen those that were read before.
    pub(crate) hashing: Option<Hashing>,
}

/// So many bytes flow before a pipe is enlarged: a small copy does not pay for it, and the pages of all pipes of a user's have one
/// bound (`pipe-user-pages-soft`).
pub(crate) const ENLARGED_AFTER_BYTES: u64 = 4 * 1024 * 1024;

/// How often the thread that moves bytes to several destinations looks whether the copy is stopped.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long bytes that are in the source may take to be read: a helper thread may have to do it.
const FRONT_WITHIN: Duration = Duration::from_secs(1);

/// How many of them are read at once.
const FRONT_BYTES_MAX: usize = 64 * 1024;

/// What was moved.
struct Moved {
    bytes: u64,
    /// The stream ended; otherwise the limit was met.
    has_ended: bool,
    /// The destinations that were left out.
    over: Vec<usize>,
}

/// Why not everything was moved.
enum NotMoved {
    /// It is to stop, and all destinations have the same, but those that take no more.
    AskedToStop(Vec<usize>),
    /// These destinations take no more, and that ends it.
    Destinations(Vec<usize>),
    Source(Error),
}

impl Moving {
    /// Moves everything, and closes the source. If the limit is met `tell_limit` is called, while the source is still open.
    pub(crate) fn run(
        mut self,
        reader: &PipeReader,
        child: Option<&Child>,
        extent: Option<Extent>,
        request: &StopRequest,
        tell_limit: impl FnOnce(),
    ) -> SourceEnding {
        let mut ending = SourceEnding {
            size_at_start: extent.map(Extent::left),
            ..SourceEnding::default()
        };
        let moved = match &self.writers[..] {
            [writer] if !self.fills_queues => self.move_to_one(reader, writer),
            _ => {
                let moved = self.move_to_all(reader, request);
                self.take_front(reader);
                moved
            }
        };
        match moved {
            Ok(moved) => {
                ending.destinations_over = moved.over;
                if moved.has_ended {
                    let read = self.bytes_before + moved.bytes;
                    ending.error = shrinkage(reader, extent, read);
                    ending.shrank = ending.error.is_some();
                    ending.ended = !ending.shrank;
                } else {
                    ending.limit_reached = true;
                    tell_limit();
                }
            }
            Err(NotMoved::AskedToStop(over)) => ending.destinations_over = over,
            // Their own endings tell of it.
            Err(NotMoved::Destinations(over)) => {
                ending.destinations_over = over;
                ending.is_destination_over = true;
            }
            Err(NotMoved::Source(error)) => {
                // One of several files had had what was cut off.
                let is_cut = error.kind == ErrorKind::Reset;
                let read = error.ledger.transferred();
                let shrank = is_cut.then(|| shrinkage(reader, extent, read)).flatten();
                ending.shrank = shrank.is_some();
                // What follows from our own stopping is no failure of the source.
                let told = || (!request.is_to_stop()).then(|| error.to_string());
                ending.error = shrank.or_else(told);
            }
        }
        ending.untaken = untaken(reader, child.filter(|_| !ending.ended));
        ending.hash = self.hash(reader);
        ending
    }

    /// The hash of everything that was read. There is none if some of that was had by destinations only that are left out by now.
    fn hash(&mut self, reader: &PipeReader) -> Option<[u8; 32]> {
        let (hash, bytes) = self.hashing.take()?.finish();
        (bytes == reader.ledger().transferred()).then_some(hash)
    }

    fn move_to_one(&self, reader: &PipeReader, writer: &PipeWriter) -> Result<Moved, NotMoved> {
        let mut bytes = 0;
        self.in_parts(reader, |bytes_max, is_copied| {
            let moving = self.transfer((reader, writer), bytes_max - bytes, is_copied);
            let moved = moving.wait().map_err(NotMoved::of_one)?;
            bytes += moved.bytes;
            Ok(Moved {
                bytes,
                has_ended: moved.has_ended,
                over: Vec::new(),
            })
        })
    }

    /// What is asked for, of one transfer. Its rate begins with a portion that passes at once, 50 ms' worth, so a second part has one too.
    fn transfer<'a>(
        &'a self,
        (reader, writer): (&'a PipeReader, &'a PipeWriter),
        bytes_max: u64,
        is_copied: bool,
    ) -> Wait<Transfer<'a>> {
        let mut moving = transfer(reader, writer)
            .bytes_max(bytes_max)
            .until_accepted();
        if let Some(rate) = self.rate {
            moving = moving.rate(rate);
        }
        match shown(self.hashing.as_ref(), is_copied) {
            Some(shown) => moving.inspect(shown),
            None => moving.in_kernel_everywhere(),
        }
    }

    fn move_to_all(&self, reader: &PipeReader, request: &StopRequest) -> Result<Moved, NotMoved> {
        let writers = self.writers.iter().map(|writer| &**writer);
        let mut tee = Tee::new(reader, writers).map_err(NotMoved::Source)?;
        tee.until_accepted();
        if self.drops_dead {
            tee.dead_destination(DeadDestination::Drop);
        }
        if self.fills_queues {
            tee.fill_queues();
        }
        if let Some(rate) = self.rate {
            tee.rate(rate);
        }
        let hashing = self.hashing.as_ref();
        let mut was_copied = None;
        self.in_parts(reader, |bytes_max, is_copied| {
            tee.bytes_max(bytes_max);
            if was_copied.replace(is_copied) != Some(is_copied) {
                match shown(hashing, is_copied) {
                    Some(shown) => tee.inspect(shown),
                    // Where queues are filled, what comes from a file or goes to one goes through the buffer all the same: nobody waits for
                    // its disk.
                    None => tee.inspect_nothing().in_kernel_everywhere(),
                };
            }
            let failed = match self.moved_unless(&mut tee, || request.is_made()) {
                Ok(moved) => {
                    return Ok(Moved {
                        bytes: moved.bytes,
                        has_ended: moved.has_ended,
                        over: left_out(&tee),
                    });
                }
                Err(failed) => failed,
            };
            // A wait that was given up is no failure of the end that it was for.
            if is_given_up(&failed) {
                return Err(if request.is_to_stop() {
                    NotMoved::Source(failed.error)
                } else {
                    NotMoved::AskedToStop(self.even_out(&mut tee, request))
                });
            }
            let TeeEnd::Destination(first) = failed.end else {
                return Err(NotMoved::Source(failed.error));
            };
            let mut over = self.even_out(&mut tee, request);
            if !over.contains(&first) {
                over.push(first);
            }
            Err(NotMoved::Destinations(over))
        })
    }

    /// Moves until that ends, or it is to stop, and heeds meanwhile what is said of single destinations. Whoever stops it leaves the source
    /// open: what some have had is taken out of it first.
    fn moved_unless(
        &self,
        tee: &mut Tee<'_>,
        is_to_stop: impl Fn() -> bool,
    ) -> Result<TeeOutcome, TeeError> {
        loop {
            let mut moving = tee.transfer();
            if let Some(every) = self.look_every {
                moving = moving.within(every);
            }
            let failed = match moving.wait() {
                Ok(moved) => return Ok(moved),
                Err(failed) => failed,
            };
            let left_out = self.heed_gates(tee);
            let goes_on = is_given_up(&failed) || is_of(&failed, &left_out);
            if !goes_on || is_to_stop() {
                return Err(failed);
            }
        }
    }

    /// Leaves out the destinations of which that is said, and writes nothing to others for now. Those that are left out since.
    fn heed_gates(&self, tee: &mut Tee<'_>) -> Vec<usize> {
        let mut left_out = Vec::new();
        let accounts = tee.destinations();
        for (index, (gate, account)) in self.gates.iter().zip(&accounts).enumerate() {
            if gate.is_left_out() && account.error.is_none() {
                tee.leave_out(index);
                left_out.push(index);
            }
            if gate.is_shut() {
                tee.pause(index);
            } else {
                tee.resume(index);
            }
        }
        left_out
    }

    /// The copy ends early: all destinations still get what any of them has had, also one that takes no more. So what was read is the same for
    /// all. The destinations that take no more.
    fn even_out(&self, tee: &mut Tee<'_>, request: &StopRequest) -> Vec<usize> {
        // It is in the source still: so only destinations are waited for.
        let had = tee.destinations().iter().map(|one| one.bytes).max();
        tee.dead_destination(DeadDestination::Drop);
        tee.bytes_max(had.unwrap_or(0));
        // Whoever takes no more now tells that itself.
        let _ = self.moved_unless(tee, || request.is_to_stop());
        left_out(tee)
    }

    /// Takes out of the source what one of the destinations has had, also if none of those that count has: it counts as read, and nobody
    /// is to read it again.
    fn take_front(&self, reader: &PipeReader) {
        let accepted = self.writers.iter().map(|one| one.ledger().accepted());
        let had = self.bytes_before + accepted.max().unwrap_or(0);
        let mut buffer = Vec::<u8>::new();
        loop {
            let missing = had.saturating_sub(reader.ledger().transferred());
            if missing == 0 {
                return;
            }
            let bytes = usize::try_from(missing).unwrap_or(usize::MAX);
            buffer.resize(bytes.min(FRONT_BYTES_MAX), 0);
            // They are not there if somebody else reads the source.
            let taken = reader.receive(&mut buffer).within(FRONT_WITHIN).wait();
            if !taken.is_ok_and(|bytes| bytes > 0) {
                return;
            }
        }
    }

    /// Has everything moved by `moved`, which is told how many bytes there may be in all, and whether they are copied, and says how many there
    /// are. Between two parts is done what pays only then: pipes are enlarged, and it is looked whether the kernel may move the bytes of files that
    /// we were given. Before that they are read and written.
    fn in_parts(
        &self,
        reader: &PipeReader,
        mut moved: impl FnMut(u64, bool) -> Result<Moved, NotMoved>,
    ) -> Result<Moved, NotMoved> {
        let limit = self.limit.unwrap_or(u64::MAX);
        let is_copied = self.is_copied || self.given_files.is_any();
        let first = moved(limit.min(ENLARGED_AFTER_BYTES), is_copied)?;
        if first.has_ended || first.bytes == limit {
            return Ok(first);
        }
        self.enlarge(reader);
        moved(limit, self.is_copied || self.given_files.is_any_shared())
    }

    fn enlarge(&self, reader: &PipeReader) {
        for end in &self.to_enlarge {
            let copy = match end {
                // Its reader may keep the lock, for which this call would wait, and the other destinations with it.
                End::Destination(index) if self.gates[*index].is_closed() => continue,
                End::Destination(index) => self.writers[*index].try_clone_handle(),
                End::Source => reader.try_clone_handle(),
            };
            // One that is over needs no room any more.
            if let Ok(copy) = copy {
                platform::enlarge(&copy);
            }
        }
    }
}

impl NotMoved {
    fn of_one(failed: TransferError) -> Self {
        if failed.end == TransferEnd::Destination {
            Self::Destinations(vec![0])
        } else {
            Self::Source(failed.error)
        }
    }
}

/// What is shown the bytes, if they go through this program: the hash, or nobody. Nothing is moved past it inside the kernel.
fn shown<'a>(
    hashing: Option<&'a Hashing>,
    is_copied: bool,
) -> Option<impl FnMut(&[u8]) + Send + 'a> {
    is_copied.then_some(move |bytes: &[u8]| {
        if let Some(hashing) = hashing {
            hashing.show(bytes);
        }
    })
}

/// Whether only the waiting ended. The system has an error of this kind too, with a number.
fn is_given_up(failed: &TeeError) -> bool {
    failed.error.kind == ErrorKind::TimedOut && failed.error.os.is_none()
}

/// Whether a wait ended because of one of these.
fn is_of(failed: &TeeError, destinations: &[usize]) -> bool {
    matches!(failed.end, TeeEnd::Destination(index) if destinations.contains(&index))
}

/// The destinations that are left out.
fn left_out(tee: &Tee<'_>) -> Vec<usize> {
    let accounts = tee.destinations();
    let accounts = accounts.iter().enumerate();
    let over = accounts.filter(|(_, account)| account.error.is_some());
    over.map(|(index, _)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To these, with nothing else wanted.
    fn moving_to(writers: impl IntoIterator<Item = PipeWriter>) -> Moving {
        let writers: Vec<_> = writers.into_iter().map(Arc::new).collect();
        Moving {
            gates: writers.iter().map(|_| Arc::default()).collect(),
            writers,
            bytes_before: 0,
            is_copied: false,
            given_files: Arc::default(),
            drops_dead: false,
            fills_queues: false,
            look_every: Some(LOOK_EVERY),
            limit: None,
            rate: None,
            to_enlarge: Vec::new(),
            hashing: None,
        }
    }

    /// How the source's command ends from then on is our doing.
    #[test]
    fn that_the_limit_is_met_is_told_before_the_source_is_closed() {
        for count in [1, 2] {
            let (reader, source) = watertight::pipe().unwrap();
            let pipes = (0..count).map(|_| watertight::pipe().unwrap());
            let (_readers, writers): (Vec<_>, Vec<_>) = pipes.unzip();
            source.send(b"wanted and left").wait().unwrap();
            let moving = Moving {
                limit: Some(6),
                ..moving_to(writers)
            };
            let mut left = Vec::new();
            let ending = moving.run(&reader, None, None, &StopRequest::default(), || {
                let mut buf = [0; 16];
                let n = reader.receive(&mut buf).wait().unwrap();
                left.extend_from_slice(&buf[..n]);
            });
            assert!(ending.limit_reached);
            assert_eq!(left, b" and left", "{count}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn what_was_read_before_counts_when_the_source_became_shorter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("source");
        std::fs::write(&path, b"compared and moved").unwrap();
        let source = std::fs::File::open(&path).unwrap();
        let extent = Extent::of(&source);
        let options = watertight::ReaderOptions::new().exact(true);
        let reader = PipeReader::adopt_with(source, options).unwrap();
        assert_eq!(reader.receive(&mut [0; 8]).wait().unwrap(), 8);
        let cut = std::fs::File::options().write(true).open(&path).unwrap();
        cut.set_len(3).unwrap();
        let (_sink, writer) = watertight::pipe().unwrap();
        let moving = Moving {
            bytes_before: 8,
            ..moving_to([writer])
        };
        let ending = moving.run(&reader, None, extent, &StopRequest::default(), || {});
        assert!(ending.shrank);
        let told = ending.error.unwrap();
        assert!(told.ends_with("18 bytes at the start, 8 read"), "{told}");
    }

    /// One has had what is cut off before another one gets it: that is told, and not that the copy is whole.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_source_that_is_cut_between_two_destinations_became_shorter() {
        struct Cutting(std::fs::File);
        impl watertight::Observer for Cutting {
            fn progress(&self, _: watertight::Ledger) {
                self.0.set_len(3).unwrap();
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("source");
        std::fs::write(&path, b"had by one").unwrap();
        let source = std::fs::File::open(&path).unwrap();
        let extent = Extent::of(&source);
        let reader = PipeReader::adopt(source).unwrap();
        let cut = std::fs::File::options().write(true).open(&path).unwrap();
        let options = watertight::WriterOptions::new().observer(Arc::new(Cutting(cut)));
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        let one = std::fs::File::create(one).unwrap();
        let one = PipeWriter::adopt_with(one, options).unwrap();
        let two = PipeWriter::adopt(std::fs::File::create(two).unwrap()).unwrap();
        let moving = moving_to([one, two]);
        let ending = moving.run(&reader, None, extent, &StopRequest::default(), || {});
        assert!(ending.shrank && !ending.ended);
        let told = ending.error.unwrap();
        assert!(told.ends_with("10 bytes at the start, 3 read"), "{told}");
        assert_eq!(reader.ledger().transferred(), 3);
    }

    /// It was slow, and is given up by whoever says so.
    #[test]
    fn one_that_is_left_out_ends_nothing_for_the_others() {
        let (reader, source) = watertight::pipe().unwrap();
        source.send(b"for the other one").wait().unwrap();
        let _ = source.finish().wait().unwrap().into_result().unwrap();
        let pipes = (0..2).map(|_| watertight::pipe().unwrap());
        let (_readers, writers): (Vec<_>, Vec<_>) = pipes.unzip();
        let moving = moving_to(writers);
        let writers = moving.writers.clone();
        moving.gates[1].leave_out();
        let _ = writers[1].abort().wait().unwrap();
        let ending = moving.run(&reader, None, None, &StopRequest::default(), || {});
        assert!(ending.ended && !ending.is_destination_over);
        assert_eq!(ending.destinations_over, [1]);
        let accepted = [0, 1].map(|index: usize| writers[index].ledger().accepted());
        assert_eq!(accepted, [17, 0]);
    }

    /// The call would wait for its reader, who keeps the lock, and so would all others.
    #[test]
    #[cfg(target_os = "linux")]
    fn no_pipe_is_enlarged_to_which_nothing_is_to_be_written() {
        use rustix::pipe::fcntl_getpipe_size;
        let (reader, _source) = watertight::pipe().unwrap();
        let enlarged = |close: fn(&Gate)| {
            let (sink, end) = std::io::pipe().unwrap();
            let before = fcntl_getpipe_size(&sink).unwrap();
            let moving = Moving {
                to_enlarge: vec![End::Destination(0)],
                ..moving_to([PipeWriter::adopt(end).unwrap()])
            };
            close(&moving.gates[0]);
            moving.enlarge(&reader);
            fcntl_getpipe_size(&sink).unwrap() > before
        };
        if !enlarged(|_| {}) {
            println!("skipped: no pipe is enlarged here");
            return;
        }
        assert!(!enlarged(|gate| gate.shut(true)));
        assert!(!enlarged(Gate::leave_out));
        // It takes bytes again.
        assert!(enlarged(|gate| {
            gate.shut(true);
            gate.shut(false);
        }));
    }

    /// A pipe without room, and its reader.
    #[cfg(target_os = "linux")]
    fn full_pipe() -> (std::io::PipeReader, PipeWriter) {
        use std::io::Write;
        let (reader, mut full) = std::io::pipe().unwrap();
        let room = rustix::pipe::fcntl_getpipe_size(&full).unwrap();
        full.write_all(&vec![0; room]).unwrap();
        (reader, PipeWriter::adopt(full).unwrap())
    }

    /// One has had it, and another one has not: nobody is to read it again. It counts behind what was read before.
    #[test]
    #[cfg(target_os = "linux")]
    fn what_one_has_had_is_out_of_a_source_that_is_stopped() {
        let (reader, source) = watertight::pipe().unwrap();
        source.send(b"comparedand had").wait().unwrap();
        assert_eq!(reader.receive(&mut [0; 8]).wait().unwrap(), 8);
        let (_sink, writer) = watertight::pipe().unwrap();
        let (_full_sink, full) = full_pipe();
        let moving = Moving {
            bytes_before: 8,
            ..moving_to([writer, full])
        };
        let request = StopRequest::default();
        request.stop();
        let ending = moving.run(&reader, None, None, &request, || {});
        assert_eq!((ending.error, ending.untaken), (None, 0));
        assert_eq!(reader.ledger().transferred(), 15);
    }

    /// The other one gets it too, before this ends. Nothing is wrong with the source.
    #[test]
    #[cfg(target_os = "linux")]
    fn what_one_has_had_all_get_before_they_stop_evenly() {
        use std::io::Read;
        let (reader, source) = watertight::pipe().unwrap();
        source.send(b"had by one").wait().unwrap();
        let (_sink, writer) = watertight::pipe().unwrap();
        let (mut full_sink, full) = full_pipe();
        let moving = moving_to([writer, full]);
        let writers = moving.writers.clone();
        let request = StopRequest::default();
        request.even_out();
        let ending = moving.run(&reader, None, None, &request, || {});
        assert_eq!((ending.error, ending.untaken), (None, 0));
        assert!(ending.destinations_over.is_empty() && !ending.ended);
        let accepted = [0, 1].map(|index: usize| writers[index].ledger().accepted());
        assert_eq!(accepted, [10, 10]);
        drop(writers);
        let mut seen = Vec::new();
        full_sink.read_to_end(&mut seen).unwrap();
        assert!(seen.ends_with(b"had by one"));
    }
}
