//! Ends of every kind, as programs get them: ours to be adopted, the other for the peer.

use super::peer::Peer;
use crate::common::files::Folder;
use rustix::fs::{Mode, OFlags};
use rustix::net::sockopt;
use rustix::pty::OpenptFlags;
use rustix::termios::OptionalActions;
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// What an end is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    Fifo,
    File,
    /// By its number, as a descriptor that the process was started with.
    Inherited,
    /// Memory that throws all away.
    Null,
    /// A socket that is ours alone, in non-blocking mode, with little room.
    OwnSocket,
    Pipe,
    Socket,
    /// A file with holes, to be read; to be written to, a second file.
    Sparse,
    /// The leading end of a pseudo-terminal: only a helper thread can serve it.
    Leading,
    Tcp,
    Terminal,
}

/// The room of a socket that is to be full now and then; Linux takes it twice.
const SEND_BUFFER_BYTES: usize = 16 * 1024;

/// Where the files of the loop are.
pub(crate) struct Place {
    folder: Folder,
    fifo: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = Folder::new("fault-loop");
        let fifo = folder.fifo();
        Self { folder, fifo }
    }

    fn file(&self) -> PathBuf {
        self.folder.0.join("file")
    }

    fn second(&self) -> PathBuf {
        self.folder.0.join("second")
    }

    fn sparse(&self) -> PathBuf {
        self.folder.0.join("sparse")
    }

    pub(crate) fn fifo(&self) -> &PathBuf {
        &self.fifo
    }
}

/// An end to write into, before its adoption.
pub(crate) struct Given {
    pub(crate) ours: OwnedFd,
    pub(crate) peer: Peer,
}

/// An end to write into.
pub(crate) fn to_write(place: &Place, end: End) -> Given {
    let given = |ours: OwnedFd, theirs: OwnedFd| Given {
        ours,
        peer: Peer::reading(theirs),
    };
    match end {
        End::Fifo => {
            let (from, into) = fifo(place);
            given(into, from)
        }
        End::File | End::Sparse => {
            let is_second = end == End::Sparse;
            let path = if is_second {
                place.second()
            } else {
                place.file()
            };
            let ours = File::create(&path).unwrap().into();
            let peer = Peer::file(path);
            Given { ours, peer }
        }
        End::Inherited | End::Pipe => {
            let (from, into) = std::io::pipe().unwrap();
            given(into.into(), from.into())
        }
        End::Leading => {
            let (leading, terminal) = pty();
            let mut given = given(leading, terminal);
            given.peer.forgets = true;
            given.peer.delayed = true;
            given
        }
        End::Null => {
            let ours = File::options().write(true).open("/dev/null");
            let (ours, peer) = (ours.unwrap().into(), Peer::nobody());
            Given { ours, peer }
        }
        End::OwnSocket => {
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            sockopt::set_socket_send_buffer_size(&ours, SEND_BUFFER_BYTES).unwrap();
            given(ours.into(), theirs.into())
        }
        End::Socket => {
            let (ours, theirs) = UnixStream::pair().unwrap();
            given(ours.into(), theirs.into())
        }
        End::Tcp => {
            let (ours, theirs) = tcp();
            given(ours, theirs)
        }
        End::Terminal => {
            let (leading, terminal) = pty();
            let mut given = given(terminal, leading);
            given.peer.delayed = true;
            given
        }
    }
}

/// An end to read from, whose peer writes `data`.
pub(crate) fn to_read(place: &Place, end: End, data: Vec<u8>, closes: bool) -> Given {
    let given = |ours: OwnedFd, theirs: OwnedFd, data| Given {
        ours,
        peer: Peer::writing(theirs, data, closes),
    };
    match end {
        End::Fifo => {
            let (from, into) = fifo(place);
            given(from, into, data)
        }
        End::File => {
            let path = place.file();
            std::fs::write(&path, &data).unwrap();
            let ours = File::open(&path).unwrap().into();
            let peer = Peer::content(data);
            Given { ours, peer }
        }
        End::Inherited | End::Pipe => {
            let (from, into) = std::io::pipe().unwrap();
            given(from.into(), into.into(), data)
        }
        End::Leading => {
            let (leading, terminal) = pty();
            given(leading, terminal, data)
        }
        End::Null => {
            let ours = File::open("/dev/null").unwrap().into();
            let peer = Peer::nobody();
            Given { ours, peer }
        }
        End::OwnSocket | End::Socket => {
            let (ours, theirs) = UnixStream::pair().unwrap();
            given(ours.into(), theirs.into(), data)
        }
        End::Sparse => {
            let path = place.sparse();
            make_sparse(&path, &data);
            let ours = File::open(&path).unwrap().into();
            let peer = Peer::content(data);
            Given { ours, peer }
        }
        End::Tcp => {
            let (ours, theirs) = tcp();
            given(ours, theirs, data)
        }
        End::Terminal => {
            let (leading, terminal) = pty();
            given(terminal, leading, data)
        }
    }
}

/// Writes a file that has a hole for each page of zeros.
fn make_sparse(path: &Path, data: &[u8]) {
    const PAGE: usize = 4096;
    let file = File::create(path).unwrap();
    file.set_len(data.len() as u64).unwrap();
    for (index, page) in data.chunks(PAGE).enumerate() {
        if page.iter().any(|byte| *byte != 0) {
            file.write_all_at(page, (index * PAGE) as u64).unwrap();
        }
    }
}

/// The handle by its number, as `inherited` takes it.
pub(crate) fn number(fd: &OwnedFd) -> u32 {
    u32::try_from(fd.as_raw_fd()).unwrap()
}

fn fifo(place: &Place) -> (OwnedFd, OwnedFd) {
    let (from, into) = crate::common::files::fifo_ends(place.fifo());
    (from.into(), into.into())
}

fn tcp() -> (OwnedFd, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    (ours.into(), theirs.into())
}

/// A pseudo-terminal that passes bytes on as they are: the leading end and the terminal.
fn pty() -> (OwnedFd, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let leading = rustix::pty::openpt(flags).unwrap();
    rustix::pty::grantpt(&leading).unwrap();
    rustix::pty::unlockpt(&leading).unwrap();
    let name = rustix::pty::ptsname(&leading, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal = rustix::fs::open(name, flags, Mode::empty()).unwrap();
    let mut raw = rustix::termios::tcgetattr(&terminal).unwrap();
    raw.make_raw();
    rustix::termios::tcsetattr(&terminal, OptionalActions::Now, &raw).unwrap();
    (leading, terminal)
}
