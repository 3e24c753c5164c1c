//! The line of those who wait for room: served in order, and nothing gets between the pieces of one message.
//!
//! It belongs to one pipe and is used under that pipe's lock; wakers are handed out, never called or dropped here.

use crate::driver::Wakes;
use std::collections::VecDeque;
use std::task::Waker;
use watertight_core::WriteHalf;

/// A message larger than the queue is accepted in pieces of at least this part of the queue.
const PIECES_PER_QUEUE: u64 = 4;

/// Where a message that is being accepted stands. Belongs to the caller's waiting value.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Its place in the line; 0 without one.
    place: u64,
    /// How many of its bytes are accepted.
    pub(crate) accepted: u64,
}

struct Place {
    id: u64,
    needs: u64,
    /// `None` while its owner is awake.
    waker: Option<Waker>,
}

/// The line. Made when somebody waits first.
#[derive(Default)]
pub(crate) struct Line(Option<Box<Places>>);

#[derive(Default)]
struct Places {
    places: VecDeque<Place>,
    last_id: u64,
}

impl Line {
    pub(crate) fn is_empty(&self) -> bool {
        self.first().is_none()
    }

    /// How many bytes of a message of `len` bytes may be accepted now: all that fit, a large piece, or none.
    pub(crate) fn next_piece(&self, turn: &Turn, len: u64, half: &WriteHalf) -> u64 {
        let first = match self.first() {
            None => true,
            Some(place) => place.id == turn.place,
        };
        let (rest, room) = (len - turn.accepted, half.room());
        if first && room >= needed(rest, half) {
            rest.min(room)
        } else {
            0
        }
    }

    /// Waits in line, at the place of before or at the end. An older waker is handed out.
    pub(crate) fn wait(
        &mut self,
        turn: &mut Turn,
        len: u64,
        half: &WriteHalf,
        waker: &Waker,
    ) -> Option<Waker> {
        let needs = needed(len - turn.accepted, half);
        let line = self.0.get_or_insert_default();
        if let Some(place) = line.places.iter_mut().find(|place| place.id == turn.place) {
            place.needs = needs;
            return place.waker.replace(waker.clone());
        }
        turn.place = line.id();
        line.places.push_back(Place {
            id: turn.place,
            needs,
            waker: Some(waker.clone()),
        });
        None
    }

    /// A message of which a part is accepted stays the first in the line: nothing gets between its pieces.
    pub(crate) fn hold(&mut self, turn: &mut Turn) {
        if turn.place == 0 {
            let line = self.0.get_or_insert_default();
            turn.place = line.id();
            line.places.push_front(Place {
                id: turn.place,
                needs: 0,
                waker: None,
            });
        }
    }

    /// Gives up a place. Its waker is handed out.
    pub(crate) fn leave(&mut self, turn: &mut Turn) -> Option<Waker> {
        let id = std::mem::take(&mut turn.place);
        let places = &mut self.0.as_mut()?.places;
        let index = places.iter().position(|place| place.id == id)?;
        places.remove(index)?.waker
    }

    /// Whether the first sleeps although there is room for it.
    pub(crate) fn has_somebody_for(&self, half: &WriteHalf) -> bool {
        self.first()
            .is_some_and(|first| first.waker.is_some() && half.room() >= first.needs)
    }

    /// Wakes the first if there is room for it, and enough room for waking somebody; everybody if nothing is accepted any more.
    pub(crate) fn wake(&mut self, half: &WriteHalf, is_enough: bool, wakes: &mut Wakes) {
        let Some(line) = &mut self.0 else { return };
        if half.refusal().is_some() {
            let places = line.places.iter_mut();
            for waker in places.filter_map(|place| place.waker.take()) {
                wakes.push(waker);
            }
        } else if let Some(first) = line.places.front_mut()
            && half.room() >= first.needs
            && is_enough
            && let Some(waker) = first.waker.take()
        {
            wakes.push(waker);
        }
    }

    fn first(&self) -> Option<&Place> {
        self.0.as_ref()?.places.front()
    }
}

impl Places {
    fn id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

impl Turn {
    /// Whether it has a place in the line.
    pub(crate) fn is_in_line(&self) -> bool {
        self.place != 0
    }
}

/// A message that fits the queue is accepted whole; a larger one in pieces that are not too small.
fn needed(rest: u64, half: &WriteHalf) -> u64 {
    let max = half.limits().queue_bytes_max;
    if rest <= max {
        rest
    } else {
        (max / PIECES_PER_QUEUE).max(1)
    }
}
