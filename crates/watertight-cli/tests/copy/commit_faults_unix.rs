//! A copy to a file whose last steps fail, one by one: what it says is what is there, and success is said of nothing else.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::{Run, folder_with, strace};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use tempfile::TempDir;

const OLD: &[u8] = b"old";
const OLD_MODE: u32 = 0o604;

/// The calls that rename, whatever this machine has of them.
const RENAME: &str = "?rename,?renameat";
const RENAME_NEW: &str = "renameat2";
const REMOVE: &str = "?unlink,?unlinkat";
const OPEN: &str = "?open,openat";
/// The calls that look at what a path leads to.
const LOOK: &str = "?statx,?stat,?lstat,?newfstatat,?fstatat64";

const RENAME_CODES: [(&str, Errno); 7] = [
    ("EACCES", Errno::ACCESS),
    ("EBUSY", Errno::BUSY),
    ("EDQUOT", Errno::DQUOT),
    ("EIO", Errno::IO),
    ("ENOSPC", Errno::NOSPC),
    ("EROFS", Errno::ROFS),
    ("EXDEV", Errno::XDEV),
];
const RENAME_NEW_CODES: [(&str, Errno); 5] = [
    ("EDQUOT", Errno::DQUOT),
    ("EEXIST", Errno::EXIST),
    ("EIO", Errno::IO),
    ("ENOSPC", Errno::NOSPC),
    ("EPERM", Errno::PERM),
];
/// How a system says that it has no call for a name that must be free.
const NO_CALL_CODES: [&str; 2] = ["EINVAL", "ENOSYS"];
/// What comes when bytes that were taken go to the disk.
const DISK_CODES: [(&str, Errno); 3] = [
    ("EDQUOT", Errno::DQUOT),
    ("EIO", Errno::IO),
    ("ENOSPC", Errno::NOSPC),
];

/// A source, and a folder for destinations in which there is one file.
struct Place {
    _folder: TempDir,
    source: PathBuf,
    /// What strace says.
    log: PathBuf,
    made: PathBuf,
    bytes: Vec<u8>,
}

impl Place {
    fn new() -> Self {
        let (folder, source, bytes) = folder_with(1000);
        // As strace names it.
        let path = folder.path().canonicalize().unwrap();
        let made = path.join("made");
        fs::create_dir(&made).unwrap();
        let old = made.join("old");
        fs::write(&old, OLD).unwrap();
        fs::set_permissions(&old, Permissions::from_mode(OLD_MODE)).unwrap();
        Self {
            _folder: folder,
            source,
            log: path.join("calls"),
            made,
            bytes,
        }
    }

    /// A copy, run in the folder for destinations, while calls fail: every such call, or if there are `about`, every such call about one
    /// of these paths.
    fn copy_about(&self, about: &[&str], faults: &[&str], arguments: &[&str]) -> Run {
        let calls = faults.iter().filter_map(|fault| fault.split(':').next());
        let calls: Vec<&str> = calls.collect();
        let mut command = strace::copy(&self.log, &calls.join(","), faults, about);
        command
            .args(arguments)
            .current_dir(&self.made)
            .stdin(File::open(&self.source).unwrap());
        let run = Run::of(command.output().unwrap());
        let failed = strace::failed(&self.log);
        let told = &run.stderr;
        assert!(failed >= faults.len(), "{faults:?}: {failed}: {told}");
        run
    }

    fn copy(&self, faults: &[&str], arguments: &[&str]) -> Run {
        self.copy_about(&[], faults, arguments)
    }

    /// There are these files in the folder for destinations, and no others.
    #[track_caller]
    fn expect_files(&self, files: &[(&str, &[u8])]) {
        let expected: BTreeMap<&str, &[u8]> = files.iter().copied().collect();
        let found = fs::read_dir(&self.made).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        });
        let found: BTreeMap<String, Vec<u8>> = found.collect();
        let names: Vec<&String> = found.keys().collect();
        assert_eq!(names, expected.keys().collect::<Vec<_>>());
        for (name, bytes) in expected {
            assert!(found[name] == bytes, "{name}: {:?}", found[name]);
        }
    }

    /// Every byte is in the partial, the copy says so, and what was there is as it was.
    #[track_caller]
    fn expect_beside(&self, run: &Run, name: &str) {
        let beside = format!("{name}.partial");
        let one = run.destination(0);
        assert_eq!(one["ending"], "failed", "{}", run.report);
        assert_eq!(one["how"], "partial");
        assert_eq!(one["partial"], beside.as_str());
        assert_eq!(run.count(0, "transferred"), 1000);
        self.expect_files(&[("old", OLD), (&beside, &self.bytes)]);
        if name == "old" {
            let found = fs::metadata(self.made.join(&beside)).unwrap().mode();
            assert_eq!(found & 0o7777, OLD_MODE);
        }
    }

    /// Every byte is where it should be, and the copy says how it came there; besides there is the old file.
    #[track_caller]
    fn expect_there(&self, run: &Run, name: &str, how: &str) {
        let one = run.destination(0);
        assert_eq!(one["how"], how, "{}", run.report);
        assert!(one["partial"].is_null(), "{}", run.report);
        assert_eq!(run.count(0, "transferred"), 1000);
        let there: [(&str, &[u8]); 2] = [("old", OLD), (name, &self.bytes)];
        let is_old = name == "old";
        self.expect_files(if is_old { &there[1..] } else { &there });
    }

    /// Nothing was begun.
    #[track_caller]
    fn expect_untouched(&self, run: &Run) {
        assert_eq!(run.report["ending"], "not_opened", "{}", run.report);
        assert_eq!(run.count(0, "transferred"), 0);
        self.expect_files(&[("old", OLD)]);
    }
}

