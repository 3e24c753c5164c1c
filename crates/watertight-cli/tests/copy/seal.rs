//! Sealed streams: `copy --seal` on one side, `copy --sealed` on the other. Nothing but a whole stream is taken for whole.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::{Run, copy, file, folder_with, itself, number, partial, pattern, run};
use std::fs;
use std::path::Path;

const LARGE: usize = 3_000_001;
/// The beginning of a sealed stream, a frame's head, and the end mark with its head.
const BEGINNING: usize = 8;
const HEAD: usize = 5;
const END_MARK: usize = 45;

/// An address of a file that has what arrived under its own name, also if the copy was not whole.
fn in_place(path: &Path) -> String {
    file(path) + ",inplace"
}

/// Seals a file into another, and gives what is in there.
fn seal(source: &Path, target: &Path) -> Vec<u8> {
    run(["--seal", &file(source), &file(target)]).expect(0);
    fs::read(target).unwrap()
}

/// What `--sealed` makes of a file with these bytes; and what it has handed on.
fn open(folder: &Path, stream: &[u8]) -> (Run, Vec<u8>) {
    let (sealed, target) = (folder.join("received"), folder.join("opened"));
    fs::write(&sealed, stream).unwrap();
    let run = run(["--sealed", &file(&sealed), &in_place(&target)]);
    (run, fs::read(&target).unwrap())
}

/// Why the source failed, as the report has it.
fn error(run: &Run) -> &str {
    run.report["sources"][0]["error"].as_str().unwrap()
}

#[test]
fn a_whole_stream_arrives_and_both_accounts_balance() {
    for len in [0, 1, LARGE] {
        let (folder, source, bytes) = folder_with(len);
        let sealed = folder.path().join("sealed");
        let arguments = ["--seal", "--hash", &file(&source), &file(&sealed)];
        let sent = run(arguments).expect(0);
        let wire = fs::read(&sealed).unwrap();
        assert_eq!(sent.destination(0)["sealed"], true);
        assert_eq!(sent.destination(0)["how"], "renamed");
        let added = sent.count(0, "seal_bytes");
        assert_eq!(wire.len() as u64, len as u64 + added);
        assert_eq!(sent.count(0, "transferred"), wire.len() as u64);

        let target = folder.path().join("target");
        let size = len.to_string();
        let (from, to) = (file(&sealed), in_place(&target));
        let arguments = ["--sealed", "--hash", "--expect-bytes", &size, &from, &to];
        let received = run(arguments).expect(0);
        assert!(fs::read(&target).unwrap() == bytes);
        assert_eq!(received.bytes_read(), len as u64);
        assert_eq!(received.report["hash"], sent.report["hash"]);
        let source = &received.report["sources"][0];
        assert_eq!(source["sealed"], true);
        assert_eq!(number(source, "seal_bytes"), added);
        assert_eq!(received.destination(0)["sealed"], false);
    }
}

/// The file has more bytes than were read, and is whole for all that.
#[test]
fn a_sealed_stream_replaces_a_file_only_when_it_is_whole() {
    let (folder, source, bytes) = folder_with(1000);
    let sealed = folder.path().join("sealed");
    fs::write(&sealed, "old").unwrap();
    let (from, to) = (file(&source), file(&sealed));
    let cut = run(["--seal", "--expect-bytes", "999", &from, &to]).expect(7);
    assert_eq!(cut.destination(0)["how"], "partial");
    assert_eq!(fs::read(&sealed).unwrap(), b"old");
    fs::remove_file(partial(&sealed)).unwrap();
    let whole = run(["--seal", &from, &to]).expect(0);
    assert_eq!(whole.destination(0)["how"], "renamed");
    assert!(!partial(&sealed).exists());
    let (run, opened) = open(folder.path(), &fs::read(&sealed).unwrap());
    run.expect(0);
    assert_eq!(opened, bytes);
}

#[test]
fn an_expectation_is_of_data_on_the_sending_side_too() {
    let (folder, source, _) = folder_with(1000);
    let sealed = folder.path().join("sealed");
    let with = |size: &str| {
        let (from, to) = (file(&source), in_place(&sealed));
        run(["--seal", "--expect-bytes", size, &from, &to])
    };
    with("1000").expect(0);
    with("999").expect(7);
    // Its own check failed: so it does not say that the stream is whole.
    let (run, _) = open(folder.path(), &fs::read(&sealed).unwrap());
    assert!(error(&run.expect(4)).contains("says that the stream is cut"));
}

#[test]
fn what_was_never_sealed_is_refused_at_its_first_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for stream in [&b"x"[..], &b"\x89WTSEALED?"[..], &pattern(LARGE)[..]] {
        let (run, opened) = open(folder.path(), stream);
        let run = run.expect(4);
        assert_eq!(opened, b"");
        assert_eq!(run.report["ending"], "source_failed");
        let error = error(&run);
        let is_refused = error.contains("no sealed stream") || error.contains("version");
        assert!(is_refused, "{error}");
    }
}

