//! The file of `--report-to`: opened before anything is copied or run, written at the end. One that we made is removed when the program
//! ends before anything was written to it, whichever way it ends. What is no file has a reader, who is waited for as the reader of standard
//! error is: not for ever. And which exit code the report has told, wherever it went: the program ends with that one, also if it is ended at
//! once meanwhile.

use crate::claimed::Claimed;
use crate::created::{Created, open_or_create};
use crate::diagnostics;
use crate::identity::Thing;
use crate::last_reader::{LOOK_EVERY, LastReader, STUCK_AFTER};
use crate::names::is_appended_elsewhere;
use crate::platform;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a report that is being written may hold up an end at once: time enough for a disk, and little for a person.
const SAVED_WITHIN: Duration = Duration::from_secs(1);

/// The one report of this run of the program.
static REPORT: Guard = Guard::new();

/// What becomes of the file if the program ends now.
enum Stage {
    /// The program is ending at once: nothing is written any more.
    Left,
    /// We made it: it goes if it is still empty.
    Made(#[allow(dead_code, reason = "it is there to be dropped")] Created),
    /// There is none, or it was there before.
    Nothing,
    /// The report is being written, or handed over to who says it.
    Saving,
}

/// How far the report is.
struct State {
    stage: Stage,
    /// All that is left is the report, and what is said beside it.
    is_due: bool,
    /// The exit code that it tells, once somebody has it.
    told: Option<i32>,
}

/// The state. Its lock is held for no call to the system.
struct Guard {
    state: Mutex<State>,
    changed: Condvar,
}

/// The file was made. When this is dropped, the file goes if it is still empty.
pub(crate) struct Made;

impl Drop for Made {
    fn drop(&mut self) {
        REPORT.release();
    }
}

/// Where the report goes.
pub(crate) enum ReportFile {
    /// What others write too: a descriptor that this program was started with, which is written as it was opened, or a file that another
    /// process appends to. The report comes behind what is there.
    Inherited(File),
    Open(File),
    /// A FIFO that nobody had opened to read when it was looked at. It is opened when the report is there.
    Unread(PathBuf),
}

fn options() -> OpenOptions {
    let mut options = platform::open_options();
    options.write(true);
    options
}

/// Opens what is there, without waiting for anybody. Not truncated yet: it may turn out to be an end of the copy. None: it is to be made, or
/// `make` says what is wrong.
pub(crate) fn open_existing(path: &Path, claimed: &Claimed) -> Option<ReportFile> {
    // A file system may hang with it.
    platform::let_requests_end_us();
    if let Some(number) = platform::own_descriptor(path) {
        let inherited = claimed.copy_to_write(number).ok()?;
        // Opened by its name, a file would be written at its beginning.
        if inherited.metadata().is_ok_and(|known| known.is_file()) {
            return Some(ReportFile::Inherited(inherited));
        }
        // A pipe has no beginning, and is in non-blocking mode then. A socket cannot be opened.
        let opened = platform::open_to_write(path);
        return Some(opened.map_or(ReportFile::Inherited(inherited), ReportFile::Open));
    }
    let is_file = std::fs::metadata(path).is_ok_and(|known| known.is_file());
    if is_file && is_appended_elsewhere(path) {
        // Emptied, it would lack what that process has said.
        let appended = platform::open_options().append(true).open(path);
        return appended.ok().map(ReportFile::Inherited);
    }
    match platform::open_to_write(path) {
        Ok(file) => Some(ReportFile::Open(file)),
        Err(error) => {
            let is_unread = platform::is_unread_fifo(path, &error);
            is_unread.then(|| ReportFile::Unread(path.to_owned()))
        }
    }
}

/// Makes the file. Signals are kept by now, so that none of them leaves it behind.
pub(crate) fn make(path: &Path) -> io::Result<(ReportFile, Made)> {
    if platform::own_descriptor(path).is_some() {
        return Err(io::Error::other("it is not open for writing"));
    }
    let (file, created) = open_or_create(&options(), path, false)?;
    if let Some(created) = created {
        REPORT.note_made(created);
    }
    Ok((ReportFile::Open(file), Made))
}

impl ReportFile {
    /// What is open by now.
    pub(crate) fn file(&self) -> Option<&File> {
        match self {
            Self::Inherited(file) | Self::Open(file) => Some(file),
            Self::Unread(_) => None,
        }
    }

