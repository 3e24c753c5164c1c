//! How bytes get on inside a copy: credit to the source, what it brings, and chunks to the destinations; and from where on the library moves
//! them.

use super::Copy;
use crate::copy_ending::CopyEnding;
use crate::destination::Destination;
use crate::end::End;
use crate::flags::{CopyFlags, DeadPolicy};
use crate::moving::{ENLARGED_AFTER_BYTES, LOOK_EVERY, Moving};
use crate::platform;
use crate::reserve::Reserve;
use crate::source::CHUNK_BYTES_MAX;
use crate::verdict::{Act, Verdict, act};
use bytes::Bytes;
use std::num::NonZeroU64;
use std::time::Instant;

/// Below this a chunk costs more in handling than in copying; smaller only if the buffer is.
const CHUNK_BYTES_MIN: u64 = 4 * 1024;
/// A buffer holds so many chunks, so that it fills while it is emptied.
const CHUNKS_PER_BUFFER: u64 = 4;
/// So many chunks may be read, or being read, before their turn.
const READ_AHEAD_CHUNKS: usize = 2;

/// How much is asked for at once.
fn chunk_bytes(flags: &CopyFlags) -> usize {
    let buffer = flags.buffer_bytes();
    let chunk = (buffer / CHUNKS_PER_BUFFER).clamp(CHUNK_BYTES_MIN.min(buffer), CHUNK_BYTES_MAX);
    usize::try_from(chunk).expect("a chunk is small")
}

/// What `--start-at` holds back, if it is wanted.
pub(super) fn reserve(flags: &CopyFlags) -> Option<Reserve> {
    let percent = flags.start_at?;
    let block = chunk_bytes(flags);
    Some(Reserve::new(flags.buffer_bytes(), percent, block))
}

/// From where in the source on the library moves everything, if it does: behind what the files of all destinations have already. Where these
/// have not the same, some compare what others are to get, so it all goes through our queues.
pub(super) fn moves_from(flags: &CopyFlags, destinations: &[Destination]) -> Option<u64> {
    let there = destinations.iter().map(|one| one.resumed_at().unwrap_or(0));
    let (shortest, longest) = (there.clone().min()?, there.max()?);
    (flags.lets_bytes_pass() && shortest == longest).then_some(longest)
}

