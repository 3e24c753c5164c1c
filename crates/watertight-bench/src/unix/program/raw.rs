//! The raw loops: everything goes from one end to another, or to three, inside the kernel, by as few calls as that takes. One kind
//! waits inside of the calls that move, where nobody can stop it and no deadline ends it; the other waits in ppoll, where it hears of a stop.

use crate::platform::kernel::{self, Stop};
use std::io;
use std::os::fd::OwnedFd;

/// No pipe has more in it.
const CALL_BYTES: usize = 1 << 20;

/// Where a raw loop waits.
pub(super) enum Waits {
    /// Inside of splice and tee.
    Inside,
    /// In ppoll, for one end and for a stop: at the start of each turn, and where a pipe is full.
    Polled {
        stop: Stop,
        /// A turn begins when the source has something. Else, since a file always has, when the target has room.
        is_for_source: bool,
    },
}

impl Waits {
    pub(super) fn polled(from: &OwnedFd) -> io::Result<Self> {
        Ok(Self::Polled {
            stop: Stop::new()?,
            // Only a pipe has one.
            is_for_source: kernel::capacity(from).is_ok(),
        })
    }

    fn begin_turn(&self, from: &OwnedFd, into: &OwnedFd) -> io::Result<()> {
        match self {
            Self::Inside => Ok(()),
            Self::Polled {
                stop,
                is_for_source: true,
            } => stop.until_readable(from),
            Self::Polled { stop, .. } => stop.until_writable(into),
        }
    }

    /// splice. None: the end.
    fn splice(&self, from: &OwnedFd, into: &OwnedFd, bytes_max: usize) -> io::Result<usize> {
        match self {
            Self::Inside => kernel::splice(from, into, bytes_max),
            Self::Polled { stop, .. } => {
                once_there_is_room(stop, into, || kernel::splice_now(from, into, bytes_max))
            }
        }
    }

    /// tee. None: the end.
    fn tee(&self, from: &OwnedFd, into: &OwnedFd, bytes_max: usize) -> io::Result<usize> {
        match self {
            Self::Inside => kernel::tee(from, into, bytes_max),
            Self::Polled { stop, .. } => {
                once_there_is_room(stop, into, || kernel::tee_now(from, into, bytes_max))
            }
        }
    }
}

/// Something is in the source, or it has ended: only the target can make the call wait.
fn once_there_is_room(
    stop: &Stop,
    into: &OwnedFd,
    call: impl Fn() -> io::Result<usize>,
) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stop.until_writable(into)?,
            done => return done,
        }
    }
}

/// Moves everything on, by splice.
pub(super) fn move_all(from: &OwnedFd, into: &OwnedFd, waits: &Waits) -> io::Result<()> {
    loop {
        waits.begin_turn(from, into)?;
        if waits.splice(from, into, CALL_BYTES)? == 0 {
            return Ok(());
        }
    }
}

/// Moves everything on to three pipes: the first two get copies by tee, and the last one gets the bytes themselves by splice, as far as
/// both others have them. What only the first one has yet stays in the source until the second one has it too, so no pipe between is needed.
pub(super) fn move_all_to_three(
    from: &OwnedFd,
    [first, second, last]: [&OwnedFd; 3],
    waits: &Waits,
) -> io::Result<()> {
    loop {
        waits.begin_turn(from, first)?;
        let mut copied_once = waits.tee(from, first, CALL_BYTES)?;
        if copied_once == 0 {
            return Ok(());
        }
        while copied_once > 0 {
            let mut copied_twice = some(waits.tee(from, second, copied_once)?)?;
            copied_once -= copied_twice;
            while copied_twice > 0 {
                copied_twice -= some(waits.splice(from, last, copied_twice)?)?;
            }
        }
    }
}

/// What is known to be in the source cannot have been its end.
fn some(bytes: usize) -> io::Result<usize> {
    if bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

#[cfg(test)]
#[cfg(any(target_os = "android", target_os = "linux"))]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::thread::JoinHandle;

    /// More than all pipes hold, and no number of whole pages.
    const BYTES: usize = (1 << 20) + 5;
    /// The second of three takes less at once than the first one.
    const SMALL_BYTES: usize = 4 * 4096;

    fn all() -> Vec<u8> {
        (0..BYTES).map(|byte| (byte % 251) as u8).collect()
    }

    /// A pipe into which a thread writes everything.
    fn source() -> OwnedFd {
        let (from, mut into) = io::pipe().unwrap();
        std::thread::spawn(move || into.write_all(&all()).unwrap());
        from.into()
    }

    /// A pipe from which a thread reads everything.
    fn target() -> (OwnedFd, JoinHandle<Vec<u8>>) {
        let (mut from, into) = io::pipe().unwrap();
        let reader = std::thread::spawn(move || {
            let mut read = Vec::new();
            from.read_to_end(&mut read).unwrap();
            read
        });
        (into.into(), reader)
    }

    /// Both kinds of loops, each with a source of its own.
    fn both() -> [(OwnedFd, Waits); 2] {
        let from = source();
        let polled = Waits::polled(&from).unwrap();
        [(source(), Waits::Inside), (from, polled)]
    }

    #[test]
    fn everything_goes_from_pipe_to_pipe() {
        for (from, waits) in both() {
            let (into, reader) = target();
            move_all(&from, &into, &waits).unwrap();
            drop(into);
            assert_eq!(reader.join().unwrap(), all());
        }
    }

    #[test]
    fn all_three_get_everything() {
        for (from, waits) in both() {
            let [first, second, last] = [target(), target(), target()];
            kernel::set_capacity(&second.0, SMALL_BYTES).unwrap();
            move_all_to_three(&from, [&first.0, &second.0, &last.0], &waits).unwrap();
            for (into, reader) in [first, second, last] {
                drop(into);
                assert_eq!(reader.join().unwrap(), all());
            }
        }
    }

    #[test]
    fn a_file_is_moved_into_a_pipe() {
        let file = OwnedFd::from(std::fs::File::open("/proc/self/exe").unwrap());
        let waits = Waits::polled(&file).unwrap();
        let Waits::Polled { is_for_source, .. } = &waits else {
            panic!("it is polled");
        };
        assert!(!is_for_source);
        let (into, reader) = target();
        move_all(&file, &into, &waits).unwrap();
        drop(into);
        let expected = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(reader.join().unwrap(), expected);
    }
}