#[test]
fn a_stream_that_is_cut_anywhere_is_refused() {
    let (folder, source, bytes) = folder_with(1000);
    let stream = seal(&source, &folder.path().join("sealed"));
    let whole = BEGINNING + HEAD + bytes.len();
    assert_eq!(stream.len(), whole + END_MARK);
    for len in [0, 3, BEGINNING, 10, 500, whole, whole + 1, stream.len() - 1] {
        let (run, opened) = open(folder.path(), &stream[..len]);
        let run = run.expect(4);
        assert!(bytes.starts_with(&opened));
        assert_eq!(opened.len(), len.saturating_sub(BEGINNING + HEAD).min(1000));
        let told = format!(
            "without its seal: the sender failed or was cut off; {} bytes came",
            opened.len()
        );
        assert!(error(&run).contains(&told), "{}", error(&run));
    }
}

#[test]
fn a_stream_that_was_changed_or_goes_on_is_refused() {
    let (folder, source, bytes) = folder_with(1000);
    let stream = seal(&source, &folder.path().join("sealed"));
    let (run, _) = open(folder.path(), &stream);
    run.expect(0);
    for at in [BEGINNING, BEGINNING + 3, 500, stream.len() - 1] {
        let mut changed = stream.clone();
        changed[at] ^= 1;
        let (run, _) = open(folder.path(), &changed);
        run.expect(4);
    }
    let (run, opened) = open(folder.path(), &[&stream[..], b"\n"].concat());
    assert!(error(&run.expect(4)).contains("follow the end"));
    assert_eq!(opened, bytes);
}

#[test]
fn a_sender_whose_producer_failed_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let failing = itself(&format!("copy --quiet \"{}\" -", file(&missing)));
    let sealed = folder.path().join("sealed");
    // With either policy: an end at once would be an end without a verdict.
    for policy in ["kill", "end"] {
        let to = in_place(&sealed);
        let arguments = ["--seal", "--on-failure", policy, &failing, &to];
        run(arguments).expect(8);
        let (run, _) = open(folder.path(), &fs::read(&sealed).unwrap());
        let run = run.expect(4);
        assert!(error(&run).contains("says that the stream is cut"));
    }
}

/// The end mark waits for the verdict, though a cut stream is to be ended at once.
#[test]
fn a_whole_sealed_stream_is_whole_with_either_policy() {
    let (folder, source, bytes) = folder_with(1000);
    let sealed = folder.path().join("sealed");
    for policy in ["kill", "end"] {
        let (from, to) = (file(&source), in_place(&sealed));
        run(["--seal", "--on-failure", policy, &from, &to]).expect(0);
        let (run, opened) = open(folder.path(), &fs::read(&sealed).unwrap());
        run.expect(0);
        assert_eq!(opened, bytes);
    }
}

#[test]
fn a_sealed_stream_goes_on_sealed_through_a_second_hop() {
    let (folder, source, bytes) = folder_with(LARGE);
    let (sealed, target) = (folder.path().join("sealed"), folder.path().join("target"));
    let between = itself(&format!(
        "copy --quiet --sealed --seal - \"{}\"",
        in_place(&sealed)
    ));
    run(["--seal", &file(&source), &between]).expect(0);
    run(["--sealed", &file(&sealed), &in_place(&target)]).expect(0);
    assert!(fs::read(&target).unwrap() == bytes);

    // What fails at the first hop is known at the last one.
    let cut = ["--seal", "--on-failure", "end", "--expect-bytes", "7"];
    let sent = run(cut.into_iter().chain([&*file(&source), &*between]));
    assert_ne!(sent.code, 0);
    let (run, _) = open(folder.path(), &fs::read(&sealed).unwrap());
    assert!(error(&run.expect(4)).contains("says that the stream is cut"));
}

#[test]
fn every_destination_gets_the_same_sealed_stream() {
    let (folder, source, bytes) = folder_with(LARGE);
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let run = run([
        "--seal",
        &file(&source),
        &in_place(&one),
        "-",
        &in_place(&two),
    ])
    .expect(0);
    let stream = fs::read(&one).unwrap();
    assert!(fs::read(&two).unwrap() == stream && run.stdout == stream);
    let (run, opened) = open(folder.path(), &stream);
    run.expect(0);
    assert!(opened == bytes);
}

/// The frames of a chunk, and the end mark, need more room than the chunk.
#[test]
fn the_smallest_buffer_has_room_for_frames() {
    let (folder, source, bytes) = folder_with(300);
    for buffer in ["1", "100", "4Ki"] {
        let sealed = folder.path().join("sealed");
        run([
            "--seal",
            "--buffer",
            buffer,
            &file(&source),
            &in_place(&sealed),
        ])
        .expect(0);
        let target = in_place(&folder.path().join("target"));
        run(["--sealed", "--buffer", buffer, &file(&sealed), &target]).expect(0);
        assert_eq!(fs::read(folder.path().join("target")).unwrap(), bytes);
    }
}

#[test]
fn a_sealed_destination_that_dies_has_an_exact_account() {
    let (folder, source, bytes) = folder_with(LARGE);
    let nowhere = folder.path().join("missing").join("target");
    let dying = itself(&format!("copy --quiet --sealed - \"{}\"", file(&nowhere)));
    // The harness checks that the account balances.
    let run = Run::of(copy(["--seal", &file(&source), &dying]).output().unwrap()).expect(5);
    assert!(run.count(0, "not_accepted") <= bytes.len() as u64);
    assert_ne!(run.destination(0)["ending"], "finished");
}