/// What failed is named, in the system's words.
#[track_caller]
fn expect_error(run: &Run, index: usize, step: &str, code: Errno) {
    let error = run.destination(index)["error"].as_str().unwrap();
    let words = io::Error::from(code).to_string();
    assert!(error.contains(step) && error.contains(&words), "{error}");
}

/// What is before the comma.
fn name_of(address: &str) -> &str {
    address.split(',').next().unwrap()
}

#[test]
fn a_rename_that_fails_leaves_the_old_file_and_every_byte_beside() {
    if !strace::may_trace() {
        return;
    }
    for (code, errno) in RENAME_CODES {
        let fault = format!("{RENAME}:error={code}");
        for arguments in [&["-", "new"][..], &["-", "old"], &["--sync", "-", "old"]] {
            let (place, name) = (Place::new(), arguments[arguments.len() - 1]);
            let run = place.copy(&[&fault], arguments).expect(5);
            assert_eq!(run.report["ending"], "incomplete");
            place.expect_beside(&run, name);
            expect_error(&run, 0, "cannot rename", errno);
        }
    }
}

#[test]
fn a_new_name_that_cannot_be_given_is_nobodys() {
    if !strace::may_trace() {
        return;
    }
    let arguments = ["-", "new,exclusive"];
    for (code, errno) in RENAME_NEW_CODES {
        let place = Place::new();
        let fault = format!("{RENAME_NEW}:error={code}");
        let run = place.copy(&[&fault], &arguments).expect(5);
        place.expect_beside(&run, "new");
        expect_error(&run, 0, "cannot rename", errno);
    }
}

/// Where there is no call for a name that must be free, the name is held by an empty file.
#[test]
fn a_held_name_is_given_or_goes() {
    if !strace::may_trace() {
        return;
    }
    let arguments = ["-", "new,exclusive"];
    let cannot_rename = format!("{RENAME}:error=EIO");
    let cannot_remove = format!("{REMOVE}:error=EACCES");
    for code in NO_CALL_CODES {
        let no_call = format!("{RENAME_NEW}:error={code}");
        let place = Place::new();
        let run = place.copy(&[&no_call], &arguments).expect(0);
        place.expect_there(&run, "new", "renamed");
        let place = Place::new();
        let run = place.copy(&[&no_call, &cannot_rename], &arguments);
        place.expect_beside(&run.expect(5), "new");
        // It cannot be held.
        for (code, errno) in [("EDQUOT", Errno::DQUOT), ("EEXIST", Errno::EXIST)] {
            let place = Place::new();
            let cannot_hold = format!("{OPEN}:error={code}");
            let faults = [no_call.as_str(), &cannot_hold];
            let run = place.copy_about(&["new"], &faults, &arguments).expect(5);
            place.expect_beside(&run, "new");
            expect_error(&run, 0, "cannot rename", errno);
        }
        // What held it cannot go, and is named.
        let place = Place::new();
        let faults = [no_call.as_str(), &cannot_rename, &cannot_remove];
        let run = place.copy(&faults, &arguments).expect(5);
        expect_error(&run, 0, "cannot rename", Errno::IO);
        expect_error(&run, 0, "cannot remove new", Errno::ACCESS);
        let beside = ("new.partial", place.bytes.as_slice());
        place.expect_files(&[("old", OLD), ("new", b""), beside]);
    }
}

