//! `watertight copy`, run as a program, on every system.

use crate::harness::{Run, copy, file, folder_with, itself, run};
use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;

const LARGE: usize = 3_000_001;

#[test]
fn a_file_arrives_identical() {
    let (folder, source, bytes) = folder_with(LARGE);
    let target = folder.path().join("a,b");
    let run = run([file(&source), file(&target)]).expect(0);
    assert_eq!(fs::read(&target).unwrap(), bytes);
    assert_eq!(run.bytes_read(), bytes.len() as u64);
    assert_eq!(run.count(0, "transferred"), bytes.len() as u64);
    assert_eq!(run.report["ending"], "finished");
    assert_eq!(run.report["sources"][0]["ended"], true);
    assert_eq!(run.stdout, b"");
}

#[test]
fn an_empty_file_arrives_too() {
    let (folder, source, _) = folder_with(0);
    let target = folder.path().join("target");
    run([file(&source), file(&target)]).expect(0);
    assert_eq!(fs::read(&target).unwrap(), b"");
}

/// It is no file: nothing is made beside it, and nothing in its place.
#[test]
fn the_null_device_is_an_end_and_takes_the_report() {
    let null = if cfg!(windows) { "NUL" } else { "/dev/null" };
    let (folder, source, _) = folder_with(1000);
    let source = file(&source);
    let in_folder = |arguments: &[&str]| {
        let mut command = copy(arguments);
        Run::of(command.current_dir(folder.path()).output().unwrap()).expect(0)
    };
    let run = in_folder(&[&source, null]);
    assert_eq!(run.count(0, "transferred"), 1000);
    assert_eq!(run.destination(0)["in_place_reason"], "no_file");
    let run = in_folder(&[null, "empty"]);
    assert_eq!(run.bytes_read(), 0);
    in_folder(&["--report-to", null, &source, "target"]);
    let made = fs::read_dir(folder.path()).unwrap();
    let made = made.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut made: Vec<String> = made.collect();
    made.sort();
    assert_eq!(made, ["empty", "source", "target"]);
}

