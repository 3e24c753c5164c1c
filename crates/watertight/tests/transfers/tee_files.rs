//! From a file to several files inside the kernel: each gets the same range of it in turn, holes stay holes, and the source's position is in the
//! end where the transfer has read to. Where one of them can not, all goes through the buffer from there on.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::files::Folder;
use crate::common::{Accounted, PATIENCE, noise, read_to_end, run_again};
use crate::transfer_holes::{KIB, MIB, assert_same_bytes, bytes_on_disk, knows_holes, make_sparse};
use std::fs::File;
use std::io::Seek;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use watertight::{
    DeadDestination, ErrorKind, Ledger, Observer, PipeReader, PipeWriter, Tee, TeeEnd, TeeError,
    TeeOutcome, WriterOptions, pipe,
};

const GIB: u64 = 1024 * MIB;

/// More than one call carries.
const LARGE: u64 = 3 * MIB + 5;

/// A source, and another descriptor of the same description, which has its position.
fn source(path: &Path) -> (PipeReader, File) {
    let file = File::open(path).unwrap();
    let again = file.try_clone().unwrap();
    (PipeReader::adopt(file).unwrap(), again)
}

fn destination(path: &Path) -> PipeWriter {
    PipeWriter::adopt(File::create(path).unwrap()).unwrap()
}

/// One whose observer hears of each piece that it gets.
fn observed(path: &Path, observer: Arc<dyn Observer>) -> PipeWriter {
    let options = WriterOptions::new().observer(observer);
    PipeWriter::adopt_with(File::create(path).unwrap(), options).unwrap()
}

fn finish(writer: &PipeWriter) {
    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete(), "{receipt:?}");
}

fn pass_on(tee: &mut Tee<'_>) -> Result<TeeOutcome, TeeError> {
    tee.in_kernel_everywhere();
    tee.transfer().within(PATIENCE).wait()
}

/// Paths of files that are not there yet.
fn copies<const N: usize>(folder: &Folder) -> [PathBuf; N] {
    std::array::from_fn(|index| folder.0.join(format!("copy{index}")))
}

/// A file of so many bytes without holes.
fn make_full(path: &Path, bytes: u64) -> Vec<u8> {
    let data = noise(usize::try_from(bytes).unwrap(), 91);
    std::fs::write(path, &data).unwrap();
    data
}

/// What has left the source, its position, and what each destination has, as accounts and files say.
fn assert_all_have(
    (from, again): (&PipeReader, &mut File),
    to: &[PipeWriter],
    paths: &[PathBuf],
    bytes: u64,
) {
    assert_eq!(from.ledger().transferred(), bytes);
    assert_eq!(again.stream_position().unwrap(), bytes);
    for (writer, path) in to.iter().zip(paths) {
        let ledger = writer.ledger();
        let account = (ledger.accepted(), ledger.transferred());
        assert_eq!(account, (bytes, bytes), "{ledger:?}");
        assert_eq!(std::fs::metadata(path).unwrap().len(), bytes);
    }
}

#[test]
fn holes_stay_holes_in_each_file() {
    let _accounted = Accounted::start();
    let folder = Folder::new("tee-holes");
    let knows_holes = knows_holes(&folder);
    let path = folder.0.join("source");
    let paths = copies::<3>(&folder);
    for (name, bytes, pieces) in [
        ("none", LARGE, &[(0, 3_145_733)][..]),
        (
            "between",
            8 * MIB,
            &[(0, 64 << 10), (3 * MIB, 64 << 10)][..],
        ),
        ("in front", 8 * MIB, &[(8 * MIB - 64 * KIB, 64 << 10)][..]),
        ("everywhere", 200 * MIB + 5, &[][..]),
    ] {
        make_sparse(&path, bytes, pieces);
        let (from, mut again) = source(&path);
        let to = paths.each_ref().map(|path| destination(path));
        let mut tee = Tee::new(&from, &to).unwrap();
        let done = pass_on(&mut tee).unwrap();
        assert_eq!((done.bytes, done.has_ended), (bytes, true), "{name}");
        for one in &done.destinations {
            assert_eq!((one.bytes, one.in_kernel), (bytes, bytes), "{name}");
        }
        assert_all_have((&from, &mut again), &to, &paths, bytes);
        to.iter().for_each(finish);
        let data: usize = pieces.iter().map(|(_, bytes)| bytes).sum();
        for copy in &paths {
            assert_same_bytes(&path, copy);
            let on_disk = bytes_on_disk(copy);
            let is_full = data as u64 == bytes;
            assert!(
                is_full || on_disk < bytes / 8 || !knows_holes,
                "{name}: {on_disk}"
            );
        }
    }
}

