//! The wait for a child and its whole tree.
//!
//! Of the living one is waited for at a time: all of them have to end anyway. Only when those are over that were seen, the tree is
//! looked at again, so that a tree that lives for hours costs nothing meanwhile.

use super::exit::ExitWatch;
use super::exit_wait::ExitWait;
use super::{Child, Exit, cause, exit_told, timed_out};
use crate::driver::Driver;
use crate::handle::Native;
use crate::joined;
use crate::timers::TimerId;
use crate::wait::{Operation, Sealed, Wait};
use std::io;
use std::mem;
use std::sync::Arc;
use std::task::{Poll, Waker, ready};
use std::time::Duration;
use watertight_core::{Backend, Error, Moment, Verb};
use watertight_os::{MemberWatch, TreeLook, TreeMember};

/// How long a tree is left alone at first in which somebody lives whose end nobody tells (always so on Windows and on macOS). Short, for
/// most of a tree ends with its child; each pause is twice the one before, so that nobody waits much longer than the tree has lived.
const PAUSE_FIRST: Duration = Duration::from_millis(10);

/// The longest of these pauses. Where no process can be held, a look goes through all of /proc, which takes milliseconds.
const PAUSE_LONGEST: Duration = Duration::from_millis(500);

impl Child {
    /// Waits until it is over and nobody of its tree is alive any more who can be seen, and reaps it then. What it says is how the child
    /// itself ended.
    ///
    /// To the tree belongs whom [`kill_tree`](Self::kill_tree) reaches. Who is alive is looked for when the first such wait begins, when the
    /// child is over, and whenever those are over that were seen, until nobody is found. A stopped process is alive; one that is over
    /// and that its parent does not reap is not. Processes of other users count too, unless /proc hides them, and so do those that cannot
    /// be held (too few descriptors, a kernel without pidfds): the tree is looked at again for these, after a pause.
    ///
    /// Nobody is waited for who has left the group and the session and whose parent is gone (a daemon), unless an earlier look has seen
    /// it, or it is in the child's [control group](crate::Command::cgroup). Start the child with [`Group::Own`](crate::Group::Own): in our own
    /// group it has no group by which those can be found that it leaves behind, but for those that have one of its pipes open (Linux).
    ///
    /// Before [`wait`](Self::wait) or [`try_wait`](Self::try_wait) has told the child's end: with that it is reaped, and only those are
    /// waited for that an earlier look has seen, and those in its control group.
    ///
    /// **Cancel safety.** Only the waiting is given up: nobody is signalled, the child is not reaped, and the wait can be begun again. Whom
    /// it has seen [`kill_tree`](Self::kill_tree) reaches.
    ///
    /// **Platform differences.** On Linux the end of whoever is left is heard of at once, under
    /// [`tokio_reactor`](crate::Command::tokio_reactor) too by the library's thread. On Windows all that are in the child's job are waited
    /// for, on macOS (unverified) all that are in its group: these are looked at after pauses, of 10 ms at first and of 500 ms at most. The
    /// BSDs do not show that nobody is left in a group but the child: there it is refused, as `Unsupported`.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), or the tree cannot be looked at. If the child is over, it is not reaped then, and
    /// [`wait`](Self::wait) has its status.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(any(target_os = "linux", target_vendor = "apple"))] {
    /// use std::time::Duration;
    /// use watertight::{Command, Group};
    /// let mut shell = Command::new("sh");
    /// shell.args(["-c", "sleep 0.1 & exit 3"]).group(Group::Own);
    /// let child = shell.spawn()?;
    /// let exit = child.wait_tree().within(Duration::from_secs(60)).wait()?; // or .await
    /// assert_eq!(exit.status().and_then(|status| status.code()), Some(3));
    /// assert!(child.kill_tree().signalled.is_empty(), "nobody is left");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_tree(&self) -> Wait<WaitTree<'_>> {
        Wait::new(WaitTree {
            child: self,
            awaited: Awaited::Child,
            is_noted: false,
            pauses: Pauses::default(),
            exit: ExitWait::default(),
            timer: None,
        })
    }
}

/// What is waited for next.
#[derive(Debug)]
enum Awaited {
    /// The child's end.
    Child,
    /// The time to look at the tree again.
    Look(Moment),
    /// The end of one of the tree.
    Member(Member),
}

/// One of the tree that is alive.
#[derive(Debug)]
struct Member {
    held: TreeMember,
    /// Its end, once somebody is to tell it.
    told: Arc<ExitWatch>,
    id: u64,
    /// Dropped, nobody tells it any more.
    watch: Option<MemberWatch>,
}

impl Member {
    fn new(held: TreeMember) -> Self {
        Self {
            held,
            told: Arc::default(),
            id: 0,
            watch: None,
        }
    }

    /// Waits until it is over. A failure: nobody tells that.
    fn poll(&mut self, waker: &Waker) -> Poll<io::Result<()>> {
        let (held, watch) = (&self.held, &mut self.watch);
        self.told.poll(
            |callback| {
                *watch = Some(held.on_exit(callback)?);
                Ok(())
            },
            &mut self.id,
            waker,
        )
    }
}

/// The pauses between looks.
#[derive(Debug)]
struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(PAUSE_FIRST)
    }
}

impl Pauses {
    /// The next one: twice as long as the one before, up to the longest.
    fn take(&mut self) -> Duration {
        let longer = PAUSE_LONGEST.min(self.0 * 2);
        mem::replace(&mut self.0, longer)
    }
}