#[test]
fn without_the_disks_word_there_is_no_success() {
    if !strace::may_trace() {
        return;
    }
    for (code, errno) in DISK_CODES {
        let of_file = format!("fsync:error={code}:when=1");
        let of_folder = format!("fsync:error={code}:when=2");
        for address in ["new", "old", "new,exclusive"] {
            let (name, arguments) = (name_of(address), ["--sync", "-", address]);
            let place = Place::new();
            let run = place.copy(&[&of_file], &arguments).expect(5);
            place.expect_beside(&run, name);
            expect_error(&run, 0, "cannot sync the file", errno);
            let place = Place::new();
            let run = place.copy(&[&of_folder], &arguments).expect(5);
            place.expect_there(&run, name, "renamed");
            expect_error(&run, 0, "cannot sync the folder", errno);
        }
        for (address, fault, step) in [
            ("new,inplace", &of_file, "cannot sync the file"),
            ("new,inplace", &of_folder, "cannot sync the folder"),
            ("old,inplace", &of_file, "cannot sync the file"),
        ] {
            let place = Place::new();
            let run = place.copy(&[fault], &["--sync", "-", address]).expect(5);
            place.expect_there(&run, name_of(address), "in_place");
            expect_error(&run, 0, step, errno);
        }
    }
}

#[test]
fn a_folder_that_cannot_be_opened_is_not_on_the_disk() {
    if !strace::may_trace() {
        return;
    }
    for (code, errno) in [("EACCES", Errno::ACCESS), ("EMFILE", Errno::MFILE)] {
        let place = Place::new();
        let fault = format!("{OPEN}:error={code}");
        let arguments = ["--sync", "-", "new"];
        let run = place.copy_about(&["."], &[&fault], &arguments).expect(5);
        place.expect_there(&run, "new", "renamed");
        expect_error(&run, 0, "cannot sync the folder", errno);
    }
}

#[test]
fn an_interrupted_sync_is_made_again() {
    if !strace::may_trace() {
        return;
    }
    for fault in ["fsync:error=EINTR:when=1", "fsync:error=EINTR:when=2"] {
        let place = Place::new();
        let run = place.copy(&[fault], &["--sync", "-", "old"]).expect(0);
        place.expect_there(&run, "old", "renamed");
    }
}

/// The first one is where it should be, and says so.
#[test]
fn of_several_each_has_its_own_word() {
    if !strace::may_trace() {
        return;
    }
    let place = Place::new();
    let fault = "fsync:error=EIO:when=3";
    let run = place.copy(&[fault], &["--sync", "-", "new", "old"]);
    let run = run.expect(5);
    assert_eq!(run.destination(0)["ending"], "finished", "{}", run.report);
    assert_eq!(run.destination(0)["how"], "renamed");
    assert_eq!(run.destination(1)["ending"], "failed");
    assert_eq!(run.destination(1)["partial"], "old.partial");
    expect_error(&run, 1, "cannot sync the file", Errno::IO);
    let whole = place.bytes.as_slice();
    place.expect_files(&[("old", OLD), ("new", whole), ("old.partial", whole)]);
}

/// Nothing was copied: the file beside is left only where it was about to get its name.
#[test]
fn of_an_empty_copy_what_is_told_is_there() {
    if !strace::may_trace() {
        return;
    }
    let arguments = ["--sync", "/dev/null", "new"];
    let place = Place::new();
    let run = place
        .copy(&["fsync:error=EIO:when=1"], &arguments)
        .expect(5);
    expect_error(&run, 0, "cannot sync the file", Errno::IO);
    assert!(run.destination(0)["how"].is_null(), "{}", run.report);
    assert!(run.destination(0)["partial"].is_null());
    place.expect_files(&[("old", OLD)]);
    let place = Place::new();
    let fault = format!("{RENAME}:error=EIO");
    let run = place.copy(&[&fault], &arguments).expect(5);
    expect_error(&run, 0, "cannot rename", Errno::IO);
    assert_eq!(run.destination(0)["partial"], "new.partial");
    place.expect_files(&[("old", OLD), ("new.partial", b"")]);
}

/// As over a network: a close may be the first to hear that there is no room.
#[test]
fn a_close_that_fails_keeps_the_name_from_it() {
    if !strace::may_trace() {
        return;
    }
    for (code, errno) in DISK_CODES {
        let fault = format!("close:error={code}");
        for address in ["new", "old", "new,exclusive"] {
            let (place, name) = (Place::new(), name_of(address));
            let beside = place.made.join(format!("{name}.partial"));
            let about = [beside.to_str().unwrap()];
            let run = place.copy_about(&about, &[&fault], &["-", address]);
            let run = run.expect(5);
            place.expect_beside(&run, name);
            expect_error(&run, 0, "cannot write", errno);
        }
        let place = Place::new();
        let new = place.made.join("new");
        let about = [new.to_str().unwrap()];
        let run = place.copy_about(&about, &[&fault], &["-", "new,inplace"]);
        let run = run.expect(5);
        place.expect_there(&run, "new", "in_place");
        expect_error(&run, 0, "cannot write", errno);
    }
}

