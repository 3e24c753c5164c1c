//! Transfers from a file with holes to a file: the holes stay holes, and count as bytes.
//!
//! What is asked of the file system about holes is skipped, with a word, where it knows of none. All else holds there too.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::files::Folder;
use crate::common::{Accounted, PATIENCE, noise, run_again};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use watertight::{PipeReader, PipeWriter, TransferEnd, TransferError, Transferred, transfer};

pub(crate) const KIB: u64 = 1024;
pub(crate) const MIB: u64 = 1024 * KIB;

/// Makes a file of so many bytes: some at these places, and holes between them.
pub(crate) fn make_sparse(path: &Path, bytes: u64, pieces: &[(u64, usize)]) {
    let file = File::create(path).unwrap();
    file.set_len(bytes).unwrap();
    for (at, piece) in pieces {
        file.write_all_at(&noise(*piece, at + 1), *at).unwrap();
    }
}

/// How many bytes of the disk a file takes.
pub(crate) fn bytes_on_disk(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks() * 512
}

/// Whether the file system of this folder keeps holes, and tells where they are.
pub(crate) fn knows_holes(folder: &Folder) -> bool {
    let path = folder.0.join("probe");
    make_sparse(&path, MIB, &[(MIB - 1, 1)]);
    let data = rustix::fs::seek(File::open(&path).unwrap(), rustix::fs::SeekFrom::Data(0));
    let knows = bytes_on_disk(&path) < MIB / 2 && data.is_ok_and(|data| data > 0);
    std::fs::remove_file(&path).unwrap();
    if !knows {
        println!(
            "skipped: the file system of {:?} knows of no holes",
            folder.0
        );
    }
    knows
}

fn source(path: &Path) -> PipeReader {
    PipeReader::adopt(File::open(path).unwrap()).unwrap()
}

fn destination(path: &Path) -> PipeWriter {
    PipeWriter::adopt(File::create(path).unwrap()).unwrap()
}

fn pass_on(from: &PipeReader, to: &PipeWriter) -> Result<Transferred, TransferError> {
    pass_on_some(from, to, u64::MAX)
}

fn pass_on_some(
    from: &PipeReader,
    to: &PipeWriter,
    bytes_max: u64,
) -> Result<Transferred, TransferError> {
    let moving = transfer(from, to).in_kernel_everywhere();
    moving.bytes_max(bytes_max).within(PATIENCE).wait()
}

/// What left the source is what the destination accepted.
fn assert_same_account(from: &PipeReader, to: &PipeWriter, bytes: u64) {
    assert_eq!(from.ledger().transferred(), bytes);
    assert_eq!(to.ledger().accepted(), bytes);
}

fn finish(to: &PipeWriter) {
    let receipt = to.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete(), "{receipt:?}");
}

/// Compares two files piece by piece: some of them are large.
#[track_caller]
pub(crate) fn assert_same_bytes(one: &Path, other: &Path) {
    let (mut one, mut other) = (File::open(one).unwrap(), File::open(other).unwrap());
    let bytes = one.metadata().unwrap().len();
    assert_eq!(other.metadata().unwrap().len(), bytes);
    let (mut left, mut right) = (vec![0; MIB as usize], vec![0; MIB as usize]);
    let mut rest = bytes;
    while rest > 0 {
        let piece = rest.min(MIB) as usize;
        one.read_exact(&mut left[..piece]).unwrap();
        other.read_exact(&mut right[..piece]).unwrap();
        assert!(left[..piece] == right[..piece], "{rest} bytes from the end");
        rest -= piece as u64;
    }
}

/// What a file is: a name, its size, and where there is data in it.
type Shape = (&'static str, u64, &'static [(u64, usize)]);