    /// What it is, open or not.
    pub(crate) fn thing(&self) -> Option<Thing> {
        match self {
            Self::Inherited(file) | Self::Open(file) => Thing::of(file),
            Self::Unread(path) => Thing::of_path(path),
        }
    }

    /// Whether what is in the file already goes.
    pub(crate) fn is_emptied(&self) -> bool {
        match self {
            Self::Inherited(_) => false,
            Self::Open(_) | Self::Unread(_) => true,
        }
    }

    /// Whether somebody has to take the report, who may take a long time: it is no file.
    pub(crate) fn is_taken_by_others(&self) -> bool {
        self.file().is_none_or(|file| {
            let is_file = is_file(file).unwrap_or(false);
            !is_file && !platform::is_null_device(file)
        })
    }

    /// Writes the report, which tells this exit code. Does not come back if the program is ending at once.
    pub(crate) fn save(self, text: &str, code: i32) -> io::Result<()> {
        let thing = self.file().and_then(Thing::of);
        let saved = REPORT.save(code, || match self {
            Self::Inherited(file) => write_behind(file, text),
            Self::Open(file) => write(file, text),
            Self::Unread(path) => write(open_once_read(&path)?, text),
        });
        let is_stuck = |error: &io::Error| error.kind() == ErrorKind::TimedOut;
        let is_standard_error =
            || thing.is_some() && thing == platform::look_at_standard(2, Thing::of);
        if saved.as_ref().is_err_and(is_stuck) && is_standard_error() {
            // Nobody takes what we say there either, and the end of the program would wait for it once more.
            diagnostics::silence();
        }
        saved
    }
}

/// Opens a FIFO, as soon as somebody has opened it to read.
fn open_once_read(path: &Path) -> io::Result<File> {
    let mut waited = Duration::ZERO;
    loop {
        let error = match platform::open_to_write(path) {
            Ok(file) => return Ok(file),
            Err(error) => error,
        };
        if !platform::is_unread_fifo(path, &error) {
            return Err(error);
        }
        if waited >= STUCK_AFTER {
            return Err(nobody("opened it to read"));
        }
        std::thread::park_timeout(LOOK_EVERY);
        waited += LOOK_EVERY;
    }
}

fn write(file: File, text: &str) -> io::Result<()> {
    if is_file(&file)? {
        file.set_len(0)?;
    }
    write_behind(file, text)
}

fn is_file(file: &File) -> io::Result<bool> {
    Ok(platform::known(file)?.is_some_and(|known| known.is_file()))
}

/// Writes it where the file is.
fn write_behind(mut file: File, text: &str) -> io::Result<()> {
    if is_file(&file)? {
        return file.write_all(text.as_bytes());
    }
    hand_over(&file, text.as_bytes())
}

/// Gives it to whoever takes it, until nobody has taken a byte for [`STUCK_AFTER`].
fn hand_over(file: &File, text: &[u8]) -> io::Result<()> {
    let mut left = text;
    let mut reader = LastReader::new(left.len(), platform::unread_of(file));
    while !left.is_empty() {
        let piece = &left[..left.len().min(platform::PIECE_BYTES_MAX)];
        let passed = match platform::write_within(file, piece, LOOK_EVERY) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(taken) => {
                left = &left[taken..];
                Duration::ZERO
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => LOOK_EVERY,
            Err(error) => return Err(error),
        };
        reader.look(left.len(), platform::unread_of(file), passed);
        if reader.is_stuck() {
            return Err(nobody("taken a byte of it"));
        }
    }
    Ok(())
}

fn nobody(has_done: &str) -> io::Error {
    let seconds = STUCK_AFTER.as_secs();
    io::Error::new(
        ErrorKind::TimedOut,
        format!("nobody has {has_done} for {seconds} s"),
    )
}

/// The program ends at once, by another thread than the one that writes the report: what is still empty goes, and what is being written
/// is waited for, but not for long.
pub(crate) fn leave() {
    REPORT.leave(SAVED_WITHIN);
}

/// All that is left is the report, and what is said beside it. Waits for ever if another thread ends the program at once: a report would tell
/// another exit code than that one's, and the end of the commands that it kills.
pub(crate) fn begin() {
    REPORT.begun().is_due = true;
}

/// Whether nothing else is left.
pub(crate) fn is_due() -> bool {
    REPORT.lock().is_due
}

/// Has the report said on standard error, which tells this exit code. Does not come back if the program is ending at once.
pub(crate) fn say(code: i32, say: impl FnOnce()) {
    REPORT.say(code, say);
}

/// The exit code that the report has told, if somebody has it.
pub(crate) fn told() -> Option<i32> {
    REPORT.lock().told
}

impl Guard {
    const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                stage: Stage::Nothing,
                is_due: false,
                told: None,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_made(&self, created: Created) {
        let before = std::mem::replace(&mut self.lock().stage, Stage::Made(created));
        drop(before);
    }

