//! `watertight copy` with what only Unix has: FIFOs, descriptors, signals, shells, and flags that others share.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::{EXE, Run, copy, file, folder_with, itself, run};
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const LARGE: usize = 3_000_001;

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Runs a line of shell in which `$W` is the program.
fn shell(line: &str) -> std::process::Output {
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .env("W", EXE)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn head_quits_early_and_every_byte_is_accounted_for() {
    let (_folder, source, bytes) = folder_with(LARGE);
    let run = run([file(&source), "exec:head -c 100000".to_owned()]).expect(5);
    assert_eq!(run.stdout, bytes[..100_000]);
    assert_eq!(run.destination(0)["child"]["code"], 0);
    assert!(run.count(0, "transferred") >= 100_000);
    assert_eq!(run.count(0, "in_doubt"), 0, "Unix is exact");
    let mut text = Command::new(EXE);
    let text = text
        .args(["copy", &file(&source), "exec:head -c 100000"])
        .output()
        .unwrap();
    assert!(
        String::from_utf8(text.stderr)
            .unwrap()
            .contains("bytes are missing at a destination")
    );
}

#[test]
#[cfg(target_os = "linux")]
fn sha256sum_sees_what_the_hash_says() {
    let (_folder, source, _) = folder_with(LARGE);
    let run = run(["--hash", &file(&source), "exec:sha256sum"]).expect(0);
    let sum = String::from_utf8(run.stdout.clone()).unwrap();
    assert_eq!(run.report["hash"]["hex"], sum.split(' ').next().unwrap());
    assert_eq!(run.destination(0)["read_by_peer"], true);
}

#[test]
fn bytes_left_unread_by_a_child_are_no_success() {
    let (_folder, source, _) = folder_with(10);
    run([file(&source), "exec:true".to_owned()]).expect(5);
    run([file(&source), "exec:sh -c 'sleep 0.1'".to_owned()]).expect(5);
}

#[test]
fn fifos_meet_in_any_order() {
    let (folder, source, bytes) = folder_with(LARGE);
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    make_fifo(&one);
    make_fifo(&two);
    let target = folder.path().join("target");
    let address = |path: &Path| format!("fifo:{}", path.display());
    let first = copy([file(&source), address(&one)]).spawn().unwrap();
    let second = copy([address(&one), address(&two)]).spawn().unwrap();
    run([address(&two), file(&target)]).expect(0);
    Run::of(first.wait_with_output().unwrap()).expect(0);
    Run::of(second.wait_with_output().unwrap()).expect(0);
    assert!(fs::read(&target).unwrap() == bytes);
}

#[test]
fn a_fifo_that_nobody_opens_is_idle() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    make_fifo(&fifo);
    let fifo = format!("fifo:{}", fifo.display());
    let run = run(["--idle", "100ms", &fifo, "-"]).expect(6);
    assert_eq!(run.report["ending"], "idle_deadline");
}

#[test]
fn what_is_no_fifo_is_refused() {
    let (folder, source, _) = folder_with(10);
    let wrong = format!("fifo:{}", source.display());
    assert!(
        run([wrong, "-".to_owned()])
            .expect(3)
            .stderr
            .contains("not a FIFO")
    );
    let missing = format!("fifo:{}", folder.path().join("missing").display());
    assert!(
        run([missing, "-".to_owned()])
            .expect(3)
            .stderr
            .contains("mkfifo")
    );
}

#[test]
fn descriptors_are_used_if_they_are_open() {
    let (folder, source, bytes) = folder_with(1000);
    let target = folder.path().join("target");
    let line = format!(
        "$W copy --quiet fd:3 fd:4 3<'{}' 4>'{}'",
        source.display(),
        target.display()
    );
    assert!(shell(&line).status.success());
    assert_eq!(fs::read(&target).unwrap(), bytes);
    let run = run([file(&source), "fd:99".to_owned()]).expect(3);
    assert!(
        run.stderr.contains("fd:99") && run.stderr.contains("open"),
        "{}",
        run.stderr
    );
    // A number that is free must not become one of our own files.
    let line = format!("$W copy --quiet '{}' fd:3 3>&-", source.display());
    assert_eq!(shell(&line).status.code(), Some(3));
    assert_eq!(fs::read(&source).unwrap(), bytes);
}