const SHAPES: &[Shape] = &[
    (
        "between and behind",
        8 * MIB,
        &[(0, 64 << 10), (3 * MIB, 64 << 10)],
    ),
    ("in front", 8 * MIB, &[(8 * MIB - 64 * KIB, 64 << 10)]),
    ("everywhere", 8 * MIB, &[]),
    ("all but the last byte", 4 * MIB + 1, &[(4 * MIB, 1)]),
    (
        "larger than what is moved at once",
        200 * MIB + 5,
        &[(0, 5_000), (150 * MIB, 5_000)],
    ),
];

#[test]
fn holes_stay_holes() {
    let _accounted = Accounted::start();
    let folder = Folder::new("transfer-holes");
    let knows_holes = knows_holes(&folder);
    let (path, copy) = (folder.0.join("source"), folder.0.join("copy"));
    for &(name, bytes, pieces) in SHAPES {
        make_sparse(&path, bytes, pieces);
        let into = File::create(&copy).unwrap();
        let mut again = into.try_clone().unwrap();
        let (from, to) = (source(&path), PipeWriter::adopt(into).unwrap());
        let done = pass_on(&from, &to).unwrap();
        assert_eq!((done.bytes, done.has_ended), (bytes, true), "{name}");
        assert_eq!(done.in_kernel, bytes, "{name}");
        assert_same_account(&from, &to, bytes);
        finish(&to);
        assert_eq!(again.stream_position().unwrap(), bytes, "{name}");
        assert_same_bytes(&path, &copy);
        let on_disk = bytes_on_disk(&copy);
        assert!(!knows_holes || on_disk < bytes / 8, "{name}: {on_disk}");
    }
}

/// Between two of them a deadline is looked at.
#[test]
fn a_large_hole_is_passed_over_in_steps() {
    let _accounted = Accounted::start();
    let folder = Folder::new("transfer-steps");
    if !knows_holes(&folder) {
        return;
    }
    let path = folder.0.join("source");
    make_sparse(&path, 200 * MIB, &[]);
    let (from, to) = (source(&path), destination(&folder.0.join("copy")));
    let done = pass_on(&from, &to).unwrap();
    assert_eq!((done.bytes, done.has_ended), (200 * MIB, true));
    let receipt = to.finish().within(PATIENCE).wait().unwrap();
    assert_eq!(receipt.messages().whole, 4, "64 MiB and the rest");
}

/// Whenever it is given up, the destination has what the account says, and the source is where that ends.
#[test]
fn a_bound_in_a_hole_leaves_exactly_so_much() {
    let _accounted = Accounted::start();
    let folder = Folder::new("transfer-bound-in-a-hole");
    let (path, copy) = (folder.0.join("source"), folder.0.join("copy"));
    make_sparse(&path, 4 * MIB, &[(0, 4096), (3 * MIB, 4096)]);
    let opened = File::open(&path).unwrap();
    let mut again = opened.try_clone().unwrap();
    let from = PipeReader::adopt(opened).unwrap();
    let to = destination(&copy);
    let mut sum = 0;
    for bytes_max in [100, 100_000, 1, 2 * MIB] {
        let done = pass_on_some(&from, &to, bytes_max).unwrap();
        assert_eq!((done.bytes, done.has_ended), (bytes_max, false));
        sum += bytes_max;
        assert_same_account(&from, &to, sum);
        assert_eq!(std::fs::metadata(&copy).unwrap().len(), sum);
        assert_eq!(again.stream_position().unwrap(), sum);
    }
    let rest = pass_on(&from, &to).unwrap();
    assert_eq!((rest.bytes, rest.has_ended), (4 * MIB - sum, true));
    finish(&to);
    assert_same_bytes(&path, &copy);
}

