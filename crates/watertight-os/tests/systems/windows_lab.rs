//! What the Windows tests share: a backend driven by hand, and the count of this process's handles.
#![allow(
    dead_code,
    reason = "without the feature `fault` some of it is not used"
)]
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests state their expectations this way, in their helpers too"
)]

#[cfg(feature = "fault")]
pub(crate) mod checked;

pub(crate) use crate::turn::take_turn;

use crate::itself::test_name;
use bytes::Bytes;
use std::ffi::c_void;
use std::os::windows::io::{AsHandle, AsRawHandle, FromRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::time::Duration;
use watertight_core::{
    Backend, Cancelled, Chunks, Class, Completion, Key, Moved, Op, OpId, OpKind, OsCode, Outcome,
    Submitted,
};
use watertight_os::{Handle, Native};
use windows_sys::Win32::Foundation::{
    GENERIC_WRITE, GetHandleInformation, HANDLE_FLAG_INHERIT, SetHandleInformation,
};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_OVERLAPPED, OPEN_EXISTING, PIPE_ACCESS_INBOUND,
};
use windows_sys::Win32::System::Pipes::CreateNamedPipeW;

/// No answer takes longer than this, however slow the machine: a test that waits so long has failed.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// More than a pipe takes with nobody reading: a write of so many bytes pends.
pub(crate) const TOO_MANY: usize = 70_000;

/// Whether this process runs nothing but the test of that name, which stands in the module of that `module_path!()`. If not, one that
/// does is started and has to succeed.
///
/// The test harness starts threads of its own at any moment, and they have handles: a count needs a process to itself.
pub(crate) fn has_process_to_itself(module: &str, test: &str) -> bool {
    has_process_with(module, test, 0)
}

/// As that, in a process that is started with these creation flags.
pub(crate) fn has_process_with(module: &str, test: &str, creation_flags: u32) -> bool {
    const ITSELF: &str = "WATERTIGHT_TEST_BY_ITSELF";
    if std::env::var_os(ITSELF).is_some() {
        return true;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test_name(module, test)])
        .args(["--nocapture", "--test-threads=1"])
        .env(ITSELF, "1")
        .creation_flags(creation_flags)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    // So that nobody takes what was skipped there for a success.
    for line in text.lines().filter(|line| line.contains("skipped: ")) {
        println!("{line}");
    }
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

/// Whether this runs under Wine: to skip what it answers differently, never to take another path in the product.
pub(crate) fn under_wine() -> bool {
    std::env::var_os("WINLAB_RUN").is_some()
}

/// A backend and the answers it gave that nobody asked for yet.
pub(crate) struct Lab {
    pub(crate) native: Native,
    answers: Vec<Completion>,
    next_slot: u32,
}

/// One end under test: a handle and its place.
pub(crate) struct End {
    pub(crate) handle: Arc<Handle>,
    pub(crate) key: Key,
}