#[test]
fn a_file_of_a_gibibyte_with_little_data_takes_little_room_twice() {
    const PIECES: &[(u64, usize)] = &[(5 * MIB, 100_000), (700 * MIB, 100_000)];
    let _accounted = Accounted::start();
    let folder = Folder::new("tee-gibibyte");
    if !knows_holes(&folder) {
        return;
    }
    let path = folder.0.join("source");
    let paths = copies::<2>(&folder);
    make_sparse(&path, GIB, PIECES);
    let (from, mut again) = source(&path);
    let to = paths.each_ref().map(|path| destination(path));
    let mut tee = Tee::new(&from, &to).unwrap();
    let done = pass_on(&mut tee).unwrap();
    assert_eq!((done.bytes, done.has_ended), (GIB, true));
    assert_all_have((&from, &mut again), &to, &paths, GIB);
    for writer in &to {
        let receipt = writer.finish().within(PATIENCE).wait().unwrap();
        assert!(receipt.is_complete(), "{receipt:?}");
        let steps = receipt.messages().whole;
        assert!(steps < 40, "{steps} of 64 MiB of a hole, or one of data");
    }
    let on_disk = bytes_on_disk(&path);
    for copy in &paths {
        assert!(bytes_on_disk(copy) < on_disk + MIB);
        let copied = File::open(copy).unwrap();
        for &(at, bytes) in PIECES {
            // With some of the hole on either side.
            let mut came = [vec![0; bytes + 20_000], vec![0; bytes + 20_000]];
            for (file, came) in [&again, &copied].into_iter().zip(&mut came) {
                file.read_exact_at(came, at - 10_000).unwrap();
            }
            assert!(came[0] == came[1], "at {at}");
        }
    }
}

/// Whenever it is given up, each file has what the accounts say, and the source is where that ends.
#[test]
fn a_bound_leaves_exactly_so_much_in_each_file() {
    let _accounted = Accounted::start();
    let folder = Folder::new("tee-bound");
    let path = folder.0.join("source");
    let paths = copies::<2>(&folder);
    make_sparse(&path, 4 * MIB, &[(0, 4096), (3 * MIB, 4096)]);
    let (from, mut again) = source(&path);
    let to = paths.each_ref().map(|path| destination(path));
    let mut tee = Tee::new(&from, &to).unwrap();
    let mut sum = 0;
    for bytes in [100, 100_000, 1, 2 * MIB] {
        sum += bytes;
        tee.bytes_max(sum);
        let done = pass_on(&mut tee).unwrap();
        assert_eq!((done.bytes, done.has_ended), (sum, false));
        assert_all_have((&from, &mut again), &to, &paths, sum);
    }
    tee.bytes_max(u64::MAX);
    let rest = pass_on(&mut tee).unwrap();
    assert_eq!((rest.bytes, rest.has_ended), (4 * MIB, true));
    assert_all_have((&from, &mut again), &to, &paths, 4 * MIB);
    to.iter().for_each(finish);
    for copy in &paths {
        assert_same_bytes(&path, copy);
    }
}

/// It looks once, which is a number of steps, each of which has at most a portion for each file.
#[test]
fn a_rate_and_a_deadline_hold_for_files_too() {
    let _accounted = Accounted::start();
    let folder = Folder::new("tee-rate");
    let path = folder.0.join("source");
    let paths = copies::<2>(&folder);
    make_sparse(&path, GIB, &[(0, 4096)]);
    let (from, mut again) = source(&path);
    let to = paths.each_ref().map(|path| destination(path));
    let mut tee = Tee::new(&from, &to).unwrap();
    tee.rate(NonZeroU64::new(1_000_000).unwrap())
        .in_kernel_everywhere();
    let late = tee.transfer().within(Duration::ZERO).wait().unwrap_err();
    assert_eq!(late.error.kind, ErrorKind::TimedOut);
    assert!(late.bytes > 0 && late.bytes < 8 * MIB, "{late:?}");
    for one in &late.destinations {
        assert_eq!((one.bytes, one.in_kernel), (late.bytes, late.bytes));
    }
    assert_all_have((&from, &mut again), &to, &paths, late.bytes);
    to.iter().for_each(finish);
}