/// Only where nothing is there yet a hole can be left out: elsewhere its zeros count.
#[test]
fn a_hole_overwrites_what_is_there() {
    const BEFORE: usize = 2 << 20;
    let _accounted = Accounted::start();
    let folder = Folder::new("transfer-over");
    let (path, copy) = (folder.0.join("source"), folder.0.join("copy"));
    make_sparse(&path, MIB, &[(256 * KIB, 4096)]);
    let passed = std::fs::read(&path).unwrap();
    for position in [4, MIB + 4, 2 * MIB + 4] {
        std::fs::write(&copy, vec![0xFF; BEFORE]).unwrap();
        let mut into = File::options().write(true).open(&copy).unwrap();
        into.seek(SeekFrom::Start(position)).unwrap();
        let (from, to) = (source(&path), PipeWriter::adopt(into).unwrap());
        let done = pass_on(&from, &to).unwrap();
        assert_eq!((done.bytes, done.has_ended), (MIB, true));
        finish(&to);
        let mut expected = vec![0xFF; BEFORE];
        let (begin, end) = (position as usize, position as usize + passed.len());
        expected.resize(end.max(BEFORE), 0);
        expected[begin..end].copy_from_slice(&passed);
        assert!(std::fs::read(&copy).unwrap() == expected, "at {position}");
    }
}

/// What is opened to append has no position that counts, and the kernel copies nothing into it.
#[test]
fn a_hole_is_appended_as_zeros() {
    let _accounted = Accounted::start();
    let folder = Folder::new("transfer-append");
    let (path, copy) = (folder.0.join("source"), folder.0.join("copy"));
    make_sparse(&path, MIB, &[(256 * KIB, 4096)]);
    for before in [&b""[..], &b"head"[..]] {
        std::fs::write(&copy, before).unwrap();
        let into = File::options().append(true).open(&copy).unwrap();
        let (from, to) = (source(&path), PipeWriter::adopt(into).unwrap());
        let done = pass_on(&from, &to).unwrap();
        assert_eq!((done.bytes, done.in_kernel), (MIB, 0));
        assert!(done.has_ended);
        assert_same_account(&from, &to, MIB);
        finish(&to);
        let passed = std::fs::read(&path).unwrap();
        let expected = [before, &passed[..]].concat();
        assert!(std::fs::read(&copy).unwrap() == expected);
    }
}

/// A size that is set is not on the disk, as a write to such a file is: each of them is to be there when it comes back.
#[test]
fn a_hole_is_written_where_each_write_is_to_be_on_the_disk() {
    let _accounted = Accounted::start();
    let folder = Folder::new("transfer-synced");
    if !knows_holes(&folder) {
        return;
    }
    let (path, copy) = (folder.0.join("source"), folder.0.join("copy"));
    make_sparse(&path, 4 * MIB, &[]);
    // In one step, or a MiB in each.
    for (flags, steps) in [(OFlags::empty(), 1), (OFlags::DSYNC, 4), (OFlags::SYNC, 4)] {
        let made = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let into = rustix::fs::open(&copy, made | flags, Mode::RUSR | Mode::WUSR).unwrap();
        let (from, to) = (source(&path), PipeWriter::adopt(into).unwrap());
        let done = pass_on(&from, &to).unwrap();
        let moved = (done.bytes, done.in_kernel, done.has_ended);
        assert_eq!(moved, (4 * MIB, 4 * MIB, true), "{flags:?}");
        let receipt = to.finish().within(PATIENCE).wait().unwrap();
        assert_eq!(receipt.messages().whole, steps, "{flags:?}");
        assert_same_bytes(&path, &copy);
    }
}

#[test]
fn a_source_that_grows_or_is_cut_in_its_last_hole_is_followed() {
    let _accounted = Accounted::start();
    let folder = Folder::new("transfer-changing");
    let (path, copy) = (folder.0.join("source"), folder.0.join("copy"));
    make_sparse(&path, MIB, &[(0, 4096)]);
    let changed = File::options().write(true).open(&path).unwrap();
    let (from, to) = (source(&path), destination(&copy));
    let part = pass_on_some(&from, &to, MIB / 2).unwrap();
    assert_eq!((part.bytes, part.has_ended), (MIB / 2, false));
    // Data where there was the rest of a hole, and behind it.
    let news = noise(4096, 61);
    changed.write_all_at(&news, MIB - 4096).unwrap();
    changed.write_all_at(&news, 2 * MIB).unwrap();
    changed.set_len(5 * MIB).unwrap();
    let part = pass_on_some(&from, &to, 5 * MIB / 2).unwrap();
    assert_eq!((part.bytes, part.has_ended), (5 * MIB / 2, false));
    assert_same_account(&from, &to, 3 * MIB);
    let copied = std::fs::read(&copy).unwrap();
    assert!(copied == std::fs::read(&path).unwrap()[..copied.len()]);
    assert_eq!(copied.len() as u64, 3 * MIB);
    // It ends before the place that was reached.
    changed.set_len(MIB).unwrap();
    let rest = pass_on(&from, &to).unwrap();
    assert_eq!((rest.bytes, rest.has_ended), (0, true));
    finish(&to);
    assert_eq!(std::fs::metadata(&copy).unwrap().len(), 3 * MIB);
}