    /// The ordinary end.
    fn release(&self) {
        let mut state = self.lock();
        if !matches!(state.stage, Stage::Made(_)) {
            return;
        }
        let before = std::mem::replace(&mut state.stage, Stage::Nothing);
        drop(state);
        // Here the file goes, without the lock.
        drop(before);
    }

    fn save(&self, code: i32, write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let before = self.begin_saving();
        let saved = write();
        self.end_saving(before, saved.is_ok().then_some(code));
        saved
    }

    /// It has told its exit code once it is handed over, and not before: who ends the program at once could do so without it.
    fn say(&self, code: i32, say: impl FnOnce()) {
        let before = self.begin_saving();
        say();
        self.end_saving(before, Some(code));
    }

    /// From here on the report is being written, or said. The stage before that: what we made goes if it stays empty.
    fn begin_saving(&self) -> Stage {
        std::mem::replace(&mut self.begun().stage, Stage::Saving)
    }

    /// Nobody has to wait for the file any more. What we made goes all the same if nothing could be written.
    fn end_saving(&self, before: Stage, told: Option<i32>) {
        let mut state = self.lock();
        state.told = state.told.or(told);
        // Whoever ends the program at once may have waited long enough, and does so still.
        if matches!(state.stage, Stage::Saving) {
            state.stage = before;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The state, unless the program is left.
    fn begun(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        // For ever: whoever set this ends the program.
        while matches!(state.stage, Stage::Left) {
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    fn leave(&self, within: Duration) {
        let is_saving = |state: &mut State| matches!(state.stage, Stage::Saving);
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), within, is_saving);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut state.stage, Stage::Left);
        drop(state);
        // Here the file goes, without the lock.
        drop(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::mpsc::channel;

    /// What the report tells.
    const CODE: i32 = 8;

    /// A file that was made, with its guard.
    fn made(path: &Path) -> (File, Guard) {
        let (file, created) = open_or_create(&options(), path, false).unwrap();
        let guard = Guard::new();
        guard.note_made(created.unwrap());
        (file, guard)
    }

    #[test]
    fn what_was_made_and_is_empty_goes_at_either_end() {
        let ends: [fn(&Guard); 2] = [Guard::release, |guard| guard.leave(Duration::ZERO)];
        for end in ends {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("report");
            let (file, guard) = made(&path);
            assert!(path.exists());
            drop(file);
            end(&guard);
            assert!(!path.exists());
        }
    }

    #[test]
    fn what_was_saved_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        let (file, guard) = made(&path);
        guard.save(CODE, || write(file, "saved")).unwrap();
        assert_eq!(guard.lock().told, Some(CODE));
        guard.release();
        guard.leave(Duration::ZERO);
        assert_eq!(fs::read(&path).unwrap(), b"saved");
    }

    #[test]
    fn a_report_has_told_its_code_once_it_is_said() {
        let guard = Guard::new();
        guard.say(CODE, || {
            let state = guard.lock();
            assert_eq!(state.told, None);
            assert!(matches!(state.stage, Stage::Saving));
        });
        let state = guard.lock();
        assert_eq!(state.told, Some(CODE));
        assert!(matches!(state.stage, Stage::Nothing));
    }

    #[test]
    fn what_cannot_be_saved_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        let (file, guard) = made(&path);
        let failed = guard.save(CODE, || {
            drop(file);
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(failed.is_err());
        assert_eq!(guard.lock().told, None);
        guard.release();
        assert!(!path.exists());
    }

    #[test]
    fn an_end_at_once_waits_for_what_is_being_saved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        let (file, guard) = made(&path);
        let (begun, has_begun) = channel();
        let guard = &guard;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let saved = guard.save(CODE, || {
                    begun.send(()).unwrap();
                    write(file, "saved")
                });
                saved.unwrap();
            });
            has_begun.recv().unwrap();
            // Longer than any test takes: it ends because the report is there.
            guard.leave(Duration::from_secs(600));
            assert_eq!(fs::read(&path).unwrap(), b"saved");
        });
    }

    /// It was there, and is empty while it is written. Then nobody waits any more, also if nothing could be written.
    #[test]
    fn an_end_at_once_waits_for_what_is_being_saved_to_a_file_that_was_there() {
        for can_write in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("report");
            fs::write(&path, "of the run before").unwrap();
            let claimed = Claimed::take([]);
            let Some(ReportFile::Open(file)) = open_existing(&path, &claimed) else {
                panic!("it is there");
            };
            let guard = Guard::new();
            let (begun, has_begun) = channel();
            let (go, is_going) = channel::<()>();
            let guard = &guard;
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    let saved = guard.save(CODE, || {
                        file.set_len(0)?;
                        begun.send(()).unwrap();
                        is_going.recv().unwrap();
                        if can_write {
                            write(file, "saved")
                        } else {
                            Err(io::ErrorKind::StorageFull.into())
                        }
                    });
                    assert_eq!(saved.is_ok(), can_write);
                });
                has_begun.recv().unwrap();
                let is_saving = matches!(guard.lock().stage, Stage::Saving);
                go.send(()).unwrap();
                assert!(is_saving);
                // Longer than any test takes: it ends because the report is there.
                guard.leave(Duration::from_secs(600));
                let expected = if can_write { "saved" } else { "" };
                assert_eq!(fs::read_to_string(&path).unwrap(), expected);
            });
            assert!(path.exists());
        }
    }

    #[test]
    fn an_end_at_once_does_not_wait_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        let (file, guard) = made(&path);
        let (go, is_going) = channel::<()>();
        let (begun, has_begun) = channel();
        let guard = &guard;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let saved = guard.save(CODE, || {
                    begun.send(()).unwrap();
                    is_going.recv().unwrap();
                    write(file, "late")
                });
                saved.unwrap();
            });
            has_begun.recv().unwrap();
            guard.leave(Duration::ZERO);
            assert_eq!(guard.lock().told, None);
            go.send(()).unwrap();
        });
        assert_eq!(fs::read(&path).unwrap(), b"late");
        // Nobody else ends the program meanwhile, and it ends with what the report has told after all.
        let state = guard.lock();
        assert!(matches!(state.stage, Stage::Left));
        assert_eq!(state.told, Some(CODE));
    }
}
