//! Which operations are in flight, and where each of them is.
//!
//! A packet is believed only if it names a block that is in here and that holds its answer. Handles are shared: another
//! process, or an operation begun before the adoption, can put packets with addresses of its own into our port.

use super::helper::Helper;
use super::overlapped::Given;
use std::collections::HashMap;
use std::sync::Arc;
use watertight_core::OpId;

/// Where an operation is.
pub(super) enum Place {
    /// With the thread of a handle that can only block.
    Helper(Arc<Helper>),
    /// In the kernel.
    Kernel(Given),
}

struct Entry {
    place: Place,
    cancel_asked: bool,
}

/// All operations that are not answered.
#[derive(Default)]
pub(super) struct InFlight {
    operations: HashMap<OpId, Entry>,
    addresses: HashMap<usize, OpId>,
}

impl InFlight {
    /// Adds an operation, before it can possibly be answered.
    pub(super) fn insert(&mut self, id: OpId, place: Place) {
        if let Place::Kernel(given) = &place {
            self.addresses.insert(given.address(), id);
        }
        let entry = Entry {
            place,
            cancel_asked: false,
        };
        let before = self.operations.insert(id, entry);
        assert!(
            before.is_none(),
            "O1: a pipe has one operation of a kind in flight"
        );
    }

    /// Takes out an operation: it is answered, or was never submitted.
    pub(super) fn remove(&mut self, id: OpId) -> Option<Place> {
        let place = self.operations.remove(&id)?.place;
        if let Place::Kernel(given) = &place {
            self.addresses.remove(&given.address());
        }
        Some(place)
    }

    /// Takes out an operation whose submitting call failed. `None`: it is in flight all the same, or has been answered
    /// already, because what the call said was a warning: then its packet comes.
    pub(super) fn remove_unless_warned(&mut self, id: OpId) -> Option<Given> {
        match &self.operations.get(&id)?.place {
            Place::Kernel(given) if !given.is_warned() => {}
            Place::Helper(_) | Place::Kernel(_) => return None,
        }
        match self.remove(id)? {
            Place::Kernel(given) => Some(given),
            Place::Helper(_) => None,
        }
    }

    /// Takes out the block that a packet names. `None`: it is not ours, and nothing at that address may be touched.
    pub(super) fn redeem(&mut self, address: usize) -> Option<Given> {
        let id = *self.addresses.get(&address)?;
        match &self.operations.get(&id)?.place {
            Place::Kernel(given) if given.is_answered() => {}
            Place::Helper(_) | Place::Kernel(_) => return None,
        }
        match self.remove(id)? {
            Place::Kernel(given) => Some(given),
            Place::Helper(_) => None,
        }
    }

    /// Where the operation is, and that it is to be cancelled. `None`: it is answered.
    pub(super) fn ask_cancel(&mut self, id: OpId) -> Option<&Place> {
        let entry = self.operations.get_mut(&id)?;
        entry.cancel_asked = true;
        Some(&entry.place)
    }

    /// Marks everything as to be cancelled and hands it out.
    pub(super) fn ask_all(&mut self) -> impl Iterator<Item = (OpId, &Place)> {
        self.operations.iter_mut().map(|(id, entry)| {
            entry.cancel_asked = true;
            (*id, &entry.place)
        })
    }

    /// The helper threads whose cancelled operation is not answered: the cancel may have come before the call did.
    pub(super) fn unheard(&self) -> impl Iterator<Item = (OpId, &Helper)> {
        self.operations
            .iter()
            .filter_map(|(id, entry)| match &entry.place {
                Place::Helper(helper) if entry.cancel_asked => Some((*id, &**helper)),
                Place::Helper(_) | Place::Kernel(_) => None,
            })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }
}