/// The kernel raises SIGXFSZ besides, for a file that is made longer too: in the thread that waits, and as a task in the one that writes
/// for it. In a process of its own, which the signal would kill.
#[test]
fn a_hole_past_the_bound_on_the_size_of_files_is_an_error_and_no_signal() {
    if std::env::var_os("WATERTIGHT_SIGXFSZ").is_some() {
        return grow_past_the_bound();
    }
    let _accounted = Accounted::start();
    let test = "a_hole_past_the_bound_on_the_size_of_files_is_an_error_and_no_signal";
    run_again(module_path!(), test, "WATERTIGHT_SIGXFSZ");
}

fn grow_past_the_bound() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const BOUND: u64 = 10_000;
    let folder = Folder::new("transfer-hole-bound");
    let path = folder.0.join("source");
    make_sparse(&path, MIB, &[]);
    let bound = Rlimit {
        current: Some(BOUND),
        ..getrlimit(Resource::Fsize)
    };
    setrlimit(Resource::Fsize, bound).unwrap();
    for as_a_task in [false, true] {
        let copy = folder.0.join("copy");
        let (from, to) = (source(&path), destination(&copy));
        let moving = transfer(&from, &to).in_kernel_everywhere();
        let moving = moving.within(PATIENCE);
        let failed = if as_a_task {
            futures_lite::future::block_on(moving).unwrap_err()
        } else {
            moving.wait().unwrap_err()
        };
        let told = failed.error.os.map(|code| code.0);
        assert_eq!(failed.end, TransferEnd::Destination);
        assert_eq!(told, Some(rustix::io::Errno::FBIG.raw_os_error()));
        assert_same_account(&from, &to, failed.bytes);
        assert_eq!(to.ledger().transferred(), BOUND);
        assert_eq!(std::fs::metadata(&copy).unwrap().len(), BOUND);
    }
}

#[cfg(feature = "fault")]
mod faults {
    use super::*;
    use watertight::OsCode;
    use watertight::fault::{self, Fault, Made};
    use watertight_os::classify::Call;

    /// What is asked and done about holes, by what its codes are judged, and how often each is tried.
    const CALLS: &[(&str, Call, u64)] = &[
        ("fstat (holes)", Call::Query, 1),
        ("lseek (SEEK_CUR)", Call::Query, 1),
        ("lseek (SEEK_DATA)", Call::Query, 1),
        ("lseek (SEEK_HOLE)", Call::Query, 1),
        ("lseek (SEEK_SET)", Call::Query, 3),
        ("F_GETFL (holes)", Call::Query, 1),
        ("ftruncate", Call::Write, 1),
    ];

