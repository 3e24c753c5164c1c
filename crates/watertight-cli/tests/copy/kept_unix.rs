//! What a file has besides its content and its mode: flags, and lists of who may do what. It is kept, or the file is written in place.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::{Run, copy, folder_with, partial, strace};
use rustix::fs::{IFlags, XattrFlags, getxattr, ioctl_getflags, ioctl_setflags, setxattr};
use rustix::io::Errno;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A source that ends badly after five bytes.
const FAILING: &str = "exec:sh -c \"printf first; exit 1\"";

/// Each is kept by some file systems, or changed by some users only.
const FLAGS: [IFlags; 7] = [
    IFlags::COMPRESSED,
    IFlags::JOURNALING,
    IFlags::NOATIME,
    IFlags::NOCOW,
    IFlags::NODUMP,
    IFlags::SECURE_REMOVAL,
    IFlags::SYNC,
];

/// The list of a file, and the one that a folder's new files get.
const LIST: &str = "system.posix_acl_access";
const LIST_OF_NEW_FILES: &str = "system.posix_acl_default";
/// What such a list begins with.
const LIST_VERSION: u32 = 2;
/// Whom an entry is about.
const OWNER: u16 = 1;
const USER: u16 = 2;
const GROUP: u16 = 4;
const MASK: u16 = 16;
const OTHERS: u16 = 32;
/// An entry that is about nobody by number.
const NO_NUMBER: u32 = u32::MAX;
/// A user besides the owner.
const SOMEBODY: u32 = 12345;

/// A folder with a source of 1,000 bytes, and a file that has been there for long.
struct Place {
    folder: TempDir,
    target: PathBuf,
    bytes: Vec<u8>,
}

