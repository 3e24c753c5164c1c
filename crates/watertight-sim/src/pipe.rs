//! How bytes stand in a kernel's pipe: page slots, a socket's buffer, or a queue with a quota (NPFS).
//!
//! The model keeps a log of every byte that was ever put in; entries are ranges of it. What the two ends say about bytes is
//! compared with this log, and with nothing the driver says.

use crate::chance::Chance;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use watertight_core::OpId;

/// How a pipe holds bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// Page slots; a write of at most a page is all or nothing (pipe(7), PIPE_BUF). A page is smaller here than in life.
    Pages {
        /// How many.
        slots: usize,
        /// How large each.
        page: usize,
    },
    /// Takes any part of a write (a Unix socket, a terminal).
    Buffer {
        /// How many bytes.
        bytes: usize,
    },
    /// Takes a write whole and answers it when what is unread of it fits the quota (named pipes of Windows).
    Quota {
        /// How many bytes.
        bytes: usize,
        /// Whether the reader sees where a write ended.
        messages: bool,
    },
}

/// Bytes that were written and not read.
#[derive(Debug)]
struct Entry {
    /// Where in the log they are.
    rest: Range<usize>,
    /// How much of the page or the message was ever used.
    used: usize,
    /// The write that waits for them to be read, or to fit.
    waiting: Option<OpId>,
}

/// What a read got.
#[derive(Debug, Eq, PartialEq)]
pub enum Got {
    /// Bytes; whether the message goes on.
    Bytes(Vec<u8>, bool),
    /// An empty message.
    Empty,
    /// Nothing there.
    Nothing,
}

/// One direction of a pipe.
#[derive(Debug)]
pub struct Pipe {
    shape: Shape,
    log: Vec<u8>,
    queue: VecDeque<Entry>,
    /// Bytes the reading end took out.
    pub read: usize,
    /// The writing end is open.
    pub writing: bool,
    /// The reading end is open.
    pub reading: bool,
    /// The server cut the connection, and what was in it.
    pub disconnected: bool,
    /// Nobody has come yet.
    pub listening: bool,
    /// The reading end went with bytes unread, and nobody was told yet (a socket's ECONNRESET).
    pub reset: bool,
    /// The writing end left with bytes of ours unread: told after its data, once (a socket's ECONNRESET).
    pub was_reset: bool,
    /// Which bytes somebody else put in.
    foreign: Vec<Range<usize>>,
    /// How many of those the reading end took out.
    read_foreign: usize,
}

fn overlap(one: &Range<usize>, other: &Range<usize>) -> usize {
    one.end
        .min(other.end)
        .saturating_sub(one.start.max(other.start))
}