impl End {
    pub(crate) fn id(&self, kind: OpKind) -> OpId {
        OpId {
            pipe: self.key,
            kind,
        }
    }
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self {
            native: Native::new().unwrap(),
            answers: Vec::new(),
            next_slot: 0,
        }
    }

    pub(crate) fn end(&mut self, handle: Handle) -> End {
        self.next_slot += 1;
        let key = Key {
            slot: self.next_slot,
            generation: 0,
        };
        End {
            handle: Arc::new(handle),
            key,
        }
    }

    /// A pipe: its reading and its writing end.
    pub(crate) fn pipe(&mut self) -> (End, End) {
        let (reading, writing) = self.native.pipe().unwrap();
        (self.end(reading), self.end(writing))
    }

    pub(crate) fn submit(&self, end: &End, op: Op) -> Submitted {
        let id = end.id(op.kind());
        self.native.submit(&end.handle, id, op)
    }

    pub(crate) fn submit_read(&self, end: &End) -> Submitted {
        self.submit(end, Op::Read { bytes_max: 65_536 })
    }

    pub(crate) fn submit_write(&self, end: &End, bytes: impl Into<Bytes>) -> Submitted {
        self.submit(end, Op::Write(chunks([bytes.into()])))
    }

    /// The answer to what was submitted: at once, or when it comes.
    pub(crate) fn settle(&mut self, end: &End, kind: OpKind, submitted: Submitted) -> Outcome {
        match submitted {
            Submitted::Done(outcome) => outcome,
            Submitted::InFlight => self.answer(end.id(kind)),
        }
    }

    pub(crate) fn read(&mut self, end: &End) -> Outcome {
        let submitted = self.submit_read(end);
        self.settle(end, OpKind::Read, submitted)
    }

    pub(crate) fn write(&mut self, end: &End, bytes: impl Into<Bytes>) -> Outcome {
        let submitted = self.submit_write(end, bytes);
        self.settle(end, OpKind::Write, submitted)
    }

    pub(crate) fn until_read(&mut self, end: &End) -> Outcome {
        let submitted = self.submit(end, Op::UntilRead);
        self.settle(end, OpKind::UntilRead, submitted)
    }

    /// Cancels and waits for the answer, whichever way it comes.
    pub(crate) fn cancel(&mut self, end: &End, kind: OpKind) -> Outcome {
        match self.native.cancel(&end.handle, end.id(kind)) {
            Cancelled::Done(outcome) => outcome,
            Cancelled::Requested => self.answer(end.id(kind)),
        }
    }

    /// Waits for the completion of `id`, and keeps those of others.
    pub(crate) fn answer(&mut self, id: OpId) -> Outcome {
        let until = self.native.now().after(ANSWER_WITHIN);
        loop {
            if let Some(place) = self.answers.iter().position(|answer| answer.id == id) {
                return self.answers.remove(place).outcome;
            }
            assert!(self.native.now() < until, "no answer came for {id:?}");
            self.native.wait(&mut self.answers, Some(until)).unwrap();
        }
    }

    /// Reads until so many bytes came.
    pub(crate) fn read_all(&mut self, end: &End, bytes: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < bytes {
            match self.read(end) {
                Outcome::Data(data) => all.extend_from_slice(&data),
                other => panic!("{other:?} after {} bytes", all.len()),
            }
        }
        all
    }

    /// Whether everything that was answered was asked for, and nothing is left in the port.
    pub(crate) fn assert_quiet(&mut self) {
        let now = self.native.now();
        self.native.wait(&mut self.answers, Some(now)).unwrap();
        assert!(self.answers.is_empty(), "{:?}", self.answers);
    }

    pub(crate) fn close(&self, end: End) {
        self.native.close(end.handle, true).unwrap();
    }
}

pub(crate) fn chunks<const N: usize>(parts: [Bytes; N]) -> Chunks {
    let mut chunks = Chunks::default();
    for part in parts {
        chunks.push(part);
    }
    chunks
}

pub(crate) fn assert_data(outcome: &Outcome, expected: &[u8]) {
    match outcome {
        Outcome::Data(data) => assert_eq!(&data[..], expected),
        other => panic!("{other:?} instead of {} bytes", expected.len()),
    }
}

pub(crate) fn assert_transferred(outcome: &Outcome, expected: u64) {
    assert!(
        matches!(outcome, Outcome::Transferred(bytes) if *bytes == expected),
        "{outcome:?} instead of {expected} bytes"
    );
}

/// The class, the code and what moved.
pub(crate) fn assert_failed(outcome: &Outcome, class: Class, code: Option<i32>, moved: Moved) {
    match outcome {
        Outcome::Failed {
            class: c,
            os,
            moved: m,
        } => {
            assert_eq!((*c, *os, *m), (class, code.map(OsCode), moved));
        }
        other => panic!("{other:?} instead of {class:?}"),
    }
}

pub(crate) fn assert_ready(outcome: &Outcome) {
    assert!(matches!(outcome, Outcome::Ready), "{outcome:?}");
}

pub(crate) fn assert_end(outcome: &Outcome) {
    assert!(matches!(outcome, Outcome::EndOfStream), "{outcome:?}");
}

pub(crate) fn assert_in_flight(submitted: &Submitted) {
    assert!(matches!(submitted, Submitted::InFlight), "{submitted:?}");
}

/// Handles that are open for calls that wait: a pipe of the system's own.
pub(crate) fn blocking_pipe() -> (OwnedHandle, OwnedHandle) {
    let (reading, writing) = std::io::pipe().unwrap();
    (reading.into(), writing.into())
}