/// Each step is long here: it is the bytes that count, and not the steps.
#[test]
fn a_deadline_is_looked_at_before_files_get_too_much() {
    let _accounted = Accounted::start();
    let folder = Folder::new("tee-turn");
    if !knows_holes(&folder) {
        return;
    }
    let path = folder.0.join("source");
    let paths = copies::<2>(&folder);
    make_sparse(&path, GIB, &[]);
    let (from, mut again) = source(&path);
    let to = paths.each_ref().map(|path| destination(path));
    let mut tee = Tee::new(&from, &to).unwrap();
    tee.in_kernel_everywhere();
    let late = tee.transfer().within(Duration::ZERO).wait().unwrap_err();
    assert_eq!(
        (late.error.kind, late.bytes),
        (ErrorKind::TimedOut, 64 * MIB)
    );
    assert_all_have((&from, &mut again), &to, &paths, 64 * MIB);
    to.iter().for_each(finish);
}

/// No byte is moved past who is shown all.
#[test]
fn who_is_shown_the_bytes_sees_those_of_files_too() {
    let _accounted = Accounted::start();
    let folder = Folder::new("tee-shown");
    let path = folder.0.join("source");
    let paths = copies::<2>(&folder);
    let data = make_full(&path, 300_000);
    let (from, _again) = source(&path);
    let to = paths.each_ref().map(|path| destination(path));
    let mut seen = Vec::new();
    let mut tee = Tee::new(&from, &to).unwrap();
    tee.inspect(|bytes| seen.extend_from_slice(bytes));
    let done = pass_on(&mut tee).unwrap();
    assert!(done.destinations.iter().all(|one| one.in_kernel == 0));
    drop(tee);
    assert!(seen == data);
    to.iter().for_each(finish);
}

/// A file that is opened to append gets nothing inside the kernel. Another one is ahead of it by then, and gets nothing twice.
#[test]
fn where_one_of_them_cannot_each_byte_comes_once_all_the_same() {
    let _accounted = Accounted::start();
    let folder = Folder::new("tee-cannot");
    let path = folder.0.join("source");
    let [plain, appended] = copies::<2>(&folder);
    for (bytes, pieces) in [
        (LARGE, &[(0, 3_145_733)][..]),
        (8 * MIB + 5, &[(3 * MIB, 5_000)][..]),
    ] {
        make_sparse(&path, bytes, pieces);
        let passed = std::fs::read(&path).unwrap();
        for is_first in [true, false] {
            std::fs::write(&appended, b"head").unwrap();
            let file = File::options().append(true).open(&appended).unwrap();
            let mut to = vec![PipeWriter::adopt(file).unwrap()];
            to.insert(usize::from(is_first), destination(&plain));
            let (from, mut again) = source(&path);
            let mut tee = Tee::new(&from, &to).unwrap();
            let done = pass_on(&mut tee).unwrap();
            assert_eq!((done.bytes, done.has_ended), (bytes, true));
            assert!(done.destinations.iter().all(|one| one.bytes == bytes));
            let moved = [usize::from(is_first), usize::from(!is_first)]
                .map(|index: usize| done.destinations[index].in_kernel);
            assert!(
                moved[0] > 0 && moved[0] < bytes && moved[1] == 0,
                "{moved:?}"
            );
            assert_eq!(from.ledger().transferred(), bytes);
            assert_eq!(again.stream_position().unwrap(), bytes);
            to.iter().for_each(finish);
            assert!(std::fs::read(&plain).unwrap() == passed);
            let expected = [&b"head"[..], &passed].concat();
            assert!(std::fs::read(&appended).unwrap() == expected);
        }
    }
}

#[test]
fn a_pipe_among_them_gets_the_same_and_all_goes_through_the_buffer() {
    let _accounted = Accounted::start();
    let folder = Folder::new("tee-mixed");
    let path = folder.0.join("source");
    let paths = copies::<2>(&folder);
    let data = make_full(&path, 300_000);
    for place in 0..3 {
        let (from, mut again) = source(&path);
        let (sink, into) = pipe().unwrap();
        let mut to: Vec<_> = paths.iter().map(|path| destination(path)).collect();
        to.insert(place, into);
        std::thread::scope(|scope| {
            let collector = scope.spawn(|| read_to_end(&sink));
            let mut tee = Tee::new(&from, &to).unwrap();
            let done = pass_on(&mut tee).unwrap();
            assert_eq!((done.bytes, done.has_ended), (300_000, true));
            for one in &done.destinations {
                assert_eq!((one.bytes, one.in_kernel), (300_000, 0), "{place}");
            }
            to.iter().for_each(finish);
            assert!(collector.join().unwrap() == data, "{place}");
        });
        assert_eq!(again.stream_position().unwrap(), 300_000);
        for copy in &paths {
            assert!(std::fs::read(copy).unwrap() == data, "{place}");
        }
    }
}

/// Calls this when its pipe has got something, once.
struct Once<F>(Mutex<Option<F>>);

