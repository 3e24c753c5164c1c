//! `,resume`: a copy that was cut goes on where it was, if what it left is the beginning of the same source.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::{Run, copy, file, folder_with, partial, run};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

const WHOLE: usize = 1_000_000;
const CUT: usize = 400_000;

/// Copies the first bytes of `source` to a new file `target`; then the source fails.
#[track_caller]
fn cut(folder: &Path, bytes: usize, target: &str) {
    let failing = format!("exec:sh -c 'head -c {bytes} source; exit 1'");
    let mut command = copy([failing.as_str(), target]);
    Run::of(command.current_dir(folder).output().unwrap()).expect(8);
    let left = fs::metadata(folder.join(target.to_owned() + ".partial")).unwrap();
    assert_eq!(left.len(), bytes as u64);
}

fn resumed(path: &Path) -> String {
    file(path) + ",resume"
}

#[track_caller]
fn expect_resumed(run: &Run, index: usize, at: usize) {
    assert_eq!(run.destination(index)["resumed_at"], at, "{}", run.report);
    assert_eq!(run.count(index, "verified_bytes"), at as u64);
    assert_eq!(run.count(index, "transferred"), (WHOLE - at) as u64);
    assert_eq!(run.count(index, "accepted"), (WHOLE - at) as u64);
    assert_eq!(run.destination(index)["how"], "renamed");
    assert!(run.destination(index)["partial"].is_null());
}

/// The library moves the rest on, inside the kernel or past our eyes, slowly or not; or it goes through a queue of our own.
#[test]
fn a_copy_that_was_cut_goes_on_where_it_was() {
    let sources = ["file:source", "exec:cat source", "-"];
    let options = [
        "--dead=fail",
        "--stable",
        "--hash",
        "--rate=1G",
        "--buffer=64k",
    ];
    let all = sources
        .into_iter()
        .flat_map(|source| options.map(|option| (source, option)));
    for (source_address, option) in all {
        let (folder, source, bytes) = folder_with(WHOLE);
        let target = folder.path().join("target");
        cut(folder.path(), CUT, "target");
        // Without a word it is nobody's to touch.
        let refused = run([file(&source), file(&target)]).expect(3);
        let error = refused.destination(0)["error"].as_str().unwrap();
        assert!(error.contains("`,resume`"), "{error}");
        let mut command = copy([option, source_address, "target,resume"]);
        command.current_dir(folder.path());
        command.stdin(fs::File::open(&source).unwrap());
        let run = Run::of(command.output().unwrap()).expect(0);
        expect_resumed(&run, 0, CUT);
        assert_eq!(run.bytes_read(), WHOLE as u64);
        assert!(fs::read(&target).unwrap() == bytes);
        assert!(!partial(&target).exists());
        // The hash is that of the whole.
        let whole = crate::harness::run([option, &file(&source), "/dev/null"]).expect(0);
        assert_eq!(run.report["hash"], whole.report["hash"]);
        assert_eq!(run.report["hash"].is_null(), option != "--hash");
    }
}