/// A pipe made by the system's own calls: a reading server and a writing client, both overlapped.
pub(crate) fn named_pipe(mode: u32) -> (OwnedHandle, OwnedHandle) {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!(r"\\.\pipe\watertight-test-{}-{number}", std::process::id());
    let path: Vec<u16> = name.encode_utf16().chain([0]).collect();
    let access = PIPE_ACCESS_INBOUND | FILE_FLAG_OVERLAPPED;
    // SAFETY: the path ends with a zero and lives until the call returns.
    let server =
        owned(unsafe { CreateNamedPipeW(path.as_ptr(), access, mode, 1, 4096, 4096, 0, null()) });
    // SAFETY: as above.
    let client = owned(unsafe {
        CreateFileW(
            path.as_ptr(),
            GENERIC_WRITE,
            0,
            null(),
            OPEN_EXISTING,
            FILE_FLAG_OVERLAPPED,
            null_mut(),
        )
    });
    (server, client)
}

/// A second handle for the same file.
pub(crate) fn duplicate(handle: &impl AsHandle) -> OwnedHandle {
    handle.as_handle().try_clone_to_owned().unwrap()
}

/// A handle that a call of the test made.
pub(crate) fn owned(raw: *mut c_void) -> OwnedHandle {
    assert!(!raw.is_null() && raw.addr() != usize::MAX);
    // SAFETY: every caller passes what a system call just made, and nobody else knows it.
    unsafe { OwnedHandle::from_raw_handle(raw) }
}

/// How many handles this process has open.
pub(crate) fn handles_open() -> usize {
    Native::open_handles().unwrap()
}

/// Waits until no more handles are open than `before`: a thread that ended gives its own back a moment later.
pub(crate) fn assert_no_leak(before: usize) {
    let start = std::time::Instant::now();
    loop {
        let now = handles_open();
        if now <= before {
            return;
        }
        assert!(
            start.elapsed() < ANSWER_WITHIN,
            "{now} handles open, {before} before"
        );
        std::thread::yield_now();
    }
}

/// An event: a handle that is no file.
pub(crate) fn event() -> OwnedHandle {
    use windows_sys::Win32::System::Threading::CreateEventW;
    // SAFETY: no memory goes in, and nobody else knows the handle that comes out.
    owned(unsafe { CreateEventW(null_mut(), 1, 0, null_mut()) })
}

/// Sets `FILE_SKIP_COMPLETION_PORT_ON_SUCCESS`: from then on an operation that succeeds at once sends no packet.
pub(crate) fn skip_packets(handle: &OwnedHandle) {
    use windows_sys::Win32::Storage::FileSystem::SetFileCompletionNotificationModes;
    use windows_sys::Win32::System::WindowsProgramming::FILE_SKIP_COMPLETION_PORT_ON_SUCCESS;
    let flags = u8::try_from(FILE_SKIP_COMPLETION_PORT_ON_SUCCESS).unwrap();
    // SAFETY: the handle is open while it is borrowed; the call sets a flag of its file and touches no memory.
    let done = unsafe { SetFileCompletionNotificationModes(handle.as_raw_handle(), flags) };
    assert_ne!(done, 0);
}

/// Whether children that inherit everything get a handle.
pub(crate) fn is_inherited(handle: &impl AsRawHandle) -> bool {
    let mut flags = 0;
    // SAFETY: the handle is open while it is borrowed; the flags are ours and written before the call returns.
    let done = unsafe { GetHandleInformation(handle.as_raw_handle(), &raw mut flags) };
    assert_ne!(done, 0);
    flags & HANDLE_FLAG_INHERIT != 0
}

/// Has children get a handle, or not.
pub(crate) fn set_inherited(handle: &OwnedHandle, yes: bool) {
    let flags = if yes { HANDLE_FLAG_INHERIT } else { 0 };
    // SAFETY: the handle is open while it is borrowed; the call changes this process's own entry for it.
    let done = unsafe { SetHandleInformation(handle.as_raw_handle(), HANDLE_FLAG_INHERIT, flags) };
    assert_ne!(done, 0);
}
