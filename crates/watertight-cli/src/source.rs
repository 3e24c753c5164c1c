//! The reading side of a copy: one thread that reads as much as it is given credit for, takes a seal off, and has the data hashed; and that
//! has the library move everything on from where nobody needs a queue of this program's.

use crate::event::{Event, Mailbox};
use crate::extent::Extent;
use crate::hashing::Hashing;
use crate::moving::Moving;
use crate::seal::Decoder;
use crate::source_ending::{SourceEnding, note_tree, shrinkage, untaken};
use crate::stop_request::StopRequest;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use watertight::{Child, OsHandle, PipeReader};

/// The most that is read at once: a few pipe capacities, little enough to stay in the cache.
pub(crate) const CHUNK_BYTES_MAX: u64 = 128 * 1024;

/// How many buffers wait to be used again. More than a destination's queue holds in the common case.
const BUFFERS_MAX: usize = 16;

/// A read that filled less than this part of its buffer is copied out, so that trickling input cannot pin large buffers.
const FILLED_PART_MIN: usize = 4;

/// A source that is open.
pub(crate) struct SourceEnd {
    pub(crate) reader: PipeReader,
    pub(crate) child: Option<Arc<Child>>,
    /// How much it holds, if it is a file or a block device.
    pub(crate) extent: Option<Extent>,
}

/// What is wanted of a source that is read.
pub(crate) struct Wanted {
    /// No more than so many bytes of data.
    pub(crate) limit: Option<u64>,
    /// The hash of the data.
    pub(crate) hash: bool,
    /// The stream must be a sealed one.
    pub(crate) seal: Option<Decoder>,
}

/// What the thread is to do.
enum Order {
    /// To have the library move on everything that is left.
    Move(Moving),
    /// To read so many bytes at most.
    Read(usize),
}

/// The reading thread, from outside.
pub(crate) struct Source {
    reader: Arc<PipeReader>,
    /// Who writes to it, if that is a child of ours.
    child: Option<Arc<Child>>,
    /// None once it is stopped.
    orders: Option<Sender<Order>>,
    request: Arc<StopRequest>,
    /// The thread looks whether it is stopped, and closes the source only when it has taken out what some of several destinations have
    /// had already.
    closes_by_itself: bool,
}

impl Source {
    /// Starts the thread. It does nothing before it is told to: destination files are emptied until then.
    pub(crate) fn start(end: SourceEnd, wanted: Wanted, mailbox: Mailbox) -> io::Result<Self> {
        let reader = Arc::new(end.reader);
        let request = Arc::new(StopRequest::default());
        let (orders, given) = channel();
        let thread = Reading {
            reader: reader.clone(),
            child: end.child.clone(),
            request: request.clone(),
            extent: end.extent,
            limit: wanted.limit,
            bytes_read: 0,
            seal: wanted.seal,
            seal_bytes: 0,
            hash: wanted.hash.then(Hashing::start).transpose()?,
            buffers: Buffers::default(),
        };
        std::thread::Builder::new()
            .name("source".into())
            .spawn(move || {
                let ending = thread.run(&given, &mailbox);
                mailbox.post(Event::SourceEnded(ending));
            })?;
        Ok(Self {
            reader,
            child: end.child,
            orders: Some(orders),
            request,
            closes_by_itself: false,
        })
    }

    /// Has up to so many bytes read: one chunk, and one event, at most. (Of a sealed stream as often as it takes to get data.)
    pub(crate) fn read(&self, bytes_max: usize) {
        self.order(Order::Read(bytes_max));
    }