#[test]
fn signals_end_the_copy_with_the_account() {
    for (signal, code) in [("INT", 130), ("QUIT", 131), ("TERM", 143)] {
        let mut child = copy(["-", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"hello").unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut seen = [0; 5];
        // When these are through, the copy is under way.
        stdout.read_exact(&mut seen).unwrap();
        let mut kill = Command::new("kill");
        assert!(
            kill.args(["-s", signal, &child.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
        let run = Run::of(child.wait_with_output().unwrap()).expect(code);
        assert_eq!(run.report["ending"], "interrupted");
        assert_eq!(run.bytes_read(), 5);
        assert_eq!(run.count(0, "transferred"), 5);
        drop(stdin);
    }
}

#[test]
fn a_signal_ends_the_opening_too() {
    let folder = tempfile::tempdir().unwrap();
    let (fifo, mark) = (folder.path().join("fifo"), folder.path().join("mark"));
    make_fifo(&fifo);
    make_fifo(&mark);
    // The report's file is opened before the signals are watched; the FIFO `mark` tells when the program has begun, and
    // the destination's creation when it has come to the opening.
    let target = folder.path().join("target");
    let arguments = [
        format!("fifo:{}", mark.display()),
        file(&target),
        format!("fifo:{}", fifo.display()),
    ];
    let child = copy(arguments).spawn().unwrap();
    let writer = fs::File::create(&mark).unwrap();
    let mut kill = Command::new("kill");
    assert!(
        kill.args(["-s", "INT", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    let run = Run::of(child.wait_with_output().unwrap()).expect(130);
    drop(writer);
    assert_eq!(run.destination(1)["ending"], "not_opened");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told() {
    let (_folder, source, bytes) = folder_with(LARGE);
    let run = run([file(&source), "/dev/full".to_owned()]).expect(5);
    let error = run.destination(0)["error"].as_str().unwrap();
    assert!(error.starts_with("cannot write: "), "{error}");
    assert!(
        error.contains("No space left on device, os error 28"),
        "{error}"
    );
    assert_eq!(run.count(0, "transferred"), 0);
    assert!(run.bytes_read() < bytes.len() as u64);
}

#[test]
#[cfg(target_os = "linux")]
fn a_source_that_fails_is_told_and_the_rest_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    // Address 0 of a process's memory is not mapped: EIO.
    let run = run(["/proc/self/mem", &file(&target)]).expect(4);
    let error = &run.report["sources"][0]["error"];
    assert_eq!(error, "cannot read: Input/output error (os error 5)");
    assert_eq!(run.report["ending"], "source_failed");
    assert_eq!(run.destination(0)["ending"], "finished");
}

#[test]
#[cfg(target_os = "linux")]
fn reports_and_pages_that_cannot_be_printed_do_not_panic() {
    let (folder, source, _) = folder_with(10);
    let target = file(&folder.path().join("target"));
    let run = run(["--report-to", "/dev/full", &file(&source), &target]).expect(1);
    assert!(run.stderr.contains("cannot save the report"));
    let page = shell("$W man copy >/dev/full");
    assert_eq!(page.status.code(), Some(1));
    let source = source.display();
    for (options, code) in [("", 0), ("--report json", 1), ("--hash", 1)] {
        for stderr in ["2>/dev/full", "2>&- >&-"] {
            let line = format!("$W copy {options} '{source}' {target} {stderr}");
            assert_eq!(shell(&line).status.code(), Some(code), "{line}");
        }
    }
    for (closed, code) in [
        ("$W copy --help >/dev/full", 1),
        ("$W nonsense 2>&-", 2),
        ("$W --help 2>&- </dev/null", 0),
    ] {
        assert_eq!(shell(closed).status.code(), Some(code), "{closed}");
    }
}

/// std opens the null device in place of a standard stream that is closed at the start: nothing that is printed gets through.
#[test]
#[cfg(target_os = "linux")]
fn what_is_printed_on_a_closed_standard_output_is_no_success() {
    for what in [
        "--version",
        "--help",
        "copy -h",
        "man run",
        "completions bash",
    ] {
        let printed = shell(&format!("$W {what} >&-"));
        assert_eq!(printed.status.code(), Some(1), "{what}");
        let told = String::from_utf8_lossy(&printed.stderr).into_owned();
        assert!(told.contains("cannot write to standard output: "), "{told}");
        let nowhere = shell(&format!("$W {what} >/dev/null"));
        assert_eq!(nowhere.status.code(), Some(0), "{what}");
    }
}

#[test]
fn a_child_that_never_reads_is_ended_and_reaped() {
    let (folder, source, _) = folder_with(LARGE);
    let pid_file = folder.path().join("pid");
    let sleeper = format!(
        "exec:sh -c 'echo $$ > {}; exec sleep 1000'",
        pid_file.display()
    );
    let run = run([
        "--drain-within",
        "300ms",
        "--buffer",
        "8M",
        &file(&source),
        &sleeper,
    ])
    .expect(6);
    assert_eq!(run.destination(0)["child"]["stopped"], true);
    // It does as it is asked.
    assert_eq!(run.destination(0)["child"]["signal"], 15);
    let pid = fs::read_to_string(&pid_file).unwrap();
    let alive = Command::new("kill")
        .args(["-0", pid.trim()])
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!alive.success());
}

#[test]
fn a_child_that_runs_on_after_its_input_is_waited_for() {
    let (folder, source, _) = folder_with(10);
    let mark = folder.path().join("mark");
    let thorough = format!(
        "exec:sh -c 'cat >/dev/null; sleep 0.2; echo done > {}'",
        mark.display()
    );
    run([file(&source), thorough]).expect(0);
    assert_eq!(fs::read_to_string(&mark).unwrap(), "done\n");
}

#[test]
fn a_child_that_ends_badly_counts_even_if_the_bytes_arrived() {
    let (_folder, source, _) = folder_with(10);
    let run = run([
        file(&source),
        "exec:sh -c 'cat >/dev/null; exit 7'".to_owned(),
    ])
    .expect(8);
    assert_eq!(run.destination(0)["child"]["code"], 7);
    let killed = crate::harness::run([
        file(&source),
        "exec:sh -c 'cat >/dev/null; kill -9 $$'".to_owned(),
    ])
    .expect(8);
    assert_eq!(killed.destination(0)["child"]["signal"], 9);
}

#[test]
fn a_source_child_that_we_cut_off_is_no_bad_ending_of_its_own() {
    let nowhere = itself("copy --quiet /no/such/file -");
    let run = run(["exec:yes".to_owned(), "exec:head -c 10".to_owned()]).expect(5);
    assert_eq!(run.report["sources"][0]["child"]["stopped"], true);
    crate::harness::run([nowhere, "-".to_owned()]).expect(8);
}

/// The flags of the description behind descriptor `number` of this process, as the kernel shows them.
#[cfg(target_os = "linux")]
fn is_nonblocking(number: i32) -> bool {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
    let flags = info
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .unwrap();
    u32::from_str_radix(flags.trim(), 8).unwrap() & 0o4000 != 0
}

#[test]
#[cfg(target_os = "linux")]
fn shared_descriptions_never_become_nonblocking() {
    use std::os::fd::AsRawFd;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    let pipes = || {
        let (from, to) = std::io::pipe().unwrap();
        (OwnedFd::from(from), OwnedFd::from(to))
    };
    let sockets = || {
        let (one, other) = UnixStream::pair().unwrap();
        (OwnedFd::from(one), OwnedFd::from(other))
    };
    for make in [pipes as fn() -> (OwnedFd, OwnedFd), sockets] {
        let ((input, our_input), (our_output, output)) = (make(), make());
        // These stay with us and share the description with the program's own.
        let watched = [input.try_clone().unwrap(), output.try_clone().unwrap()];
        let still_blocking = || watched.iter().all(|fd| !is_nonblocking(fd.as_raw_fd()));
        let child = copy(["-", "-"])
            .stdin(input)
            .stdout(output)
            .spawn()
            .unwrap();
        let (mut our_input, mut our_output) =
            (fs::File::from(our_input), fs::File::from(our_output));
        let mut seen = [0; 100];
        for _ in 0..100 {
            our_input.write_all(&[7; 100]).unwrap();
            our_output.read_exact(&mut seen).unwrap();
            assert!(still_blocking());
        }
        drop(our_input);
        let run = Run::of(child.wait_with_output().unwrap()).expect(0);
        assert!(still_blocking());
        assert_eq!(run.count(0, "transferred"), 10_000);
    }
}

/// The reader takes everything and leaves before it is asked whether it has: that is no failure.
#[test]
fn a_copy_between_sockets_whose_reader_leaves_in_order_is_well() {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    for _ in 0..20 {
        let (mut feeder, input) = UnixStream::pair().unwrap();
        let (output, mut reader) = UnixStream::pair().unwrap();
        let child = copy(["-", "-"])
            .stdin(OwnedFd::from(input))
            .stdout(OwnedFd::from(output))
            .spawn()
            .unwrap();
        feeder.write_all(&[7; 10_000]).unwrap();
        feeder.shutdown(std::net::Shutdown::Write).unwrap();
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        drop(reader);
        let run = Run::of(child.wait_with_output().unwrap()).expect(0);
        assert_eq!((all.len(), run.count(0, "transferred")), (10_000, 10_000));
    }
}

/// The pipes of standard input and output are enlarged once 4 MiB have flowed, and left alone on request.
#[test]
#[cfg(target_os = "linux")]
fn pipes_are_enlarged_once_it_pays() {
    use rustix::pipe::fcntl_getpipe_size;
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};
    const PATIENCE: Duration = Duration::from_secs(20);
    for (option, grows) in [
        // As it is: inside the kernel.
        ("--dead=fail", true),
        ("--stable", true),
        ("--hash", true),
        ("--buffer=1M", true),
        ("--keep-capacity", false),
    ] {
        let mut child = copy([option, "-", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let before = fcntl_getpipe_size(&stdout).unwrap();
        let feeding = std::thread::spawn(move || {
            stdin.write_all(&vec![7; 6 << 20]).unwrap();
            stdin
        });
        let mut seen = vec![0; 6 << 20];
        stdout.read_exact(&mut seen).unwrap();
        let stdin = feeding.join().unwrap();
        let sizes = || [stdin.as_fd(), stdout.as_fd()].map(|end| fcntl_getpipe_size(end).unwrap());
        let expected = [if grows { 256 * 1024 } else { before }; 2];
        // A thread of its own may have to do it.
        let begun = Instant::now();
        while sizes() != expected && begun.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        assert_eq!(sizes(), expected, "{option}");
        drop(stdin);
        assert!(child.wait().unwrap().success());
        // Nor has a thread done it that came late.
        assert_eq!(
            fcntl_getpipe_size(&stdout).unwrap(),
            expected[1],
            "{option}"
        );
    }
}

/// The copy is over before the file is overwritten in place, and that is done before anybody reads. A pipe that was lent the file's pages
/// would have what was written over them; the command that is a source here lends them.
#[test]
#[cfg(target_os = "linux")]
fn who_overwrites_the_file_after_a_stable_copy_changes_nothing_in_the_pipe() {
    for from in ["source", &itself("copy -q source -")] {
        // All of it fits the pipe.
        let (folder, source, bytes) = folder_with(10_000);
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = copy(["--stable", from, "-"]);
        command.current_dir(folder.path()).stdout(writer);
        let output = command.output().unwrap();
        // It has our copy of the writing end.
        drop(command);
        let run = Run::of(output).expect(0);
        assert_eq!(run.count(0, "transferred"), 10_000);
        let overwritten = fs::File::options().write(true).open(&source);
        overwritten.unwrap().write_all(&[b'!'; 10_000]).unwrap();
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert!(read == bytes, "{from}");
    }
}

/// They count as bytes, and take no room.
#[test]
#[cfg(target_os = "linux")]
fn a_copy_of_a_file_keeps_its_holes() {
    use rustix::fs::{SeekFrom, seek};
    use std::os::unix::fs::{FileExt, MetadataExt};
    const SIZE: usize = 40 << 20;
    const DATA: usize = 24 << 20;
    let (folder, source, bytes) = folder_with(10_000);
    let target = folder.path().join("target");
    let sparse = fs::File::options().write(true).open(&source).unwrap();
    sparse.set_len(SIZE as u64).unwrap();
    sparse.write_all_at(&bytes, DATA as u64).unwrap();
    let on_disk = |path: &Path| fs::metadata(path).unwrap().blocks() * 512;
    let asked = fs::File::open(&source).unwrap();
    let is_told = seek(asked, SeekFrom::Data(SIZE as u64 / 4)).is_ok_and(|at| at == DATA as u64);
    let knows_holes = is_told && on_disk(&source) < SIZE as u64 / 8;
    if !knows_holes {
        println!("skipped: the file system of {folder:?} knows of no holes");
    }
    let passed = fs::read(&source).unwrap();
    let also = folder.path().join("also");
    // To one file, and to several.
    for targets in [&[&target][..], &[&target, &also][..]] {
        for (option, keeps) in [("--keep-capacity", true), ("--stable", false)] {
            let mut arguments = vec![option.to_owned(), file(&source)];
            arguments.extend(targets.iter().map(|target| file(target)));
            let run = run(&arguments).expect(0);
            assert_eq!(run.bytes_read(), SIZE as u64, "{option}");
            for (index, target) in targets.iter().enumerate() {
                assert_eq!(run.count(index, "transferred"), SIZE as u64, "{option}");
                assert_eq!(run.destination(index)["how"], "renamed", "{option}");
                assert!(fs::read(target).unwrap() == passed, "{option}");
                let has_holes = on_disk(target) < SIZE as u64 / 8;
                assert!(has_holes || !keeps || !knows_holes, "{option}");
            }
        }
    }
}