/// What the program reads by itself is counted by the system: that is what it compares, and no more where all have the same already.
#[test]
#[cfg(target_os = "linux")]
fn what_is_behind_a_partial_stays_in_the_kernel() {
    use crate::harness::terminal::until;
    let cases: [(&[usize], bool); 3] = [
        (&[CUT], false),
        (&[CUT, CUT], false),
        (&[CUT, CUT - 1], true),
    ];
    for (lengths, is_seen) in cases {
        let (folder, _, bytes) = folder_with(WHOLE);
        let names = (0..lengths.len()).map(|index| folder.path().join(index.to_string()));
        let targets: Vec<_> = names.collect();
        for (target, length) in targets.iter().zip(lengths) {
            fs::write(partial(target), &bytes[..*length]).unwrap();
        }
        let to_all = targets.iter().map(|target| resumed(target));
        let mut child = copy(std::iter::once("-".to_owned()).chain(to_all))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let has_arrived = |bytes: usize| {
            let left = |target: &Path| fs::metadata(partial(target)).unwrap().len();
            targets.iter().all(|target| left(target) >= bytes as u64)
        };
        let read_so_far = || {
            let counted = fs::read_to_string(format!("/proc/{}/io", child.id())).ok()?;
            let read = counted.strip_prefix("rchar: ")?.lines().next()?;
            Some(read.parse::<u64>().unwrap())
        };
        // When the byte behind them is there, all that they have is compared.
        stdin.write_all(&bytes[..=CUT]).unwrap();
        until("the first byte", || has_arrived(CUT + 1));
        let before = read_so_far();
        stdin.write_all(&bytes[CUT + 1..]).unwrap();
        until("the rest", || has_arrived(WHOLE));
        let after = read_so_far();
        drop(stdin);
        let run = Run::of(child.wait_with_output().unwrap()).expect(0);
        for (index, target) in targets.iter().enumerate() {
            expect_resumed(&run, index, lengths[index]);
            assert!(fs::read(target).unwrap() == bytes, "{lengths:?}");
        }
        let Some((before, after)) = before.zip(after) else {
            println!("skipped: this kernel does not count what is read");
            continue;
        };
        let is_counted = after - before >= (WHOLE - CUT - 1) as u64;
        assert_eq!(is_counted, is_seen, "{lengths:?}: {before}, {after}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn holes_behind_a_partial_stay_holes() {
    use rustix::fs::{SeekFrom, seek};
    use std::os::unix::fs::{FileExt, MetadataExt};
    const SIZE: u64 = 40 << 20;
    const DATA: u64 = 24 << 20;
    let (folder, source, bytes) = folder_with(CUT);
    let target = folder.path().join("target");
    fs::write(partial(&target), &bytes).unwrap();
    let sparse = fs::File::options().write(true).open(&source).unwrap();
    sparse.set_len(SIZE).unwrap();
    sparse.write_all_at(&bytes, DATA).unwrap();
    let on_disk = |path: &Path| fs::metadata(path).unwrap().blocks() * 512;
    let asked = fs::File::open(&source).unwrap();
    let is_told = seek(asked, SeekFrom::Data(SIZE / 4)).is_ok_and(|at| at == DATA);
    let knows_holes = is_told && on_disk(&source) < SIZE / 8;
    let run = run([file(&source), resumed(&target)]).expect(0);
    assert_eq!(run.count(0, "verified_bytes"), CUT as u64);
    assert_eq!(run.count(0, "transferred"), SIZE - CUT as u64);
    assert!(fs::read(&target).unwrap() == fs::read(&source).unwrap());
    if knows_holes {
        assert!(on_disk(&target) < SIZE / 8);
    } else {
        println!("skipped: the file system of {folder:?} knows of no holes");
    }
}

/// What was compared counts, and no byte behind the limit is taken: whoever has the source goes on there.
#[test]
fn a_limit_counts_what_was_compared_too() {
    for limit in [CUT, CUT + 1000] {
        let (folder, source, bytes) = folder_with(WHOLE);
        let target = folder.path().join("target");
        fs::write(partial(&target), &bytes[..CUT]).unwrap();
        let mut source = fs::File::open(&source).unwrap();
        let limit_text = limit.to_string();
        let mut command = copy(["--limit", &limit_text, "-", &resumed(&target)]);
        command.stdin(source.try_clone().unwrap());
        let run = Run::of(command.output().unwrap()).expect(0);
        assert_eq!(run.report["sources"][0]["limit_reached"], true);
        assert_eq!(run.bytes_read(), limit as u64);
        assert_eq!(run.count(0, "transferred"), (limit - CUT) as u64);
        assert!(fs::read(&target).unwrap() == bytes[..limit]);
        let mut rest = Vec::new();
        source.read_to_end(&mut rest).unwrap();
        assert!(rest == bytes[limit..], "{limit}");
    }
}

/// Only Linux tells what a file that is there has; elsewhere it is written in place.
#[test]
#[cfg(target_os = "linux")]
fn an_old_file_is_there_until_the_rest_has_arrived() {
    let (folder, source, bytes) = folder_with(WHOLE);
    let target = folder.path().join("target");
    fs::write(&target, "old").unwrap();
    cut(folder.path(), CUT, "target");
    // Cut a second time, a little further on.
    let failing = format!("exec:sh -c 'head -c {} source; exit 1'", CUT + 1000);
    let mut command = copy([failing.as_str(), "target,resume"]);
    let again = Run::of(command.current_dir(folder.path()).output().unwrap()).expect(8);
    assert_eq!(again.count(0, "transferred"), 1000);
    assert_eq!(again.destination(0)["partial"], "target.partial");
    assert_eq!(fs::read(&target).unwrap(), b"old");
    let run = run([file(&source), resumed(&target)]).expect(0);
    expect_resumed(&run, 0, CUT + 1000);
    assert!(fs::read(&target).unwrap() == bytes);
}

#[test]
fn a_copy_that_was_killed_goes_on() {
    let (folder, source, bytes) = folder_with(WHOLE);
    let target = folder.path().join("target");
    let mut child = copy(["-", &file(&target)])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&bytes[..CUT]).unwrap();
    // They are in the file as soon as the copy has written them: nothing tells that but looking.
    while fs::metadata(partial(&target)).map_or(0, |left| left.len()) < CUT as u64 {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let run = run([file(&source), resumed(&target)]).expect(0);
    expect_resumed(&run, 0, CUT);
    assert!(fs::read(&target).unwrap() == bytes);
}

#[test]
fn a_partial_with_another_beginning_is_refused_and_not_touched() {
    for at in [0, 123_456, CUT - 1] {
        let (folder, source, bytes) = folder_with(WHOLE);
        let target = folder.path().join("target");
        let mut left = bytes[..CUT].to_vec();
        left[at] ^= 1;
        fs::write(partial(&target), &left).unwrap();
        let run = run([file(&source), resumed(&target)]).expect(4);
        let error = run.destination(0)["error"].as_str().unwrap();
        assert!(error.contains(&format!("at byte {at},")), "{error}");
        assert_eq!(run.report["ending"], "not_resumed");
        assert_eq!(run.destination(0)["given_up"], "not_resumed");
        assert_eq!(run.count(0, "verified_bytes"), at as u64);
        assert_eq!(run.count(0, "accepted"), 0);
        assert!(fs::read(partial(&target)).unwrap() == left);
        assert!(!target.exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}

#[test]
fn a_partial_that_is_longer_than_the_source_is_refused_and_not_touched() {
    for (options, source_bytes) in [
        ("", CUT - 1),
        ("", 0),
        ("--limit 100k", WHOLE),
        // Here the end is given at once: not to this one.
        ("--on-failure end", CUT - 1),
    ] {
        let (folder, source, _) = folder_with(source_bytes);
        let target = folder.path().join("target");
        let left = crate::harness::pattern(CUT);
        fs::write(partial(&target), &left).unwrap();
        let mut command = copy(options.split_whitespace());
        command.args([file(&source), resumed(&target)]);
        let run = Run::of(command.output().unwrap()).expect(4);
        let error = run.destination(0)["error"].as_str().unwrap();
        assert!(error.contains("has 400000 bytes"), "{error}");
        assert!(fs::read(partial(&target)).unwrap() == left);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}

/// The copy ends where it is known to have failed, and nothing is said of what is behind that.
#[test]
fn a_partial_that_is_longer_than_what_is_expected_is_not_touched() {
    let (folder, source, bytes) = folder_with(WHOLE);
    let target = folder.path().join("target");
    fs::write(partial(&target), &bytes[..CUT]).unwrap();
    let ends = [file(&source), resumed(&target)];
    run(["--expect-bytes", "100k", &ends[0], &ends[1]]).expect(7);
    assert!(fs::read(partial(&target)).unwrap() == bytes[..CUT]);
    assert!(!target.exists());
}

#[test]
fn a_partial_that_is_all_gets_its_name() {
    let (folder, source, bytes) = folder_with(WHOLE);
    let target = folder.path().join("target");
    fs::write(partial(&target), &bytes).unwrap();
    let run = run([file(&source), resumed(&target)]).expect(0);
    expect_resumed(&run, 0, WHOLE);
    assert!(fs::read(&target).unwrap() == bytes);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn without_a_partial_it_is_an_ordinary_copy() {
    let (folder, source, bytes) = folder_with(WHOLE);
    let target = folder.path().join("target");
    let run = run([
        file(&source),
        resumed(&target),
        "/dev/null,resume".to_owned(),
    ])
    .expect(0);
    assert!(run.destination(0)["resumed_at"].is_null());
    assert_eq!(run.count(0, "verified_bytes"), 0);
    assert_eq!(run.count(0, "transferred"), WHOLE as u64);
    assert_eq!(run.destination(0)["how"], "renamed");
    assert!(fs::read(&target).unwrap() == bytes);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn of_several_destinations_each_goes_on_where_it_was() {
    let (folder, source, bytes) = folder_with(WHOLE);
    let at = [1, 65_536, 700_001];
    let targets = ["one", "two", "three"].map(|name| folder.path().join(name));
    for (bytes, target) in at.into_iter().zip(&targets) {
        cut(
            folder.path(),
            bytes,
            target.file_name().unwrap().to_str().unwrap(),
        );
    }
    let mut arguments: Vec<String> = vec![file(&source)];
    arguments.extend(targets.iter().map(|target| resumed(target)));
    arguments.push("-".to_owned());
    let run = run(arguments).expect(0);
    for (index, target) in targets.iter().enumerate() {
        expect_resumed(&run, index, at[index]);
        assert!(fs::read(target).unwrap() == bytes);
    }
    assert!(run.stdout == bytes);
    assert!(run.destination(3)["resumed_at"].is_null());
}

/// That one is not touched, although the others have the same length.
#[test]
fn several_of_one_length_go_on_without_one_that_is_dropped() {
    let (folder, source, bytes) = folder_with(WHOLE);
    let targets = ["one", "other", "three"].map(|name| folder.path().join(name));
    for target in &targets {
        fs::write(partial(target), &bytes[..CUT]).unwrap();
    }
    let mut left = bytes[..CUT].to_vec();
    left[CUT - 1] ^= 1;
    fs::write(partial(&targets[1]), &left).unwrap();
    let mut arguments = vec!["--dead=drop".to_owned(), file(&source)];
    arguments.extend(targets.iter().map(|target| resumed(target)));
    let run = run(arguments).expect(5);
    assert_eq!(run.destination(1)["given_up"], "not_resumed");
    assert!(fs::read(partial(&targets[1])).unwrap() == left);
    for index in [0, 2] {
        expect_resumed(&run, index, CUT);
        assert!(fs::read(&targets[index]).unwrap() == bytes);
    }
}

/// A consumer commits if and only if it sees a clean end.
#[test]
fn a_difference_cuts_the_others_too_unless_it_is_dropped() {
    for (policy, code, commits) in [("fail", 4, false), ("drop", 5, true)] {
        let (folder, _, bytes) = folder_with(WHOLE);
        let left = &bytes[1..CUT];
        fs::write(folder.path().join("target.partial"), left).unwrap();
        let consumer = "exec:sh -c 'cat >part && mv part final'";
        let mut command = copy(["--dead", policy, "source", "target,resume", consumer]);
        let output = command.current_dir(folder.path()).output().unwrap();
        Run::of(output).expect(code);
        let found = fs::read(folder.path().join("final")).ok();
        assert!(found == commits.then_some(bytes.clone()), "{policy}");
        assert!(fs::read(folder.path().join("target.partial")).unwrap() == left);
    }
}

#[test]
fn a_partial_that_is_being_written_is_not_taken_over() {
    let (folder, source, bytes) = folder_with(WHOLE);
    let target = folder.path().join("target");
    let mut first = copy(["-", "-", &file(&target)])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = first.stdin.take().unwrap();
    stdin.write_all(&bytes[..5]).unwrap();
    let mut stdout = first.stdout.take().unwrap();
    let mut seen = [0; 5];
    // When these are through, the copy is under way.
    stdout.read_exact(&mut seen).unwrap();
    let second = run([file(&source), resumed(&target)]).expect(3);
    let error = second.destination(0)["error"].as_str().unwrap();
    assert!(error.contains("another copy is writing it"), "{error}");
    drop(stdin);
    Run::of(first.wait_with_output().unwrap()).expect(0);
    assert_eq!(fs::read(&target).unwrap(), &bytes[..5]);
    assert!(!partial(&target).exists());
}

#[test]
fn only_a_file_of_its_own_is_taken_over() {
    let (folder, source, bytes) = folder_with(WHOLE);
    let target = folder.path().join("target");
    let other = folder.path().join("other");
    fs::write(&other, &bytes[..CUT]).unwrap();
    for is_link in [true, false] {
        if is_link {
            symlink(&other, partial(&target)).unwrap();
        } else {
            fs::hard_link(&other, partial(&target)).unwrap();
        }
        let run = run([file(&source), resumed(&target)]).expect(3);
        let error = run.destination(0)["error"].as_str().unwrap();
        assert!(error.contains("target.partial"), "{error}");
        assert!(fs::read(&other).unwrap() == bytes[..CUT]);
        assert!(!target.exists());
        fs::remove_file(partial(&target)).unwrap();
    }
    let made = Command::new("mkfifo").arg(partial(&target)).status();
    assert!(made.unwrap().success());
    run([file(&source), resumed(&target)]).expect(3);
}

#[test]
fn a_partial_with_another_part_in_the_copy_is_refused_and_not_touched() {
    for has_old_file in [false, true] {
        let (folder, source, bytes) = folder_with(WHOLE);
        let target = folder.path().join("target");
        let left = partial(&target);
        if has_old_file {
            fs::write(&target, "old").unwrap();
        }
        fs::write(&left, &bytes[..CUT]).unwrap();
        let name = left.to_str().unwrap();
        let (from, to) = (file(&source), resumed(&target));
        for arguments in [
            &[file(&left), to.clone()][..],
            &[
                "--report-to".to_owned(),
                name.to_owned(),
                from.clone(),
                to.clone(),
            ],
            &[from.clone(), to.clone(), file(&left)],
        ] {
            run(arguments).expect(3);
            assert!(fs::read(&left).unwrap() == bytes[..CUT], "{arguments:?}");
        }
    }
}

/// In place nothing can be taken over, and what was asked for is not left out silently.
#[test]
fn a_file_that_can_only_be_written_in_place_is_refused_if_there_is_a_partial() {
    let (folder, source, bytes) = folder_with(WHOLE);
    let target = folder.path().join("target");
    fs::write(&target, "old").unwrap();
    fs::hard_link(&target, folder.path().join("other")).unwrap();
    fs::write(partial(&target), &bytes[..CUT]).unwrap();
    let refused = run([file(&source), resumed(&target)]).expect(3);
    let error = refused.destination(0)["error"].as_str().unwrap();
    assert!(error.contains("in place"), "{error}");
    assert_eq!(fs::read(&target).unwrap(), b"old");
    fs::remove_file(partial(&target)).unwrap();
    let whole = run([file(&source), resumed(&target)]).expect(0);
    assert_eq!(whole.destination(0)["in_place_reason"], "links");
    assert!(fs::read(&target).unwrap() == bytes);
}

#[test]
fn what_does_not_go_together_is_refused() {
    for arguments in [
        &["source", "target,resume,append"][..],
        &["source", "target,resume,inplace"],
        &["source", "target,exclusive,resume"],
        &["source,resume", "target"],
        &["source", "exec:cat,resume"],
        &["--seal", "source", "target,resume"],
    ] {
        let output = copy(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("resume"), "{told}");
    }
}