    /// Has everything that is left moved on to the destinations, inside the kernel where that is offered. Nothing that it was told to read
    /// may be under way.
    pub(crate) fn move_on(&mut self, moving: Moving) {
        self.closes_by_itself = moving.writers.len() > 1;
        self.order(Order::Move(moving));
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // A thread that is gone has posted its ending.
            let _ = orders.send(order);
        }
    }

    /// A second handle of what is read.
    pub(crate) fn try_clone_handle(&self) -> io::Result<OsHandle> {
        self.reader.try_clone_handle()
    }

    /// Has no more taken than what one of several destinations has had, and that given to the others too; then it ends by itself. It is only for
    /// a thread that moves bytes to several: another one goes on.
    pub(crate) fn even_out(&self) {
        self.request.even_out();
    }

    /// Stops reading. What was read already still arrives; then the ending. On a thread of its own: the close waits for whoever keeps the
    /// pipe's lock, another reader of it for instance, and no signal ends that.
    pub(crate) fn stop(&mut self) {
        self.request.stop();
        self.orders = None;
        if self.closes_by_itself {
            return;
        }
        let (reader, child) = (self.reader.clone(), self.child.clone());
        let thread = std::thread::Builder::new().name("stop".into());
        let aborting = thread.spawn(move || abort(&reader, child.as_deref()));
        if aborting.is_err() {
            abort(&self.reader, self.child.as_deref());
        }
    }
}

/// Asking is enough: the reading thread hears the answer.
fn abort(reader: &PipeReader, child: Option<&Child>) {
    note_tree(child);
    let _ = reader.abort().within(Duration::ZERO).wait();
}

/// The thread's own state.
struct Reading {
    reader: Arc<PipeReader>,
    child: Option<Arc<Child>>,
    request: Arc<StopRequest>,
    extent: Option<Extent>,
    limit: Option<u64>,
    /// Everything: the seal's, too.
    bytes_read: u64,
    seal: Option<Decoder>,
    seal_bytes: u64,
    hash: Option<Hashing>,
    buffers: Buffers,
}

impl Reading {
    fn run(mut self, orders: &Receiver<Order>, mailbox: &Mailbox) -> SourceEnding {
        let mut ending = SourceEnding {
            size_at_start: self.extent.map(Extent::left),
            ..SourceEnding::default()
        };
        while self.wanted() > 0
            && let Ok(order) = orders.recv()
        {
            let bytes_max = match order {
                Order::Move(moving) => return self.move_on(moving, mailbox),
                Order::Read(bytes_max) => bytes_max,
            };
            // Behind the data a seal has bytes of its own.
            let wanted = if self.seal.is_some() {
                usize::MAX
            } else {
                self.wanted()
            };
            let mut buffer = self.buffers.take(bytes_max.min(wanted));
            match self.receive(&mut buffer) {
                Ok(0) => {
                    ending.error = shrinkage(&self.reader, self.extent, self.bytes_read);
                    ending.shrank = ending.error.is_some();
                    ending.ended = !ending.shrank;
                    break;
                }
                Ok(n) => {
                    let chunk = self.buffers.chunk(buffer, n);
                    mailbox.post(Event::Data(chunk.clone()));
                    if let Some(hash) = &self.hash {
                        hash.update(chunk);
                    }
                }
                Err(error) => {
                    // What follows from our own stopping is no failure of the source.
                    ending.error = (!self.request.is_to_stop()).then_some(error);
                    break;
                }
            }
        }
        ending.limit_reached = self.wanted() == 0;
        if ending.limit_reached {
            mailbox.post(Event::LimitReached);
        }
        let child = self.child.as_deref().filter(|_| !ending.ended);
        ending.untaken = untaken(&self.reader, child);
        ending.seal_bytes = self.seal_bytes;
        ending.hash = self.hash.map(|hash| hash.finish().0);
        ending
    }

    /// Has the library move on everything that is left.
    fn move_on(mut self, mut moving: Moving, mailbox: &Mailbox) -> SourceEnding {
        // None of them is used again.
        self.buffers = Buffers::default();
        moving.hashing = self.hash.take();
        let (child, extent) = (self.child.as_deref(), self.extent);
        moving.run(&self.reader, child, extent, &self.request, || {
            mailbox.post(Event::LimitReached);
        })
    }

