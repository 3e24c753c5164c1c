//! Which failures must be told to somebody and which change nothing: docs/rules.md, E1 to E4, for each call.

use rustix::io::Errno;
use watertight::OsCode;
use watertight::fault::{Made, allowed};
use watertight_core::Class;
use watertight_os::classify::{Call, classify};

/// A code of no system's.
const UNKNOWN: Errno = Errno::from_raw_os_error(3999);

/// How often EINTR comes if it comes "for ever": a kernel says it once per signal, so no storm is endless.
pub(crate) const STORM: u64 = 50;

/// What is said of control groups: all of these mean the same.
const OF_CGROUPS: &[Errno] = &[Errno::MFILE, Errno::NOMEM, Errno::ACCESS, UNKNOWN];

/// The codes to try at a call.
pub(crate) fn codes(made: &Made) -> Vec<Errno> {
    let codes: &[Errno] = match made.name {
        // Nothing is done about any of them but what is done about each, and a turn costs the driver's pause.
        "epoll_wait" | "notify" => &[Errno::INTR, Errno::NOMEM, Errno::BADF, UNKNOWN],
        "epoll_wait (children)" => &[Errno::INTR, Errno::NOMEM, Errno::BADF, UNKNOWN],
        "EPOLL_CTL_ADD (children)" | "EPOLL_CTL_ADD (tree)" | "EPOLL_CTL_DEL (children)" => {
            &[Errno::NOMEM, Errno::NOSPC, Errno::PERM, UNKNOWN]
        }
        "ppoll (child)" => &[Errno::INTR, Errno::NOMEM, Errno::INVAL, UNKNOWN],
        // Their arguments are good: a filter may forbid them, and nothing else can happen.
        "kill" | "killpg" | "pidfd_send_signal" => &[Errno::NOSYS, Errno::PERM, UNKNOWN],
        "wait4" | "waitid" | "waitid (life)" => &[Errno::INVAL, Errno::NOSYS, Errno::PERM, UNKNOWN],
        "open (/proc)" | "read (stat)" | "read (stat again)" => {
            &[Errno::MFILE, Errno::NOMEM, Errno::ACCESS, UNKNOWN]
        }
        "read (mountinfo)" | "stat (pid namespace)" => OF_CGROUPS,
        name if name.contains("cgroup") => OF_CGROUPS,
        // No thread is to be had.
        "clone (helper)" => &[Errno::AGAIN, Errno::NOMEM, Errno::PERM, UNKNOWN],
        // A cancel that does not get through waits for its bound.
        "isatty" | "write (recall)" => &[Errno::INTR, Errno::IO, UNKNOWN],
        _ => allowed(made.call),
    };
    let real = |code: &Errno| !is_an_answer(made.name, *code);
    codes.iter().copied().filter(real).collect()
}

/// Codes that are no failure but the answer, which the kernel does not give wrong.
fn is_an_answer(name: &str, code: Errno) -> bool {
    // A kernel that cannot be asked, or a terminal that nobody may open.
    (name == "TIOCGPTPEER" && [Errno::NOTTY, Errno::INVAL, Errno::IO].contains(&code))
        || (name == "TIOCGPTN" && code == Errno::NOTTY)
        || (name == "shutdown" && code == Errno::NOTCONN)
        // A lease is a file's (fcntl(2)), and only pipes, FIFOs and terminals are opened again.
        || (name == "open (again)" && code == Errno::AGAIN)
        // The byte lies there.
        || (name == "recv (byte)" && code == Errno::AGAIN)
        // A child that somebody else has reaped.
        || (name.starts_with("pidfd_open") && code == Errno::SRCH)
}

/// Whether a run makes this call for everything it meets: then the first and the last of them stand for all.
pub(crate) fn is_repeated(name: &str) -> bool {
    name == "read (stat)"
}