impl<F: FnOnce() + Send> Observer for Once<F> {
    fn progress(&self, _: Ledger) {
        let call = self.0.lock().unwrap().take();
        if let Some(call) = call {
            call();
        }
    }
}

fn once(call: impl FnOnce() + Send + 'static) -> Arc<dyn Observer> {
    Arc::new(Once(Mutex::new(Some(call))))
}

#[test]
fn a_source_that_grows_between_two_copies_is_followed() {
    let _accounted = Accounted::start();
    let folder = Folder::new("tee-grows");
    let path = folder.0.join("source");
    let paths = copies::<2>(&folder);
    make_full(&path, 300_000);
    let grown = File::options().append(true).open(&path).unwrap();
    let grow = move || std::io::Write::write_all(&mut &grown, &[7; 200_000]).unwrap();
    let (from, mut again) = source(&path);
    let to = [observed(&paths[0], once(grow)), destination(&paths[1])];
    let mut tee = Tee::new(&from, &to).unwrap();
    let done = pass_on(&mut tee).unwrap();
    assert_eq!((done.bytes, done.has_ended), (500_000, true));
    assert_all_have((&from, &mut again), &to, &paths, 500_000);
    to.iter().for_each(finish);
    for copy in &paths {
        assert_same_bytes(&path, copy);
    }
}

/// One has had what others cannot get any more: they differ, and that is no end.
#[test]
fn a_source_that_is_cut_between_two_copies_is_told() {
    let _accounted = Accounted::start();
    let folder = Folder::new("tee-cut");
    let path = folder.0.join("source");
    let paths = copies::<2>(&folder);
    let data = make_full(&path, 300_000);
    let changed = File::options().write(true).open(&path).unwrap();
    let (from, mut again) = source(&path);
    let cut = once(move || changed.set_len(100_000).unwrap());
    let to = [observed(&paths[0], cut), destination(&paths[1])];
    let mut tee = Tee::new(&from, &to).unwrap();
    let failed = pass_on(&mut tee).unwrap_err();
    assert_eq!(failed.end, TeeEnd::Source);
    assert_eq!(failed.error.kind, ErrorKind::Reset);
    assert_eq!(failed.bytes, 100_000);
    let accounts = failed.destinations.iter();
    let accounts: Vec<u64> = accounts.map(|one| one.bytes).collect();
    assert_eq!(accounts, [300_000, 100_000]);
    assert_eq!(from.ledger().transferred(), 100_000);
    assert_eq!(again.stream_position().unwrap(), 100_000);
    to.iter().for_each(finish);
    assert!(std::fs::read(&paths[0]).unwrap() == data);
    assert!(std::fs::read(&paths[1]).unwrap() == data[..100_000]);
}

/// What the other one had not got leaves the source without it, and the rest stays in the kernel.
#[test]
fn one_that_is_stopped_behind_another_one_holds_nothing_up() {
    let _accounted = Accounted::start();
    let folder = Folder::new("tee-stopped");
    let path = folder.0.join("source");
    let paths = copies::<2>(&folder);
    let data = make_full(&path, LARGE);
    let behind = Arc::new(destination(&paths[1]));
    let stopped = behind.clone();
    let stop = once(move || drop(stopped.abort().wait()));
    let ahead = observed(&paths[0], stop);
    let (from, mut again) = source(&path);
    let mut tee = Tee::new(&from, [&ahead, &*behind]).unwrap();
    tee.dead_destination(DeadDestination::Drop);
    let done = pass_on(&mut tee).unwrap();
    assert_eq!((done.bytes, done.has_ended), (LARGE, true));
    let [first, second] = &done.destinations[..] else {
        panic!("there are two");
    };
    assert_eq!((first.bytes, first.error), (LARGE, None));
    assert!(first.in_kernel >= LARGE - 64 * KIB, "{first:?}");
    let why = second.error.map(|error| error.kind);
    assert_eq!((second.bytes, why), (0, Some(ErrorKind::Aborted)));
    assert_eq!(from.ledger().transferred(), LARGE);
    assert_eq!(again.stream_position().unwrap(), LARGE);
    finish(&ahead);
    assert!(std::fs::read(&paths[0]).unwrap() == data);
}

/// The disk of one of them is full in the middle: its file reaches the bound on the size of files. In a process of its own, which the bound
/// is for, and the signal would kill.
#[test]
fn one_that_is_full_in_the_middle_is_dropped_or_fails_and_nothing_is_lost() {
    if std::env::var_os("WATERTIGHT_FULL").is_some() {
        return fill_one_of_two();
    }
    let _accounted = Accounted::start();
    let test = "one_that_is_full_in_the_middle_is_dropped_or_fails_and_nothing_is_lost";
    run_again(module_path!(), test, "WATERTIGHT_FULL");
}

