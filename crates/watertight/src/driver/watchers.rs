//! Those who wait for something, and for what.
//!
//! Used under the lock of what they wait for; wakers are handed out, never called or dropped here.

use super::Wakes;
use std::task::Waker;

/// One that waits for something, and for what.
struct Watcher<W> {
    id: u64,
    what: W,
    waker: Waker,
}

/// Those that wait for something about one pipe: at most of them nobody, or one, for whom there is room here.
pub(crate) struct Waiting<W> {
    first: Option<Watcher<W>>,
    /// Those who came after the first, whether it still waits or not. Made with the first of them.
    others: Option<Box<Others<W>>>,
    last_id: u64,
}

struct Others<W>(Vec<Watcher<W>>);

/// As [`Waiting`], in less room where mostly nobody waits: made when somebody waits first.
pub(crate) struct Watchers<W>(Option<Box<Waiting<W>>>);

impl<W> Default for Waiting<W> {
    fn default() -> Self {
        Self {
            first: None,
            others: None,
            last_id: 0,
        }
    }
}

impl<W> Default for Others<W> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<W> Default for Watchers<W> {
    fn default() -> Self {
        Self(None)
    }
}

impl<W> Waiting<W> {
    /// Waits, or goes on waiting under the id of before (0: a new one). An older waker is handed out, to be dropped
    /// without the lock.
    #[must_use = "a waker's destructor is the executor's code: drop it without the lock"]
    pub(crate) fn watch(&mut self, id: &mut u64, what: W, waker: &Waker) -> Option<Waker> {
        let others = self.others.iter_mut().flat_map(|others| &mut others.0);
        let mut all = self.first.iter_mut().chain(others);
        if let Some(known) = all.find(|known| known.id == *id) {
            known.what = what;
            return Some(std::mem::replace(&mut known.waker, waker.clone()));
        }
        if *id == 0 {
            self.last_id += 1;
            *id = self.last_id;
        }
        let last = Watcher {
            id: *id,
            what,
            waker: waker.clone(),
        };
        if self.first.is_none() && self.others().is_empty() {
            self.first = Some(last);
        } else {
            self.others.get_or_insert_default().0.push(last);
        }
        None
    }

    /// Waits no longer. The waker is handed out, to be dropped without the lock.
    pub(crate) fn forget(&mut self, id: u64) -> Option<Waker> {
        if let Some(first) = self.first.take_if(|known| known.id == id) {
            return Some(first.waker);
        }
        let others = &mut self.others.as_mut()?.0;
        let index = others.iter().position(|known| known.id == id)?;
        Some(others.remove(index).waker)
    }

    /// Whether one of them waits for such a thing.
    pub(crate) fn any(&self, such: impl Fn(&W) -> bool) -> bool {
        let mut all = self.first.iter().chain(self.others());
        all.any(|known| such(&known.what))
    }

    /// Takes out those whose time has come, in the order in which they began to wait.
    pub(crate) fn take_ready(&mut self, wakes: &mut Wakes, ready: impl Fn(&W) -> bool) {
        self.take_ready_by(wakes, ready, |_| 0);
    }

    /// As [`Waiting::take_ready`], those first whose `place` comes first.
    fn take_ready_by(
        &mut self,
        wakes: &mut Wakes,
        ready: impl Fn(&W) -> bool,
        place: impl Fn(&W) -> u64,
    ) {
        let first = self.first.take_if(|known| ready(&known.what));
        if self.others().is_empty() {
            if let Some(only) = first {
                wakes.push(only.waker);
            }
            return;
        }
        let mut taken: Vec<_> = first.into_iter().collect();
        if let Some(others) = &mut self.others {
            taken.extend(others.0.extract_if(.., |known| ready(&known.what)));
        }
        taken.sort_by_key(|known| place(&known.what));
        for known in taken {
            wakes.push(known.waker);
        }
    }

    fn others(&self) -> &[Watcher<W>] {
        match &self.others {
            Some(others) => &others.0,
            None => &[],
        }
    }
}

impl<W> Watchers<W> {
    /// See [`Waiting::watch`].
    #[must_use = "a waker's destructor is the executor's code: drop it without the lock"]
    pub(crate) fn watch(&mut self, id: &mut u64, what: W, waker: &Waker) -> Option<Waker> {
        self.0.get_or_insert_default().watch(id, what, waker)
    }

    /// See [`Waiting::forget`].
    pub(crate) fn forget(&mut self, id: u64) -> Option<Waker> {
        self.0.as_mut()?.forget(id)
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        !self.any(|_| true)
    }

    /// See [`Waiting::any`].
    pub(crate) fn any(&self, such: impl Fn(&W) -> bool) -> bool {
        self.0.as_ref().is_some_and(|waiting| waiting.any(such))
    }

    /// See [`Waiting::take_ready`].
    pub(crate) fn take_ready(&mut self, wakes: &mut Wakes, ready: impl Fn(&W) -> bool) {
        self.take_ready_by(wakes, ready, |_| 0);
    }

    /// As [`Watchers::take_ready`], those first whose `place` comes first.
    pub(crate) fn take_ready_by(
        &mut self,
        wakes: &mut Wakes,
        ready: impl Fn(&W) -> bool,
        place: impl Fn(&W) -> u64,
    ) {
        if let Some(waiting) = &mut self.0 {
            waiting.take_ready_by(wakes, ready, place);
        }
    }

    /// Takes out everybody.
    pub(crate) fn take_all(&mut self, wakes: &mut Wakes) {
        self.take_ready(wakes, |_| true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use std::task::Wake;

    /// Notes its number when it is called.
    struct Noted(u64, Arc<Mutex<Vec<u64>>>);

    impl Wake for Noted {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().push(self.0);
        }
    }

    #[test]
    fn they_are_woken_in_the_order_in_which_they_came_whoever_left_before() {
        let woken = Arc::new(Mutex::new(Vec::new()));
        let waker = |number| Waker::from(Arc::new(Noted(number, woken.clone())));
        let mut watchers = Watchers::default();
        let mut ids = [0; 4];
        for (number, id) in (1..).zip(&mut ids).take(3) {
            assert!(watchers.watch(id, number, &waker(number)).is_none());
        }
        assert_eq!(ids, [1, 2, 3, 0]);
        // The first leaves, and somebody comes: behind the others.
        assert!(watchers.forget(ids[0]).is_some() && watchers.forget(ids[0]).is_none());
        assert!(watchers.watch(&mut ids[3], 4, &waker(4)).is_none());
        assert!(watchers.watch(&mut ids[1], 2, &waker(20)).is_some());
        let mut wakes = Wakes::default();
        watchers.take_ready(&mut wakes, |number| *number != 3);
        assert_eq!((wakes.fire(), watchers.is_empty()), (0, false));
        let mut wakes = Wakes::default();
        watchers.take_all(&mut wakes);
        assert_eq!((wakes.fire(), watchers.is_empty()), (0, true));
        assert_eq!(*woken.lock().unwrap(), [20, 4, 3]);
    }

    #[test]
    fn those_go_first_whose_place_comes_first() {
        let woken = Arc::new(Mutex::new(Vec::new()));
        let mut watchers = Watchers::default();
        for number in [3, 1, 2] {
            let waker = Waker::from(Arc::new(Noted(number, woken.clone())));
            assert!(watchers.watch(&mut 0, number, &waker).is_none());
        }
        let mut wakes = Wakes::default();
        watchers.take_ready_by(&mut wakes, |_| true, |number| *number);
        assert_eq!(wakes.fire(), 0);
        assert_eq!(*woken.lock().unwrap(), [1, 2, 3]);
    }
}