/// How often a call fails if it fails "for ever".
pub(crate) fn times(name: &str, code: Errno) -> u64 {
    match name {
        // A wake that is lost is tried again; Linux's (a write to an eventfd) cannot fail for ever.
        "notify" => 2,
        // Tried again; no kernel refuses a position within the file for ever.
        "lseek (SEEK_SET)" => 2,
        // Waited for: a socket that is said to be writable takes something some time, or the waiting would be a loop.
        "sendfile" | "splice (socket)" if code == Errno::AGAIN => STORM,
        // Waited out: a lack that lasts is told after a bound of seconds, which is too long for this.
        "send" | "sendmsg" if is_passing(code) => 3,
        _ if code == Errno::INTR => STORM,
        _ => watertight::fault::Fault::FOR_EVER,
    }
}

/// Whether a fault that lasts holds up what has no deadline: the kernel says "not yet" for ever, or does not even let the
/// driver ask.
pub(crate) fn stalls(begun: &[Made]) -> bool {
    begun.iter().any(|made| {
        let again = made.failed == Some(OsCode(Errno::AGAIN.raw_os_error()));
        let cannot_ask = ["epoll_wait", "epoll_wait (children)"].contains(&made.name);
        (again && is_transfer(made.name)) || cannot_ask
    })
}

/// A lack of memory that a local socket's write waits out.
fn is_passing(code: Errno) -> bool {
    [Errno::NOBUFS, Errno::NOMEM].contains(&code)
}

/// Calls that move the caller's bytes.
fn is_transfer(name: &str) -> bool {
    let names = [
        "preadv2 (NOWAIT)",
        "pwritev2",
        "pwritev2 (NOWAIT)",
        "read",
        "recv",
        "send",
        "sendmsg",
        "splice",
        "splice (detour)",
        "splice (file)",
        "tee",
        "write",
    ];
    names.contains(&name)
}