/// See [`Child::wait_tree`].
#[derive(Debug)]
pub struct WaitTree<'a> {
    child: &'a Child,
    awaited: Awaited,
    /// Who is in the tree while the child runs is known.
    is_noted: bool,
    /// Before the next looks, if pauses are needed.
    pauses: Pauses,
    exit: ExitWait,
    timer: Option<TimerId>,
}

impl WaitTree<'_> {
    /// Looks at the tree: how the child ended, if nobody is alive, and otherwise who or what is waited for next.
    fn look(&mut self) -> Result<Option<Exit>, Error> {
        let process = &self.child.process;
        if let Awaited::Member(over) = &self.awaited {
            // Its end was told, whatever a question about it would say.
            process.forget_member(&over.held);
        }
        let look = process.look_at_tree().map_err(|error| failed(&error))?;
        self.awaited = match look {
            TreeLook::Held(member) => Awaited::Member(Member::new(member)),
            // P10: only now is the child reaped, by whose number its group and its session are found.
            TreeLook::Over => return exit_told(process.reap(), Verb::WaitTree).map(Some),
            TreeLook::Unheld => self.next_look(),
        };
        Ok(None)
    }

    fn next_look(&mut self) -> Awaited {
        Awaited::Look(self.now().after(self.pauses.take()))
    }

    /// Waits for what is waited for next. The waker is called when it may have come.
    fn poll_awaited(&mut self, waker: &Waker) -> Poll<Result<(), Error>> {
        match &mut self.awaited {
            Awaited::Child => {
                let exited = self.child.poll_exited(&mut self.exit, waker);
                if exited.is_pending() {
                    self.note()?;
                }
                exited.map_err(|cause| Error::without_bytes(Verb::WaitTree, cause))
            }
            Awaited::Look(due) => {
                let due = *due;
                if due <= self.now() {
                    return Poll::Ready(Ok(()));
                }
                self.keep_time(due, waker);
                Poll::Pending
            }
            Awaited::Member(member) => match member.poll(waker) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
                Poll::Ready(Err(_)) => {
                    // It is alive for all that: the tree is looked at again later.
                    self.awaited = self.next_look();
                    self.poll_awaited(waker)
                }
            },
        }
    }

    /// Blocks this thread until the child is over or the time is. Whether the child is over.
    fn block_on_child(&self, left: Option<Duration>) -> io::Result<bool> {
        let process = &self.child.process;
        if process.wait_for_exit(Some(Duration::ZERO))? {
            return Ok(true);
        }
        process.note_tree()?;
        process.wait_for_exit(left)
    }

    /// Remembers who is in the tree while the child runs.
    fn note(&mut self) -> Result<(), Error> {
        if !self.is_noted {
            let noted = self.child.process.note_tree();
            noted.map_err(|error| failed(&error))?;
            self.is_noted = true;
        }
        Ok(())
    }

    /// C4: nobody would tell a forked child.
    fn refuse_elsewhere(&self) -> Result<(), Error> {
        let here = self.child.driver.refuse_elsewhere();
        here.map_err(|cause| Error::without_bytes(Verb::WaitTree, cause))
    }

    fn now(&self) -> Moment {
        self.child.driver.backend.now()
    }

    fn keep_time(&mut self, due: Moment, waker: &Waker) {
        self.forget_timer();
        self.timer = Some(self.child.driver.wake_at(due, waker.clone()));
    }

    fn forget_timer(&mut self) {
        if let Some(timer) = self.timer.take() {
            self.child.driver.forget_timer(timer);
        }
    }
}

impl Sealed for WaitTree<'_> {}

impl Operation for WaitTree<'_> {
    type Output = Result<Exit, Error>;
    type Backend = Native;

    fn poll(&mut self, waker: &Waker) -> Poll<Self::Output> {
        self.refuse_elsewhere()?;
        loop {
            ready!(self.poll_awaited(waker))?;
            if let Some(exit) = self.look()? {
                return Poll::Ready(Ok(exit));
            }
        }
    }

    /// A thread that may block waits for the child, and for whoever is held, by itself: no other thread has a part in it.
    fn poll_blocking(&mut self, waker: &Waker, deadline: Option<Moment>) -> Poll<Self::Output> {
        self.refuse_elsewhere()?;
        joined::send_all();
        loop {
            let left = deadline.map(|deadline| self.now().until(deadline));
            let waited = match &self.awaited {
                Awaited::Child => self.block_on_child(left),
                Awaited::Look(_) => return self.poll(waker),
                Awaited::Member(member) => member.held.wait(left),
            };
            match waited {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                // The other way may be open.
                Err(_) => return self.poll(waker),
            }
            if let Some(exit) = self.look()? {
                return Poll::Ready(Ok(exit));
            }
        }
    }

    fn expire(&mut self) -> Self::Output {
        Err(timed_out(Verb::WaitTree))
    }

    fn forget(&mut self) {
        self.child.forget_exit(&mut self.exit);
        // Nobody tells the end of a member to whoever does not wait for it.
        self.awaited = Awaited::Child;
        self.forget_timer();
    }

    fn driver(&self) -> Option<&Arc<Driver<Native>>> {
        Some(&self.child.driver)
    }
}

fn failed(error: &io::Error) -> Error {
    Error::without_bytes(Verb::WaitTree, cause(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pause_is_twice_the_one_before_up_to_the_longest() {
        let mut pauses = Pauses::default();
        let millis: Vec<u128> = (0..8).map(|_| pauses.take().as_millis()).collect();
        assert_eq!(millis, [10, 20, 40, 80, 160, 320, 500, 500]);
    }
}