#[test]
fn standard_input_goes_to_standard_output() {
    let bytes = crate::harness::pattern(LARGE);
    let mut child = copy(["-", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = bytes.clone();
    let feeder = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let run = Run::of(child.wait_with_output().unwrap()).expect(0);
    feeder.join().unwrap();
    assert!(run.stdout == bytes);
    assert_eq!(run.count(0, "transferred"), bytes.len() as u64);
}

#[test]
fn a_child_gets_every_byte_and_its_status_counts() {
    let (folder, source, bytes) = folder_with(LARGE);
    let target = folder.path().join("target");
    let consumer = itself(&format!("copy --quiet - \"{}\"", file(&target)));
    let run = run([file(&source), consumer]).expect(0);
    assert_eq!(fs::read(&target).unwrap(), bytes);
    assert_eq!(run.destination(0)["child"]["code"], 0);
}

#[test]
fn a_child_is_a_source_and_its_status_counts() {
    let (folder, source, bytes) = folder_with(LARGE);
    let target = folder.path().join("target");
    let producer = itself(&format!("copy --quiet \"{}\" -", file(&source)));
    run([producer, file(&target)]).expect(0);
    assert_eq!(fs::read(&target).unwrap(), bytes);

    let missing = folder.path().join("missing");
    let failing = itself(&format!("copy --quiet \"{}\" -", file(&missing)));
    let run = run([failing, file(&target)]).expect(8);
    assert_eq!(run.report["sources"][0]["child"]["code"], 3);
    assert_eq!(run.report["sources"][0]["child"]["stopped"], false);
}

#[test]
fn a_consumer_that_quits_early_is_told_with_the_account() {
    let (folder, source, bytes) = folder_with(LARGE);
    let nowhere = folder.path().join("missing").join("target");
    let consumer = itself(&format!("copy --quiet - \"{}\"", file(&nowhere)));
    let run = run([file(&source), consumer]).expect(5);
    assert_eq!(run.report["ending"], "destination_ended");
    assert_eq!(run.destination(0)["ending"], "failed");
    assert!(
        run.destination(0)["error"]
            .as_str()
            .unwrap()
            .contains("Broken pipe")
    );
    assert!(run.count(0, "transferred") < bytes.len() as u64);
}

#[test]
fn a_consumer_that_reads_nothing_of_a_little_is_told_too() {
    let (folder, source, _) = folder_with(5);
    let nowhere = folder.path().join("missing").join("target");
    let consumer = itself(&format!("copy --quiet - \"{}\"", file(&nowhere)));
    let run = run([file(&source), consumer]);
    let destination = run.destination(0);
    let is_unknown = cfg!(windows) && destination["read_by_peer"].is_null();
    if is_unknown && run.count(0, "transferred") == 5 {
        // It came after the bytes, and nobody can tell whether they were read (Wine): its own failure is told.
        assert_eq!(destination["child"]["code"], 3);
        run.expect(8);
    } else {
        run.expect(5);
    }
}

#[test]
fn several_destinations_get_the_same_bytes() {
    let (folder, source, bytes) = folder_with(LARGE);
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let run = run([file(&source), file(&one), "-".to_owned(), file(&two)]).expect(0);
    assert_eq!(fs::read(&one).unwrap(), bytes);
    assert_eq!(fs::read(&two).unwrap(), bytes);
    assert!(run.stdout == bytes);
}

#[test]
fn a_dead_destination_ends_the_copy_or_is_dropped() {
    let (folder, source, bytes) = folder_with(LARGE);
    let nowhere = folder.path().join("missing").join("target");
    let dying = itself(&format!("copy --quiet - \"{}\"", file(&nowhere)));
    let target = folder.path().join("target");
    for (policy, ending) in [("fail", "destination_ended"), ("drop", "incomplete")] {
        let arguments = [
            "--dead".to_owned(),
            policy.to_owned(),
            file(&source),
            dying.clone(),
            file(&target),
        ];
        let run = run(arguments).expect(5);
        assert_eq!(run.report["ending"], ending);
        // A copy that was cut leaves what arrived beside; of nothing, nothing.
        let is_whole = policy == "drop";
        assert_eq!(target.exists(), is_whole);
        let arrived = match run.destination(1)["partial"].as_str() {
            Some(partial) => fs::read(partial).unwrap(),
            None if is_whole => fs::read(&target).unwrap(),
            None => Vec::new(),
        };
        if !is_whole && !arrived.is_empty() {
            fs::remove_file(crate::harness::partial(&target)).unwrap();
        }
        // Whatever the policy, the other destination has what its account says.
        assert_eq!(arrived.len() as u64, run.count(1, "transferred"));
        assert!(bytes.starts_with(&arrived));
        assert_eq!(run.destination(1)["ending"], "finished");
        assert_eq!(arrived.len() as u64, run.bytes_read());
        if policy == "drop" {
            assert_eq!(arrived, bytes);
        }
    }
}

#[test]
fn a_slow_destination_is_dropped_or_ends_the_copy() {
    let (folder, source, bytes) = folder_with(LARGE);
    let target = folder.path().join("target");
    for (policy, complete, option) in [
        ("drop", true, "--buffer=64k"),
        ("fail", false, "--buffer=64k"),
        // The library moves the bytes, as without an option.
        ("drop", true, "--dead=fail"),
        ("fail", false, "--dead=fail"),
    ] {
        let slow = ["--slow", policy, "--slow-after", "100ms", option];
        let mut child = copy(slow)
            .arg(file(&source))
            .args(["-".to_owned(), file(&target)])
            .spawn()
            .unwrap();
        // Nobody reads its standard output until it has ended.
        let mut stdout = child.stdout.take().unwrap();
        let run = Run::of(child.wait_with_output().unwrap()).expect(6);
        assert_eq!(run.destination(0)["given_up"], "slow_deadline");
        let ending = if complete {
            "incomplete"
        } else {
            "slow_deadline"
        };
        assert_eq!(run.report["ending"], ending);
        // The second copy is cut, and leaves the file of the first as it is.
        assert_eq!(fs::read(&target).unwrap(), bytes, "{policy}");
        assert_ne!(
            crate::harness::partial(&target).exists(),
            complete,
            "{policy}"
        );
        let mut seen = Vec::new();
        stdout.read_to_end(&mut seen).unwrap();
        assert!(bytes.starts_with(&seen));
        let (transferred, in_doubt) = (run.count(0, "transferred"), run.count(0, "in_doubt"));
        assert!(
            (transferred..=transferred + in_doubt).contains(&(seen.len() as u64)),
            "{}",
            run.report
        );
        if !complete {
            fs::remove_file(crate::harness::partial(&target)).unwrap();
            fs::remove_file(&target).unwrap();
        }
    }
}

#[test]
fn an_expectation_is_met_or_not() {
    let (folder, source, _) = folder_with(1000);
    let path = folder.path().join("target");
    let target = file(&path);
    run(["--expect-bytes", "1k", &file(&source), &target]).expect(0);
    for other in ["1001", "999"] {
        run(["--expect-bytes", other, &file(&source), &target]).expect(7);
        fs::remove_file(crate::harness::partial(&path)).unwrap();
    }
}

#[test]
fn the_hash_is_the_sources() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("abc");
    fs::write(&source, "abc").unwrap();
    let target = file(&folder.path().join("target"));
    let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for flag in ["--hash", "--hash=sha256"] {
        let run = run([flag, &file(&source), &target]).expect(0);
        assert_eq!(run.report["hash"]["hex"], known);
        assert_eq!(run.report["hash"]["algorithm"], "sha256");
    }
}

#[test]
fn a_rate_takes_its_time() {
    let (folder, source, _) = folder_with(3000);
    let target = file(&folder.path().join("target"));
    let run = run(["--rate", "10k/s", &file(&source), &target]).expect(0);
    // A first portion, a tenth of a second's worth at most, goes at once.
    assert!(
        run.report["elapsed_seconds"].as_f64().unwrap() >= 0.199,
        "{}",
        run.report
    );
}

#[test]
fn an_idle_source_ends_the_copy_if_told_so() {
    let mut child = copy(["--idle", "100ms", "-", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take();
    let run = Run::of(child.wait_with_output().unwrap()).expect(6);
    drop(stdin);
    assert_eq!(run.report["ending"], "idle_deadline");
    assert_eq!(run.report["sources"][0]["ended"], false);
}

/// The source's end is seen although nobody takes anything, whoever has the queue.
#[test]
fn a_reader_that_never_reads_meets_the_drain_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let target = format!("{},inplace", file(&folder.path().join("target")));
    let several: [&[&str]; 2] = [&[], &[target.as_str()]];
    // As without an option, the queue has room for 1 MiB.
    for (option, len) in [("--buffer=8M", LARGE), ("--dead=fail", 800_000)] {
        for others in several {
            let (_folder, source, bytes) = folder_with(len);
            let source = file(&source);
            let arguments = ["--drain-within", "100ms", option, &source, "-"];
            let mut child = copy(arguments.iter().chain(others)).spawn().unwrap();
            let mut stdout = child.stdout.take().unwrap();
            let run = Run::of(child.wait_with_output().unwrap()).expect(6);
            assert_eq!(run.report["ending"], "drain_deadline", "{option}");
            assert_eq!(run.destination(0)["given_up"], "drain_deadline");
            assert_eq!(run.count(0, "accepted"), bytes.len() as u64);
            let mut seen = Vec::new();
            stdout.read_to_end(&mut seen).unwrap();
            assert!(bytes.starts_with(&seen));
            assert!(run.count(0, "transferred") <= seen.len() as u64);
            assert!(run.count(0, "discarded") > 0);
        }
    }
}

/// Nothing is moved into a file before it is emptied, however soon the source has something.
#[test]
fn a_file_that_is_overwritten_in_place_has_all_of_it_every_time() {
    let (folder, source, bytes) = folder_with(1000);
    let target = folder.path().join("target");
    for _ in 0..30 {
        fs::write(&target, vec![1; 5000]).unwrap();
        let in_place = format!("{},inplace", file(&target));
        run([file(&source), in_place]).expect(0);
        assert!(fs::read(&target).unwrap() == bytes);
    }
}

/// cmd.exe would run what stands behind the `&` (CVE-2024-24576).
#[cfg(windows)]
#[test]
fn a_batch_file_has_its_arguments_and_none_of_them_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let (script, target) = (folder.path().join("say.bat"), folder.path().join("target"));
    fs::write(&script, "@echo %*\r\n").unwrap();
    let command = format!(
        "exec:\"{}\" plain a&echo x>marker \"two words\"",
        script.display()
    );
    let ends = [command.replace(',', ",,"), file(&target)];
    let output = copy(ends).current_dir(folder.path()).output().unwrap();
    Run::of(output).expect(0);
    let said = fs::read_to_string(&target).unwrap();
    let expected = "plain \"a&echo\" \"x>marker\" \"two words\"";
    assert_eq!(said.trim_end(), expected);
    assert!(!folder.path().join("marker").exists());
}