    /// Reads until there are data, and puts them at the front; 0 is the end. A broken seal is told after the data before it.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, String> {
        loop {
            if let Some(failure) = self.seal.as_ref().and_then(Decoder::failure) {
                return Err(failure.to_string());
            }
            let received = self.reader.receive(buffer).wait();
            let n = received.map_err(|error| error.to_string())?;
            self.bytes_read += n as u64;
            let Some(seal) = &mut self.seal else {
                return Ok(n);
            };
            if n == 0 {
                return seal.finish().map(|()| 0).map_err(|why| why.to_string());
            }
            let data = seal.strip(&mut buffer[..n]);
            self.seal_bytes += (n - data) as u64;
            if data > 0 {
                return Ok(data);
            }
        }
    }

    /// How many bytes of data are still to be read: others may read what is behind them.
    fn wanted(&self) -> usize {
        let data = self.bytes_read - self.seal_bytes;
        let left = self
            .limit
            .map_or(u64::MAX, |limit| limit.saturating_sub(data));
        usize::try_from(left).unwrap_or(usize::MAX)
    }
}

/// Buffers that are used again once every destination is done with them. Each keeps its length, so that nothing has to be cleared again.
#[derive(Default)]
struct Buffers {
    lent: VecDeque<Bytes>,
}

impl Buffers {
    /// A buffer of `len` bytes; what is in it means nothing.
    fn take(&mut self, len: usize) -> BytesMut {
        // Destinations take chunks in order, so the oldest comes back first.
        let returned = self.lent.front().is_some_and(Bytes::is_unique);
        let oldest = if returned {
            self.lent.pop_front()
        } else {
            None
        };
        match oldest.map(Bytes::try_into_mut) {
            Some(Ok(mut buffer)) => {
                buffer.resize(len, 0);
                buffer
            }
            Some(Err(_)) | None => BytesMut::zeroed(len),
        }
    }

    /// The first `n` bytes as a chunk to hand on.
    fn chunk(&mut self, buffer: BytesMut, n: usize) -> Bytes {
        let whole = buffer.freeze();
        if n < whole.len() / FILLED_PART_MIN {
            let chunk = Bytes::copy_from_slice(&whole[..n]);
            self.lent.push_front(whole);
            return chunk;
        }
        let chunk = whole.slice(..n);
        if self.lent.len() >= BUFFERS_MAX {
            self.lent.pop_front();
        }
        self.lent.push_back(whole);
        chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_chunk_is_gone() {
        let mut buffers = Buffers::default();
        let first = buffers.take(100);
        let address = first.as_ptr();
        let chunk = buffers.chunk(first, 90);
        assert_ne!(
            buffers.take(100).as_ptr(),
            address,
            "the chunk is still in use"
        );
        drop(chunk);
        assert_eq!(buffers.take(100).as_ptr(), address);
    }

    #[test]
    fn a_buffer_that_was_not_filled_comes_back_as_long_as_it_was() {
        let mut buffers = Buffers::default();
        let mut first = buffers.take(100);
        first[99] = 7;
        drop(buffers.chunk(first, 50));
        assert_eq!(buffers.take(100)[99], 7, "it was cleared");
    }

    #[test]
    fn a_trickle_pins_no_large_buffer() {
        let mut buffers = Buffers::default();
        let first = buffers.take(1000);
        let address = first.as_ptr();
        let chunk = buffers.chunk(first, 3);
        assert_eq!(chunk.len(), 3);
        assert_eq!(
            buffers.take(1000).as_ptr(),
            address,
            "the large buffer is free at once"
        );
    }

    #[test]
    fn buffers_that_wait_are_bounded() {
        let mut buffers = Buffers::default();
        let mut kept = Vec::new();
        for _ in 0..3 * BUFFERS_MAX {
            let buffer = buffers.take(8);
            kept.push(buffers.chunk(buffer, 8));
        }
        assert_eq!(buffers.lent.len(), BUFFERS_MAX);
    }
}