impl Pipe {
    /// An open pipe.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            log: Vec::new(),
            queue: VecDeque::new(),
            read: 0,
            writing: true,
            reading: true,
            disconnected: false,
            listening: false,
            reset: false,
            was_reset: false,
            foreign: Vec::new(),
            read_foreign: 0,
        }
    }

    /// Every byte that was ever put in, in order.
    #[must_use]
    pub fn log(&self) -> &[u8] {
        &self.log
    }

    /// Every byte that our own writer put in, in order.
    #[must_use]
    pub fn own(&self) -> Cow<'_, [u8]> {
        if self.foreign.is_empty() {
            return Cow::Borrowed(&self.log);
        }
        let is_own = |at: usize| !self.foreign.iter().any(|range| range.contains(&at));
        let own = self.log.iter().enumerate().filter(|(at, _)| is_own(*at));
        Cow::Owned(own.map(|(_, byte)| *byte).collect())
    }

    /// How many bytes of our own writer the reading end took out.
    #[must_use]
    pub const fn read_own(&self) -> usize {
        self.read - self.read_foreign
    }

    /// Puts bytes of somebody else in that fit.
    pub fn push_foreign(&mut self, data: &[u8]) {
        let start = self.log.len();
        self.push(data);
        self.foreign.push(start..self.log.len());
    }

    /// How it holds bytes.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// The first bytes in it, at most so many. They stay.
    #[must_use]
    pub fn front(&self, max: usize) -> Vec<u8> {
        let entries = self.queue.iter();
        let bytes = entries.flat_map(|entry| &self.log[entry.rest.clone()]);
        bytes.take(max).copied().collect()
    }

    /// Whether it may end in a reset.
    #[must_use]
    pub const fn is_socket(&self) -> bool {
        matches!(self.shape, Shape::Buffer { .. })
    }

    /// Whether something that was put in before place `upto` of the log is still unread.
    #[must_use]
    pub fn holds_before(&self, upto: usize) -> bool {
        self.queue
            .front()
            .is_some_and(|entry| entry.rest.start < upto)
    }

    /// How many bytes wait to be read.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.queue.iter().map(|entry| entry.rest.len()).sum()
    }

    /// Whether there is something to read, an empty message included.
    #[must_use]
    pub fn holds_any(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether it takes writes whole and answers them later.
    #[must_use]
    pub const fn has_quota(&self) -> bool {
        matches!(self.shape, Shape::Quota { .. })
    }

    /// How many of `len` bytes it takes at once.
    #[must_use]
    pub fn room(&self, len: usize) -> usize {
        match self.shape {
            Shape::Pages { slots, page } => {
                let tail = len % page;
                let merged = match self.queue.back() {
                    Some(last) if tail > 0 && last.used + tail <= page => tail,
                    _ => 0,
                };
                let room = merged + (slots.saturating_sub(self.queue.len())) * page;
                if len <= page && room < len {
                    0
                } else {
                    room.min(len)
                }
            }
            Shape::Buffer { bytes } | Shape::Quota { bytes, .. } => {
                bytes.saturating_sub(self.unread()).min(len)
            }
        }
    }

    /// Puts bytes in that fit.
    pub fn push(&mut self, data: &[u8]) {
        let start = self.log.len();
        self.log.extend_from_slice(data);
        match self.shape {
            Shape::Pages { page, .. } => self.push_pages(start, page),
            Shape::Buffer { .. } | Shape::Quota { .. } => self.push_entry(start, None),
        }
    }

    /// Puts a whole write in, which waits until what is unread of it fits.
    pub fn push_waiting(&mut self, data: &[u8], id: OpId) {
        let start = self.log.len();
        self.log.extend_from_slice(data);
        self.push_entry(start, Some(id));
    }

    fn push_entry(&mut self, start: usize, waiting: Option<OpId>) {
        let rest = start..self.log.len();
        let used = rest.len();
        self.queue.push_back(Entry {
            rest,
            used,
            waiting,
        });
    }

    fn push_pages(&mut self, mut start: usize, page: usize) {
        let end = self.log.len();
        let tail = (end - start) % page;
        if let Some(last) = self.queue.back_mut()
            && tail > 0
            && last.used + tail <= page
        {
            last.rest.end += tail;
            last.used += tail;
            start += tail;
        }
        while start < end {
            let stop = end.min(start + page);
            self.queue.push_back(Entry {
                rest: start..stop,
                used: stop - start,
                waiting: None,
            });
            start = stop;
        }
    }

    /// Takes out at most `max` bytes: what is there, or one message of it.
    pub fn pull(&mut self, max: usize) -> Got {
        let messages = matches!(self.shape, Shape::Quota { messages: true, .. });
        if messages && self.queue.front().is_some_and(|first| first.used == 0) {
            self.queue.pop_front();
            return Got::Empty;
        }
        let mut data = Vec::new();
        let mut goes_on = false;
        for entry in &mut self.queue {
            let n = entry.rest.len().min(max - data.len());
            data.extend_from_slice(&self.log[entry.rest.start..entry.rest.start + n]);
            let taken = entry.rest.start..entry.rest.start + n;
            self.read_foreign += self
                .foreign
                .iter()
                .map(|one| overlap(one, &taken))
                .sum::<usize>();
            entry.rest.start += n;
            self.read += n;
            goes_on = messages && !entry.rest.is_empty();
            if messages || data.len() == max {
                break;
            }
        }
        self.drop_read();
        if data.is_empty() {
            Got::Nothing
        } else {
            Got::Bytes(data, goes_on)
        }
    }

    /// A write that waits to be answered stays in the queue although it is read.
    fn drop_read(&mut self) {
        self.queue
            .retain(|entry| !entry.rest.is_empty() || entry.waiting.is_some() || entry.used == 0);
    }

    /// An empty message; nothing on a pipe without messages.
    pub fn push_empty(&mut self) {
        if matches!(self.shape, Shape::Quota { messages: true, .. }) {
            self.push_entry(self.log.len(), None);
        }
    }

    /// Takes out the writes whose unread rest fits the quota by now.
    pub fn answer_waiting(&mut self) -> Vec<OpId> {
        let Shape::Quota { bytes, .. } = self.shape else {
            return Vec::new();
        };
        let mut answered = Vec::new();
        let mut before = 0;
        for entry in &mut self.queue {
            before += entry.rest.len();
            if before <= bytes
                && let Some(id) = entry.waiting.take()
            {
                answered.push(id);
            }
        }
        self.drop_read();
        answered
    }

    /// Takes back a waiting write: the whole entry goes, read or not. Says whether it was there.
    pub fn remove_waiting(&mut self, id: OpId) -> bool {
        let before = self.queue.len();
        self.queue.retain(|entry| entry.waiting != Some(id));
        self.queue.len() < before
    }

    /// Throws away what is unread. The writes that waited in it.
    pub fn clear(&mut self) -> Vec<OpId> {
        let queue = std::mem::take(&mut self.queue);
        queue
            .into_iter()
            .filter_map(|entry| entry.waiting)
            .collect()
    }

    /// Cuts a write short for no reason, where the system may.
    pub fn shortened(&self, room: usize, chance: &mut Chance) -> usize {
        if room > 1 {
            chance.length(1, room - 1)
        } else {
            room
        }
    }
}