impl Place {
    fn new() -> Self {
        let (folder, _, bytes) = folder_with(1000);
        let target = folder.path().join("target");
        fs::write(&target, "old").unwrap();
        Self {
            folder,
            target,
            bytes,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn copy(&self, source: &str, target: &str) -> Run {
        let mut command = copy([source, target]);
        command.current_dir(self.folder.path());
        Run::of(command.output().unwrap())
    }

    /// A copy to the target goes well: how it got its bytes, and why.
    fn how(&self, target: &str) -> (String, Option<String>) {
        let run = self.copy("source", target).expect(0);
        assert!(fs::read(self.path(target)).unwrap() == self.bytes);
        assert!(!partial(&self.path(target)).exists());
        let text = |name: &str| run.destination(0)[name].as_str().map(str::to_owned);
        (text("how").unwrap(), text("in_place_reason"))
    }
}

fn in_place(reason: &str) -> (String, Option<String>) {
    ("in_place".to_owned(), Some(reason.to_owned()))
}

fn renamed() -> (String, Option<String>) {
    ("renamed".to_owned(), None)
}

fn flags(path: &Path) -> IFlags {
    ioctl_getflags(File::open(path).unwrap()).unwrap_or(IFlags::empty())
}

/// A flag that is set until this is dropped.
struct Flagged {
    file: File,
    before: IFlags,
}

impl Flagged {
    /// None: it cannot be set here, and that is told.
    fn new(path: &Path, flag: IFlags) -> Option<Self> {
        let before = flags(path);
        let file = File::open(path).unwrap();
        let set = ioctl_setflags(&file, before | flag);
        if set.is_err() || !flags(path).contains(flag) {
            println!("skipped: the flag {flag:?} cannot be set here: {set:?}");
            return None;
        }
        Some(Self { file, before })
    }
}

impl Drop for Flagged {
    fn drop(&mut self) {
        ioctl_setflags(&self.file, self.before).unwrap();
    }
}

#[test]
fn a_flag_that_a_new_file_would_lack_means_in_place() {
    for flag in FLAGS {
        let place = Place::new();
        let Some(_flagged) = Flagged::new(&place.target, flag) else {
            continue;
        };
        assert_eq!(place.how("target"), in_place("flags"), "{flag:?}");
        assert!(flags(&place.target).contains(flag), "{flag:?}");
    }
}

/// A folder hands flags down to its new files: those that the old one has, or not.
#[test]
fn a_flag_that_the_folder_hands_down_counts_too() {
    let place = Place::new();
    let Some(_flagged) = Flagged::new(place.folder.path(), IFlags::NODUMP) else {
        return;
    };
    fs::write(place.path("newer"), "old").unwrap();
    if !flags(&place.path("newer")).contains(IFlags::NODUMP) {
        println!("skipped: a folder hands no flags down here");
        return;
    }
    assert_eq!(place.how("newer"), renamed());
    assert!(flags(&place.path("newer")).contains(IFlags::NODUMP));
    assert_eq!(place.how("target"), in_place("flags"));
    assert!(!flags(&place.target).contains(IFlags::NODUMP));
}

/// What is made beside could get no other name there, and could not go.
#[test]
fn a_folder_whose_names_stay_means_in_place() {
    for (flag, takes_new) in [(IFlags::APPEND, true), (IFlags::IMMUTABLE, false)] {
        let place = Place::new();
        let Some(_flagged) = Flagged::new(place.folder.path(), flag) else {
            continue;
        };
        assert_eq!(place.how("target"), in_place("folder"), "{flag:?}");
        if takes_new {
            assert_eq!(place.how("new"), in_place("folder"), "{flag:?}");
        } else {
            place.copy("source", "new").expect(3);
        }
    }
}

/// As the system keeps it.
fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut list = LIST_VERSION.to_le_bytes().to_vec();
    for (about, may, number) in entries {
        list.extend(about.to_le_bytes());
        list.extend(may.to_le_bytes());
        list.extend(number.to_le_bytes());
    }
    list
}

/// Gives a file or a folder a list by which somebody else may read and write, in which the group may do nothing, and others neither. False:
/// there are no lists here, and that is told.
fn let_somebody_in(path: &Path, name: &str) -> bool {
    let entries = [
        (OWNER, 6, NO_NUMBER),
        (USER, 6, SOMEBODY),
        (GROUP, 0, NO_NUMBER),
        (MASK, 6, NO_NUMBER),
        (OTHERS, 0, NO_NUMBER),
    ];
    let set = setxattr(path, name, &list(&entries), XattrFlags::empty());
    if set.is_err() {
        println!("skipped: no file here can have a list of who may do what: {set:?}");
    }
    set.is_ok()
}

/// The list of a file, if it has one besides its mode.
fn list_of(path: &Path) -> Option<Vec<u8>> {
    let mut room = [0_u8; 1000];
    match getxattr(path, LIST, room.as_mut_slice()) {
        Ok(length) => Some(room[..length].to_vec()),
        Err(Errno::NODATA) => None,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_list_of_who_may_do_what_is_kept() {
    let place = Place::new();
    if !let_somebody_in(&place.target, LIST) {
        return;
    }
    let before = (list_of(&place.target).unwrap(), mode(&place.target));
    assert_eq!(place.how("target"), renamed());
    let after = (list_of(&place.target).unwrap(), mode(&place.target));
    assert_eq!(before, after);
}

/// The folder would let somebody in whom the old file keeps out.
#[test]
fn a_partial_is_never_wider_than_the_file_whatever_its_folder_hands_down() {
    for bits in [0o600, 0o640, 0o664] {
        let place = Place::new();
        fs::set_permissions(&place.target, Permissions::from_mode(bits)).unwrap();
        if !let_somebody_in(place.folder.path(), LIST_OF_NEW_FILES) {
            return;
        }
        place.copy(FAILING, "target").expect(8);
        let beside = partial(&place.target);
        assert_eq!((list_of(&beside), mode(&beside)), (None, bits));
        fs::remove_file(beside).unwrap();
        assert_eq!(place.how("target"), renamed());
        assert_eq!((list_of(&place.target), mode(&place.target)), (None, bits));
        // A new file has what every new file has.
        File::create(place.path("other")).unwrap();
        assert_eq!(place.how("new"), renamed());
        let [new, other] = ["new", "other"].map(|name| list_of(&place.path(name)));
        assert!(new.is_some(), "{bits:o}");
        assert_eq!(new, other);
    }
}

/// Until it has the owner and the list, its mode lets nobody in but its owner: for a group or for the list it would mean somebody else.
#[test]
fn a_partial_is_made_for_its_owner_alone_and_gets_its_mode_last() {
    if !strace::may_trace() {
        return;
    }
    let place = Place::new();
    let_somebody_in(place.folder.path(), LIST_OF_NEW_FILES);
    if chown(&place.target, Some(SOMEBODY), Some(SOMEBODY)).is_err() {
        println!("skipped: only the superuser meets another owner's file here");
    }
    fs::set_permissions(&place.target, Permissions::from_mode(0o644)).unwrap();
    let log = place.path("calls");
    let calls = "?open,openat,fchown,fremovexattr,fsetxattr,fchmod";
    let mut command = strace::copy(&log, calls, &[], &[]);
    command
        .args(["source", "target"])
        .current_dir(place.folder.path());
    Run::of(command.output().unwrap()).expect(0);
    let log = fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("target.partial"))
        .collect();
    let (first, last) = (lines[0], lines[lines.len() - 1]);
    assert!(first.contains("O_EXCL"), "{lines:?}");
    assert!(first.contains(" 0600)"), "{lines:?}");
    assert!(last.contains("fchmod("), "{lines:?}");
    assert!(last.contains(" 0644)"), "{lines:?}");
    let at = |call: &str| lines.iter().position(|line| line.contains(call));
    // Whichever of these there is.
    let list_at = at("xattr(").unwrap_or(lines.len());
    assert!(
        at("fchown(").is_none_or(|owner_at| owner_at < list_at),
        "{lines:?}"
    );
    let modes = lines.iter().filter(|line| line.contains("fchmod("));
    assert_eq!(modes.count(), 1, "{lines:?}");
}