    /// What cannot be asked or done is copied.
    #[test]
    fn a_question_about_holes_that_fails_loses_nothing() {
        let _accounted = Accounted::start();
        let _guard = fault::guard();
        let folder = Folder::new("transfer-hole-faults");
        if !knows_holes(&folder) {
            return;
        }
        let (path, copy) = (folder.0.join("source"), folder.0.join("copy"));
        make_sparse(&path, MIB, &[(256 * KIB, 4096), (768 * KIB, 4096)]);
        for &(name, table, attempts) in CALLS {
            let for_ever = if attempts == 1 {
                Fault::FOR_EVER
            } else {
                attempts - 1
            };
            for (code, times) in fault::allowed(table)
                .iter()
                .flat_map(|code| [(code, 1), (code, for_ever)])
            {
                let (from, to) = (source(&path), destination(&copy));
                fault::plan(&[Fault {
                    at: 1,
                    only: Some(name),
                    code: OsCode(code.raw_os_error()),
                    times,
                }]);
                let done = pass_on(&from, &to);
                assert_eq!(fault::stop().begun.len(), 1, "{name} {code:?}");
                let done = done.unwrap();
                assert_eq!((done.bytes, done.in_kernel), (MIB, MIB), "{name} {code:?}");
                assert!(done.has_ended, "{name} {code:?}");
                assert_same_account(&from, &to, MIB);
                finish(&to);
                assert_same_bytes(&path, &copy);
            }
        }
    }

    /// No kernel does that. If one did, the end whose position is wrong fails, and no byte is said to be where it is not.
    #[test]
    fn a_position_that_cannot_be_set_is_told() {
        let _accounted = Accounted::start();
        let _guard = fault::guard();
        let folder = Folder::new("transfer-positions");
        if !knows_holes(&folder) {
            return;
        }
        let path = folder.0.join("source");
        make_sparse(&path, MIB, &[(256 * KIB, 4096)]);
        // Back after the question, then the destination, then the source.
        for (at, end) in [
            (1, TransferEnd::Source),
            (2, TransferEnd::Destination),
            (3, TransferEnd::Source),
        ] {
            let (from, to) = (source(&path), destination(&folder.0.join("copy")));
            let code = OsCode(rustix::io::Errno::IO.raw_os_error());
            fault::plan(&[Fault {
                at,
                only: Some("lseek (SEEK_SET)"),
                code,
                times: 3,
            }]);
            let failed = pass_on(&from, &to).unwrap_err();
            assert_eq!(fault::stop().begun.len(), 1, "{at}");
            assert_eq!((failed.end, failed.bytes), (end, 0), "{at}");
            assert_eq!(failed.error.os, Some(code), "{at}");
            assert_same_account(&from, &to, 0);
        }
    }

    /// How often these calls are made for a file like this.
    fn calls(
        folder: &Folder,
        bytes: u64,
        pieces: &[(u64, usize)],
    ) -> impl Fn(&str) -> usize + use<> {
        let path = folder.0.join("source");
        make_sparse(&path, bytes, pieces);
        let (from, to) = (source(&path), destination(&folder.0.join("copy")));
        fault::plan(&[]);
        let done = pass_on(&from, &to);
        let calls = fault::stop().calls;
        assert_eq!(done.unwrap().in_kernel, bytes);
        finish(&to);
        move |name: &str| {
            calls
                .iter()
                .filter(|made: &&Made| made.name == name)
                .count()
        }
    }

    /// Some file systems go through all of a run to find its end: they are asked once a run, and not once a step.
    #[test]
    fn what_is_known_about_holes_is_not_asked_again() {
        let _accounted = Accounted::start();
        let _guard = fault::guard();
        let folder = Folder::new("transfer-questions");
        if !knows_holes(&folder) {
            return;
        }
        let sparse = calls(&folder, 8 * MIB, &[(0, 5 << 20)]);
        assert!(sparse("copy_file_range") > 5);
        assert_eq!(sparse("lseek (SEEK_HOLE)"), 1);
        assert_eq!(sparse("lseek (SEEK_DATA)"), 3, "data, hole, end");
        assert_eq!(sparse("ftruncate"), 1);
        // One question for each step, and nothing else.
        let full = calls(&folder, 5 * MIB, &[(0, 5 << 20)]);
        assert!(full("copy_file_range") > 5);
        assert_eq!(full("fstat (holes)"), full("copy_file_range"));
        assert_eq!(full("lseek (SEEK_CUR)"), 0);
    }
}