fn fill_one_of_two() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let folder = Folder::new("tee-full");
    let path = folder.0.join("source");
    let [whole, full] = copies::<2>(&folder);
    let data = make_full(&path, 3 * MIB - 5);
    let bytes = data.len() as u64;
    let bound = Rlimit {
        current: Some(3 * MIB),
        ..getrlimit(Resource::Fsize)
    };
    setrlimit(Resource::Fsize, bound).unwrap();
    for is_first in [true, false] {
        for dead in [DeadDestination::Drop, DeadDestination::Fail] {
            // There is room for 1.5 MiB behind these.
            std::fs::write(&full, vec![7_u8; 3 << 19]).unwrap();
            let mut file = File::options().write(true).open(&full).unwrap();
            file.seek(std::io::SeekFrom::End(0)).unwrap();
            let mut to = vec![PipeWriter::adopt(file).unwrap()];
            to.insert(usize::from(is_first), destination(&whole));
            let (at_full, at_whole) = (usize::from(!is_first), usize::from(is_first));
            let (from, mut again) = source(&path);
            let mut tee = Tee::new(&from, &to).unwrap();
            tee.dead_destination(dead);
            let answer = pass_on(&mut tee);
            let error = if dead == DeadDestination::Fail {
                let failed = answer.unwrap_err();
                assert_eq!(failed.end, TeeEnd::Destination(at_full));
                assert_eq!(failed.bytes, from.ledger().transferred());
                // The other one gets the rest, and nothing twice.
                tee.dead_destination(DeadDestination::Drop);
                pass_on(&mut tee).unwrap();
                failed.error
            } else {
                let done = answer.unwrap();
                assert!(done.has_ended);
                done.destinations[at_full].error.unwrap()
            };
            let told = error.os.map(|code| code.0);
            assert_eq!(told, Some(rustix::io::Errno::FBIG.raw_os_error()));
            let accounts = tee.destinations();
            assert_eq!(accounts[at_whole].bytes, bytes);
            // What the other one does not take inside the kernel is no reason to write the rest, once that one does not count.
            let moved = accounts[at_whole].in_kernel;
            assert!(moved >= bytes - 64 * KIB, "{accounts:?}");
            assert!(accounts[at_full].in_kernel >= MIB, "{accounts:?}");
            assert_eq!(from.ledger().transferred(), bytes);
            assert_eq!(again.stream_position().unwrap(), bytes);
            finish(&to[at_whole]);
            assert!(std::fs::read(&whole).unwrap() == data);
            let ledger = to[at_full].ledger();
            assert_eq!(ledger.transferred(), 3 << 19, "{ledger:?}");
            let came = std::fs::read(&full).unwrap();
            assert!(came[3 << 19..] == data[..3 << 19]);
        }
    }
}

#[cfg(feature = "fault")]
mod faults {
    use super::*;
    use rustix::io::Errno;
    use watertight::OsCode;
    use watertight::fault::{self, Fault};

    /// Whichever copy is refused, and for how long: all that follows is right.
    #[test]
    fn a_copy_that_is_refused_in_the_middle_loses_and_doubles_nothing() {
        let _accounted = Accounted::start();
        let _guard = fault::guard();
        let folder = Folder::new("tee-refused");
        let path = folder.0.join("source");
        let paths = copies::<2>(&folder);
        make_sparse(&path, 4 * MIB, &[(0, 3 << 19), (3 * MIB, 5_000)]);
        for at in 1..=6 {
            for (code, times) in [
                (Errno::XDEV, 1),
                (Errno::NOSPC, 1),
                (Errno::XDEV, Fault::FOR_EVER),
                (Errno::INTR, 3),
            ] {
                let (from, mut again) = source(&path);
                let to = paths.each_ref().map(|path| destination(path));
                let mut tee = Tee::new(&from, &to).unwrap();
                fault::plan(&[Fault {
                    at,
                    only: Some("copy_file_range"),
                    code: OsCode(code.raw_os_error()),
                    times,
                }]);
                let done = pass_on(&mut tee);
                assert_eq!(fault::stop().begun.len(), 1, "{at} {code:?}");
                let done = done.unwrap();
                assert_eq!((done.bytes, done.has_ended), (4 * MIB, true));
                assert_all_have((&from, &mut again), &to, &paths, 4 * MIB);
                to.iter().for_each(finish);
                for copy in &paths {
                    assert_same_bytes(&path, copy);
                }
            }
        }
    }
}