/// Nobody can say whether the partial is still the file that was written: it gets no name, and is named.
#[test]
fn a_partial_that_cannot_be_looked_at_is_named() {
    if !strace::may_trace() {
        return;
    }
    let fault = format!("{LOOK}:error=EIO");
    for name in ["new", "old"] {
        let beside = format!("{name}.partial");
        let place = Place::new();
        let run = place.copy_about(&[&beside], &[&fault], &["-", name]);
        let run = run.expect(5);
        place.expect_beside(&run, name);
        expect_error(&run, 0, "cannot look at", Errno::IO);
        // Nor does a copy that was cut keep it to itself.
        let place = Place::new();
        let arguments = ["--expect-bytes", "1001", "-", name];
        let run = place
            .copy_about(&[&beside], &[&fault], &arguments)
            .expect(7);
        assert_eq!(run.destination(0)["partial"], beside.as_str());
        place.expect_files(&[("old", OLD), (&beside, &place.bytes)]);
    }
}

#[test]
fn what_cannot_be_kept_means_in_place_and_nothing_is_left_beside() {
    if !strace::may_trace() {
        return;
    }
    let mut faults = vec![
        ("fchmod:error=EPERM", "mode"),
        ("flistxattr:error=EIO", "attributes"),
    ];
    let is_superuser = chown(Place::new().made.join("old"), Some(12345), Some(54321)).is_ok();
    if is_superuser {
        faults.push(("fchown:error=EPERM", "owner"));
    } else {
        println!("skipped: only the superuser meets another owner's file here");
    }
    for (fault, reason) in faults {
        let place = Place::new();
        if is_superuser {
            chown(place.made.join("old"), Some(12345), Some(54321)).unwrap();
        }
        let run = place.copy(&[fault], &["-", "old"]).expect(0);
        place.expect_there(&run, "old", "in_place");
        assert_eq!(run.destination(0)["in_place_reason"], reason);
    }
    // It is not emptied, or what was made beside cannot go: nothing is begun.
    let place = Place::new();
    let faults = ["fchmod:error=EPERM", "ftruncate:error=EIO"];
    let run = place.copy(&faults, &["-", "old"]).expect(3);
    place.expect_untouched(&run);
    expect_error(&run, 0, "cannot empty the file", Errno::IO);
    let place = Place::new();
    let cannot_remove = format!("{REMOVE}:error=EIO");
    let faults = ["fchmod:error=EPERM", &cannot_remove];
    let run = place.copy(&faults, &["-", "old"]).expect(3);
    expect_error(&run, 0, "cannot remove old.partial", Errno::IO);
    place.expect_files(&[("old", OLD), ("old.partial", b"")]);
}

#[test]
fn what_was_emptied_before_a_failure_is_told() {
    if !strace::may_trace() {
        return;
    }
    let place = Place::new();
    fs::write(place.made.join("second"), "second").unwrap();
    let fault = "ftruncate:error=EIO:when=2";
    let arguments = ["-", "old,inplace", "second,inplace"];
    let run = place.copy(&[fault], &arguments).expect(3);
    expect_error(&run, 1, "those before it are empty now", Errno::IO);
    place.expect_files(&[("old", b""), ("second", b"second")]);
}

#[test]
fn a_partial_that_cannot_be_made_means_in_place_or_a_refusal() {
    if !strace::may_trace() {
        return;
    }
    for (code, reason) in [
        ("EACCES", "folder"),
        ("EROFS", "folder"),
        ("EDQUOT", "room"),
        ("ENOSPC", "room"),
        ("ENAMETOOLONG", "name"),
    ] {
        let place = Place::new();
        let fault = format!("{OPEN}:error={code}");
        let run = place.copy_about(&["old.partial"], &[&fault], &["-", "old"]);
        let run = run.expect(0);
        place.expect_there(&run, "old", "in_place");
        assert_eq!(run.destination(0)["in_place_reason"], reason);
    }
    for (name, code, errno) in [
        ("old", "EIO", Errno::IO),
        ("old", "EMFILE", Errno::MFILE),
        ("new", "EACCES", Errno::ACCESS),
        ("new", "EIO", Errno::IO),
        ("new", "ENOSPC", Errno::NOSPC),
    ] {
        let place = Place::new();
        let fault = format!("{OPEN}:error={code}");
        let beside = format!("{name}.partial");
        let run = place.copy_about(&[&beside], &[&fault], &["-", name]);
        let run = run.expect(3);
        place.expect_untouched(&run);
        expect_error(&run, 0, "cannot open", errno);
    }
}
