//! Ends on Unix, looked at without a read and without a write: whether a source is at its end, and whether a destination that gets
//! nothing has anything to say.

pub(crate) use system::{TELLS_ENDS, await_end, outlook, takes_an_end};

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// Whether this is where everything vanishes, and where nothing comes from.
pub(crate) fn is_null(metadata: &Metadata) -> bool {
    let device = |known: &Metadata| known.file_type().is_char_device().then(|| known.rdev());
    let null = std::fs::metadata("/dev/null").ok();
    let null = null.as_ref().and_then(device);
    null.is_some() && device(metadata) == null
}

/// Linux tells what it has.
#[cfg(target_os = "linux")]
mod system {
    use super::is_null;
    use crate::outlook::Outlook;
    use crate::unix_signals::{AT_ONCE, KeptSignals};
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::fs::{OFlags, fcntl_getfl, fstatfs, major};
    use rustix::io::Errno;
    use std::fs::{File, Metadata};
    use std::io::Seek;
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    /// Whether a source's end can be told without a read.
    pub(crate) const TELLS_ENDS: bool = true;

    /// File systems without a block device of their own whose files have the size that they say: Btrfs, overlayfs, tmpfs and ZFS. Not
    /// so /proc and its like, whose files say 0 and are full of text, nor what other programs and machines provide.
    const TRUE_TO_SIZE: [u64; 4] = [0x9123_683E, 0x794C_7630, 0x0102_1994, 0x2FC1_2FC1];

    /// fstat, F_GETFL, poll: what this source will bring.
    pub(crate) fn outlook(source: &File) -> Outlook {
        let Some(known) = known(source, OFlags::RDONLY) else {
            return Outlook::Unknown;
        };
        if known.file_type().is_fifo() {
            return outlook_of_pipe(source);
        }
        let is_at_its_end = known.is_file() && is_at_its_end(source, &known);
        if is_at_its_end || is_null(&known) {
            Outlook::Ended
        } else {
            Outlook::Unknown
        }
    }

    /// fstat, F_GETFL: whether this destination takes its end as every other one does, as long as nothing was written to it.
    pub(crate) fn takes_an_end(destination: &File) -> bool {
        known(destination, OFlags::WRONLY).is_some_and(|known| {
            let kind = known.file_type();
            kind.is_file() || kind.is_fifo() || kind.is_char_device()
        })
    }

    /// Waits until something happens to a silent source, or a signal comes. Whether it was the source's end, and no signal.
    pub(crate) fn await_end(source: &File, signals: &mut KeptSignals) -> bool {
        // Two that come at once may be one request: the first is to be heard, and not to be cut off by the second.
        signals.only_keep();
        is_ended_by_itself(source, signals) && signals.end_at_another().is_ok()
    }

    /// poll.
    fn is_ended_by_itself(source: &File, signals: &KeptSignals) -> bool {
        let Some(waiting) = signals.waiting() else {
            return false;
        };
        loop {
            let mut polled = [
                PollFd::new(source, PollFlags::IN),
                PollFd::new(&waiting, PollFlags::IN),
            ];
            match poll(&mut polled, None) {
                Err(Errno::INTR) => {}
                Err(_) => return false,
                Ok(_) => {
                    let is_ended = polled[0].revents() == PollFlags::HUP;
                    // A handler runs when the call is over: what came just before the end is not in its answer.
                    return is_ended && !signals.is_any_waiting();
                }
            }
        }
    }

    /// What this is, if it is open for that and nothing is special about it: an O_PATH descriptor opens nothing, and a pipe in packet
    /// mode (O_DIRECT) is refused.
    fn known(file: &File, access: OFlags) -> Option<Metadata> {
        let flags = fcntl_getfl(file).ok()?;
        let found = flags & OFlags::RWMODE;
        let is_open = found == access || found == OFlags::RDWR;
        let is_plain = !flags.intersects(OFlags::DIRECT | OFlags::PATH);
        let known = file.metadata().ok()?;
        (is_open && is_plain).then_some(known)
    }

    /// poll: HUP alone says that nothing is in the pipe and that the last writer has left. A FIFO to which no writer has come yet does
    /// not say it.
    fn outlook_of_pipe(source: &File) -> Outlook {
        let mut polled = [PollFd::new(source, PollFlags::IN)];
        match poll(&mut polled, Some(&AT_ONCE)) {
            Ok(0) => Outlook::Silent,
            Ok(_) if polled[0].revents() == PollFlags::HUP => Outlook::Ended,
            Ok(_) | Err(_) => Outlook::Unknown,
        }
    }

    /// lseek, fstatfs: whether nothing is behind the position.
    fn is_at_its_end(mut source: &File, known: &Metadata) -> bool {
        let is_behind_all = source
            .stream_position()
            .is_ok_and(|position| known.len() <= position);
        is_behind_all && is_true_to_size(source, known)
    }

    fn is_true_to_size(source: &File, known: &Metadata) -> bool {
        if major(known.dev()) != 0 {
            return true;
        }
        let kind = fstatfs(source)
            .ok()
            .and_then(|found| u64::try_from(found.f_type).ok());
        kind.is_some_and(|kind| TRUE_TO_SIZE.contains(&kind))
    }
}

/// Nobody has looked at what these systems tell: every source is read.
#[cfg(not(target_os = "linux"))]
mod system {
    use crate::outlook::Outlook;
    use crate::unix_signals::KeptSignals;
    use std::fs::File;

    /// Whether a source's end can be told without a read.
    pub(crate) const TELLS_ENDS: bool = false;

    /// What this source will bring.
    pub(crate) fn outlook(_: &File) -> Outlook {
        Outlook::Unknown
    }

    /// Whether this destination takes its end as every other one does.
    pub(crate) fn takes_an_end(_: &File) -> bool {
        false
    }

    /// Whether a silent source has come to its end.
    pub(crate) fn await_end(_: &File, _: &mut KeptSignals) -> bool {
        false
    }
}