/// Whether somebody must be told of this failure, with its code.
pub(crate) fn is_told(made: &Made) -> bool {
    let Some(code) = made.failed else {
        return false;
    };
    let code = Errno::from_raw_os_error(code.0);
    match made.name {
        // The child starts without a control group of its own.
        "eventfd (cgroup)"
        | "mkdir (cgroup)"
        | "open (cgroup.kill)"
        | "open (cgroup.procs)"
        | "read (eventfd cgroup)"
        | "read (mountinfo)"
        | "read (own cgroup)"
        | "stat (pid namespace)" => false,
        // A later start removes it, or what other processes have left; and who is over is known by another call.
        "kill (left cgroup)"
        | "open (cgroup.events)"
        | "ppoll (cgroup)"
        | "read (cgroup of one)"
        | "read (cgroup.events)"
        | "rmdir (cgroup)" => false,
        // Counted in the census, since it is no pipe's own.
        "epoll_wait" => false,
        // Tried again.
        "notify" | "epoll_wait (children)" => false,
        "spawn" => code != Errno::TXTBSY,
        // The descriptor is closed next, which takes it out.
        "EPOLL_CTL_DEL (children)" => false,
        // The terminal's name has to do then.
        "TIOCGPTPEER (make)" => ![Errno::INVAL, Errno::NOTTY].contains(&code),
        // Whoever is waited for is alive for all that: the tree is looked at again.
        "EPOLL_CTL_ADD (tree)" | "F_DUPFD_CLOEXEC (tree)" => false,
        // The child is held by its number then.
        "pidfd_open (child)" => ![Errno::NOSYS, Errno::PERM].contains(&code),
        // A handle that is going: what it leaves behind reaches nobody (rule O6), and the next adoption finds it.
        "EPOLL_CTL_DEL" => false,
        // A descriptor that is given back and that children no longer get.
        "F_SETFD (back)" => false,
        // How much a pipe holds is asked for as a courtesy, and read back.
        "F_GETPIPE_SZ" | "F_SETPIPE_SZ" => false,
        // What cannot be found out is taken for the kind that is always safe: another rung of the ladder.
        "fstatfs" | "TIOCGPTN" | "isatty" | "pwritev2 (probe)" | "preadv2 (probe)" => false,
        // The next rung, unless the next rung would need descriptors too.
        "open (again)" => [Errno::MFILE, Errno::NFILE, Errno::NOMEM].contains(&code),
        // Where it is forbidden or unknown, fcntl takes its place.
        "pidfd_getfd" => ![Errno::NOSYS, Errno::PERM].contains(&code),
        // A thread that cannot block by itself waits for the driver's.
        "eventfd" | "ppoll" => false,
        // A cancel that does not reach the helper: its operation goes into quarantine (rule S5).
        "write (recall)" | "read (recall)" => false,
        // The first question's answer is told then.
        "poll (was connected)" => false,
        // A socket whose peer has left.
        "getpeername" => ![Errno::INVAL, Errno::NOTCONN].contains(&code),
        // A peer that has left needs no end any more.
        "shutdown" => ![Errno::NOTCONN, Errno::PIPE, Errno::CONNRESET].contains(&code),
        // Gone all the same (rule E4).
        "close" => code != Errno::INTR,
        // Called again.
        "poll" | "poll (now)" | "EPOLL_CTL_ADD" | "EPOLL_CTL_MOD" | "TIOCGPTPEER"
        | "recv (byte)" => code != Errno::INTR,
        // "Cancelled": after a cancel that is its answer, whoever says so.
        "write" if code == Errno::CANCELED => false,
        // The pipe's own flag is not known here: the next rung, for good.
        "preadv2 (NOWAIT)" | "pwritev2 (NOWAIT)" if code == Errno::NOTSUP => false,
        "send" | "sendmsg" if is_passing(code) => false,
        // A read and a write do it then, unless it is the destination's: the transfer's scenario knows whether it had to be told.
        "splice" | "tee" => false,
        // It does the same, but for what is said of the socket: it says so once.
        "splice (socket)" => {
            let class = classify(Call::Write, code);
            class == Class::Gone || (class == Class::Io && code != Errno::IO)
        }
        // It does the same, but for what a file's disk says: a pipe has none.
        "splice (file)" => matches!(classify(Call::Write, code), Class::Io | Class::Limit),
        // The buffer does it then.
        "sendfile" => false,
        // Whether there is more of a file that would wait: a read tells.
        "fstat (source)" | "lseek" => false,
        // What cannot be asked or done about a hole is copied, and what the file system does not copy goes through the buffer.
        "copy_file_range" | "F_GETFL (holes)" | "fstat (holes)" | "ftruncate" => false,
        "lseek (SEEK_CUR)" | "lseek (SEEK_DATA)" | "lseek (SEEK_HOLE)" => false,
        // Tried again.
        "lseek (SEEK_SET)" => false,
        name if is_transfer(name) => code != Errno::INTR && code != Errno::AGAIN,
        _ => true,
    }
}

/// Whether this failure may change how a scenario goes although nobody is told.
pub(crate) fn changes(made: &Made) -> bool {
    let code = made.failed.map_or(0, |code| code.0);
    match made.name {
        "EPOLL_CTL_DEL" | "epoll_wait" | "open (again)" => true,
        "write (recall)" | "read (recall)" => code != Errno::INTR.raw_os_error(),
        "write" => code == Errno::CANCELED.raw_os_error(),
        "splice" | "tee" => classify(Call::Write, Errno::from_raw_os_error(code)) == Class::Gone,
        _ => false,
    }
}

/// Whether a cancel may go unanswered: the helper cannot be called back, or is in a call that waits itself, as it is when a
/// terminal does not say that it is one.
pub(crate) fn leaves_doubt(begun: &[Made]) -> bool {
    begun
        .iter()
        .any(|made| made.name == "isatty" || (made.name == "write (recall)" && changes(made)))
}