impl Copy<'_> {
    /// Has the library move on everything that was not read yet.
    pub(super) fn move_on(&mut self) {
        self.is_moving = true;
        self.pace = None;
        self.mailbox.wants_progress(false);
        let limit = self.flags.read_bytes_max();
        let is_looked = self.destinations.len() > 1 || self.is_movement_watched();
        self.source.move_on(Moving {
            writers: self.destinations.iter().map(Destination::writer).collect(),
            gates: self.destinations.iter().map(Destination::gate).collect(),
            bytes_before: self.bytes_read,
            is_copied: self.flags.stable || self.flags.hash.is_some(),
            given_files: self.given_files.clone(),
            drops_dead: self.flags.dead == DeadPolicy::Drop,
            fills_queues: self.flags.fills_queues(),
            look_every: is_looked.then_some(LOOK_EVERY),
            limit: limit.map(|limit| limit.saturating_sub(self.bytes_read)),
            rate: self.flags.rate.and_then(NonZeroU64::new),
            to_enlarge: std::mem::take(&mut self.to_enlarge),
            hashing: None,
        });
    }

    /// Has it do so once everything is compared that the destinations have already. At the limit, or stopped, the source ends by itself.
    fn move_on_if_compared(&mut self) {
        let is_compared = self.moves_from == Some(self.bytes_read)
            && self.outstanding == 0
            && self.ahead.is_empty();
        let is_over =
            self.drain_since.is_some() || self.flags.read_bytes_max() == Some(self.bytes_read);
        if !is_compared || is_over || self.is_moving {
            return;
        }
        if self.destinations.iter().all(Destination::is_live) {
            self.move_on();
        } else {
            // One that was given up may be open still, and is to get nothing.
            self.moves_from = None;
        }
    }

    /// Goes as far as it can without waiting: chunks to destinations, credit to the source.
    pub(super) fn advance(&mut self, now: Instant) {
        self.open_reserve();
        loop {
            let is_drained = self.is_source_over(now) && self.ahead.is_empty();
            if is_drained {
                self.end_prefixes(now);
            }
            if is_drained && self.verdict != Verdict::Open {
                self.end_seal();
            }
            for destination in &mut self.destinations {
                let rule = self.flags.end_rule(destination.is_child());
                let may_end = act(rule, self.verdict, is_drained) == Act::End;
                if destination.advance(may_end, now, &self.mailbox) {
                    self.moved_at = self.moved_at.max(now);
                }
            }
            if !self.destinations.iter().all(Destination::is_ready) {
                break;
            }
            let Some(chunk) = self.ahead.pop_front() else {
                break;
            };
            self.push(chunk, now);
        }
        self.move_on_if_compared();
        self.give_credit(now);
    }

    /// Takes what the source brought. With `--start-at` it waits for more, if everything before it has gone.
    pub(super) fn take_in(&mut self, chunk: Bytes) {
        let Some(reserve) = &mut self.reserve else {
            self.ahead.push_back(chunk);
            return;
        };
        let is_behind =
            !self.ahead.is_empty() || self.destinations.iter().any(Destination::is_behind);
        if !is_behind && self.drain_since.is_none() {
            reserve.fill();
        }
        if reserve.missing().is_some() {
            reserve.put(&chunk);
        } else {
            self.ahead.push_back(chunk);
        }
    }

    /// Lets go what was held back, if it is enough or no more comes.
    fn open_reserve(&mut self) {
        let is_last = self.drain_since.is_some();
        if let Some(reserve) = &mut self.reserve
            && (is_last || reserve.missing() == Some(0))
        {
            self.ahead.extend(reserve.open());
        }
    }

    /// Hands a chunk to every destination. All of them are ready.
    fn push(&mut self, data: Bytes, now: Instant) {
        let data_bytes = data.len();
        let chunk = match &mut self.sealer {
            None => Some(data),
            Some(sealer) => sealer.data(&data).map(Bytes::from),
        };
        // Without one the seal is closed: what a source brings that had been given up already.
        let Some(chunk) = chunk else { return };
        let seal_bytes = (chunk.len() - data_bytes) as u64;
        let mut is_other = false;
        for destination in &mut self.destinations {
            is_other |= !destination.push(chunk.clone(), seal_bytes, now);
        }
        if is_other {
            self.handle_other_source(now);
        }
    }

    /// The source is at its end: a partial that has more was not left by a copy of it.
    fn end_prefixes(&mut self, now: Instant) {
        let is_whole = self
            .source_ending
            .as_ref()
            .is_some_and(|ending| ending.error.is_none() && (ending.ended || ending.limit_reached));
        if !is_whole {
            return;
        }
        let mut is_other = false;
        for destination in &mut self.destinations {
            is_other |= !destination.end_prefix(now);
        }
        if is_other {
            self.handle_other_source(now);
        }
    }

    /// A partial was not left by a copy of this source, and its destination is given up.
    fn handle_other_source(&mut self, now: Instant) {
        let is_any_left = self.destinations.iter().any(Destination::is_live);
        if self.flags.dead == DeadPolicy::Fail || !is_any_left {
            self.stop_source(CopyEnding::NotResumed, now);
        }
    }

    /// Closes the seal, once: with the end mark if everything is known to be well, else with the word that the stream is cut.
    fn end_seal(&mut self) {
        let ending = self.source_ending.as_ref();
        let whole = ending.filter(|_| self.verdict == Verdict::Good);
        let hash = whole.and_then(|ending| ending.hash);
        let last = self.sealer.as_mut().and_then(|sealer| sealer.last(hash));
        if let Some(last) = last.map(Bytes::from) {
            for destination in &mut self.destinations {
                destination.push_last(last.clone());
            }
        }
    }

    /// Enough has flowed for larger pipes to pay. Each is enlarged on a thread of its own: that waits for whoever keeps the pipe's lock, and
    /// keeps only that pipe open meanwhile.
    pub(super) fn enlarge_once_it_pays(&mut self) {
        if self.bytes_read < ENLARGED_AFTER_BYTES {
            return;
        }
        for end in std::mem::take(&mut self.to_enlarge) {
            let copy = match end {
                End::Destination(index) => self.destinations[index].writer().try_clone_handle(),
                End::Source => self.source.try_clone_handle(),
            };
            // One that is over needs no room any more.
            if let Ok(copy) = copy {
                let thread = std::thread::Builder::new().name("enlarge".to_owned());
                // Without a thread it stays as it is.
                let _ = thread.spawn(move || platform::enlarge(&copy));
            }
        }
    }

    /// How many bytes are still to be read by ourselves: all, or those that are compared before the library moves the rest on.
    fn ours_to_read(&self) -> usize {
        let ours = self
            .moves_from
            .map(|from| from.saturating_sub(self.bytes_read));
        usize::try_from(ours.unwrap_or(u64::MAX)).unwrap_or(usize::MAX)
    }

    fn give_credit(&mut self, now: Instant) {
        if self.is_moving || self.drain_since.is_some() {
            return;
        }
        let mut chunk = chunk_bytes(self.flags);
        let mut chunks_max = READ_AHEAD_CHUNKS;
        if let Some(missing) = self.reserve.as_ref().and_then(Reserve::missing) {
            // One at a time, so that no more is asked for than what is missing.
            chunks_max = 1;
            chunk = chunk.min(usize::try_from(missing.max(1)).unwrap_or(usize::MAX));
        }
        let ours = self.ours_to_read();
        let Some(pace) = &self.pace else {
            while self.outstanding + self.ahead.len() < chunks_max {
                // So many at most are asked for already.
                let bytes = chunk.min(ours.saturating_sub(self.outstanding * chunk));
                if bytes == 0 {
                    break;
                }
                self.outstanding += 1;
                self.source.read(bytes);
            }
            return;
        };
        // One portion at a time, so that the next is asked for when this one is paid.
        if self.outstanding > 0 || !self.ahead.is_empty() {
            return;
        }
        if pace.due() <= now && ours > 0 {
            self.outstanding += 1;
            self.source.read(pace.portion().min(chunk).min(ours));
        }
    }
}
