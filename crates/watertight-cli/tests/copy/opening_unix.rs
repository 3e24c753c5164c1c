//! `watertight copy` around its opening: what a refusal leaves behind, sources that become shorter, streams that are shared.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::{EXE, Run, copy, file, folder_with};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Far more than a pipe, the queue of `--buffer 64k` and the chunks that are read ahead hold together.
const LARGE: usize = 4_000_000;

/// Runs a line of shell in a folder; `$W` is the program.
fn shell(folder: &Path, line: &str) -> Output {
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .env("W", EXE)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// The names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Runs a copy of `source` to new files in `made` under a limit. What was not begun leaves nothing. Says whether it began; none: it began and
/// failed, or no program ran.
#[track_caller]
fn copy_within(limit: &str, arguments: &str) -> Option<bool> {
    let (folder, _, _) = folder_with(1000);
    let made = folder.path().join("made");
    fs::create_dir(&made).unwrap();
    let line = format!("ulimit {limit} && exec \"$W\" copy -q {arguments}");
    let output = shell(folder.path(), &line);
    match code(&output) {
        // 3: not opened. 1: it could not begin.
        Some(1 | 3) => {
            let left = names(&made);
            assert!(left.is_empty(), "{limit}: {left:?}: {}", stderr(&output));
            Some(false)
        }
        code => (code == Some(0)).then_some(true),
    }
}

/// Some copies were refused, and some began: the limits were those that count.
#[track_caller]
fn expect_both(began: &[Option<bool>]) {
    for wanted in [Some(true), Some(false)] {
        assert!(began.contains(&wanted), "{began:?}");
    }
}

#[test]
fn too_few_descriptors_leave_no_file_behind() {
    let mut began = Vec::new();
    for limit in 6..40 {
        let limit = format!("-n {limit}");
        began.push(copy_within(&limit, "source made/one"));
        began.push(copy_within(
            &limit,
            "source made/one made/two made/3 made/4",
        ));
        began.push(copy_within(&limit, "source made/one made/two exec:cat"));
        began.push(copy_within(&limit, "- made/one fd:3 <source 3>>other"));
    }
    expect_both(&began);
    let many: Vec<String> = (0..80).map(|i| format!("made/{i}")).collect();
    for limit in [24, 40, 70, 85, 100] {
        let arguments = format!("source {}", many.join(" "));
        let has_begun = copy_within(&format!("-n {limit}"), &arguments);
        assert!(has_begun != Some(true) || limit > 80, "{limit}");
    }
}

/// Their stacks are so large that it is the next thread which has no room, and everything else has: std itself hangs when it finds no
/// memory while it prints a backtrace.
#[test]
#[cfg(target_os = "linux")]
fn threads_that_cannot_be_started_leave_no_file_behind() {
    const STACK_KIB: usize = 64 * 1024;
    let copies = (0..24).map(|threads| {
        let limit = STACK_KIB * threads + STACK_KIB / 2;
        let stack = STACK_KIB * 1024;
        let limit = format!("-v {limit} && export RUST_MIN_STACK={stack}");
        copy_within(&limit, "source made/one made/two exec:cat made/three")
    });
    expect_both(&copies.collect::<Vec<_>>());
}

#[test]
fn a_refused_copy_leaves_nothing_and_overwrites_nothing() {
    for line in [
        "$W copy source made/one made/two missing/three",
        "$W copy source made/one precious exec:no-such-program",
        "$W copy source made/one made/./one",
        "$W copy source made/link missing/three",
        "$W copy source made/one precious fd:99",
        "$W copy source made/one precious,exclusive",
        "$W copy --report-to made/one source made/one",
    ] {
        let (folder, source, bytes) = folder_with(1000);
        let made = folder.path().join("made");
        fs::create_dir(&made).unwrap();
        fs::write(folder.path().join("precious"), "precious").unwrap();
        std::os::unix::fs::symlink("target", made.join("link")).unwrap();
        let output = shell(folder.path(), line);
        assert_eq!(code(&output), Some(3), "{line}: {}", stderr(&output));
        assert_eq!(names(&made), ["link"], "{line}");
        let precious = fs::read(folder.path().join("precious")).unwrap();
        assert_eq!(precious, b"precious", "{line}");
        assert_eq!(fs::read(&source).unwrap(), bytes, "{line}");
    }
}

#[test]
fn a_reports_file_that_stays_empty_goes() {
    let (folder, _, _) = folder_with(1000);
    let made = folder.path().join("made");
    fs::create_dir(&made).unwrap();
    // No thread can be started, not even the first.
    let line = "RUST_MIN_STACK=1000000000000000 $W copy --report-to made/report source made/one";
    let output = shell(folder.path(), line);
    assert_eq!(code(&output), Some(1), "{}", stderr(&output));
    assert_eq!(names(&made), [""; 0]);
    // One that says why nothing was copied stays.
    let line = "$W copy --report-to made/report missing made/one";
    assert_eq!(code(&shell(folder.path(), line)), Some(3));
    assert_eq!(names(&made), ["report"]);
}

/// Runs a copy to its standard output, and changes the source once the first byte has arrived. The rest waits meanwhile for
/// its reader.
fn changed_meanwhile(command: &mut Command, change: impl FnOnce()) -> Run {
    let mut child = command.spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut arrived = vec![0];
    stdout.read_exact(&mut arrived).unwrap();
    change();
    stdout.read_to_end(&mut arrived).unwrap();
    let run = Run::of(child.wait_with_output().unwrap());
    Run {
        stdout: arrived,
        ..run
    }
}

fn cut(path: &Path, len: usize) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(len as u64).unwrap();
}

#[test]
fn a_source_that_becomes_shorter_is_told() {
    for is_redirected in [false, true] {
        let (_folder, source, bytes) = folder_with(LARGE);
        let address = if is_redirected {
            "-".to_owned()
        } else {
            file(&source)
        };
        let mut command = copy(["--buffer", "64k", &address, "-"]);
        if is_redirected {
            command.stdin(File::open(&source).unwrap());
        }
        let run = changed_meanwhile(&mut command, || cut(&source, LARGE / 2)).expect(4);
        assert!(run.stdout == bytes[..LARGE / 2]);
        assert_eq!(run.report["ending"], "source_shrank");
        let one = &run.report["sources"][0];
        assert_eq!(one["size_at_start"], LARGE);
        assert_eq!(one["ended"], false);
        let error = one["error"].as_str().unwrap();
        let told = "the source became shorter: 4000000 bytes at the start, 2000000 read";
        assert_eq!(error, told);
    }
    // The text says it, too; and a file that was cut to nothing is no file without a size.
    let (_folder, source, _) = folder_with(LARGE);
    let mut command = Command::new(EXE);
    command.args(["copy", "--buffer", "64k", &file(&source), "-"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = changed_meanwhile(&mut command, || cut(&source, 0)).expect(4);
    let told = "stopped because the source became shorter,";
    assert!(run.stderr.contains(told), "{}", run.stderr);
    let told = "not to the end\n  error        the source became shorter: 4000000 bytes";
    assert!(run.stderr.contains(told), "{}", run.stderr);
}

#[test]
fn a_source_that_grows_is_copied_to_its_end() {
    let (_folder, source, mut bytes) = folder_with(LARGE);
    let grow = || {
        let mut file = File::options().append(true).open(&source).unwrap();
        file.write_all(b"more").unwrap();
    };
    let mut command = copy(["--buffer", "64k", &file(&source), "-"]);
    let run = changed_meanwhile(&mut command, grow).expect(0);
    bytes.extend(b"more");
    assert!(run.stdout == bytes);
    assert_eq!(run.report["sources"][0]["size_at_start"], LARGE);
}

/// Also where a descriptor that the program makes for itself gets the number.
#[test]
#[cfg(target_os = "linux")]
fn a_descriptor_that_is_not_open_is_told_as_that() {
    let (folder, _, _) = folder_with(1000);
    for (line, redirection) in [
        ("$W copy source fd:3 3>&-", "`3>file`"),
        ("$W copy source fd:3 fd:4 3>other 4>&-", "`4>file`"),
        ("$W copy fd:4 fd:3 4<source 3>&-", "`3>file`"),
        ("$W copy fd:3 target 3<&-", "`3<file`"),
        ("$W copy - target <&-", "`<file`"),
        ("$W copy source - >&-", "`>file`"),
        ("$W run --stdout fd:3 -- true 3>&-", "`3>file`"),
    ] {
        let output = shell(folder.path(), line);
        let told = stderr(&output);
        assert_ne!(code(&output), Some(0), "{line}");
        assert!(told.contains("is it open?"), "{line}: {told}");
        assert!(told.contains(redirection), "{line}: {told}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_descriptor_that_is_open_the_other_way_is_told_how_to_open_it() {
    let (folder, _, _) = folder_with(1000);
    fs::write(folder.path().join("other"), "x").unwrap();
    for (line, words) in [
        (
            "$W copy source fd:3 3<other",
            "writing? Open it so where this program is started, as in `3>file`",
        ),
        ("$W copy fd:3 target 3>>other", "as in `3<file`"),
        ("$W copy source - 1<other", "as in `>file`"),
        (
            "$W copy - target 0>>other",
            "reading? Open it so where this program is started, as in `<file`",
        ),
    ] {
        let output = shell(folder.path(), line);
        assert_eq!(code(&output), Some(3), "{line}");
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
        let other = fs::read(folder.path().join("other")).unwrap();
        assert_eq!(other, b"x", "{line}");
    }
}

#[test]
fn what_is_left_of_a_redirected_file_is_its_size() {
    let (folder, _, bytes) = folder_with(1000);
    let line =
        "{ dd bs=400 count=1 of=first 2>/dev/null; $W copy --report json fd:0 rest; } <source";
    let output = shell(folder.path(), line);
    let run = Run::of(output).expect(0);
    assert_eq!(run.report["sources"][0]["size_at_start"], 600);
    assert_eq!(fs::read(folder.path().join("rest")).unwrap(), bytes[400..]);
    let line = "$W copy --report json fd:5 all 5<source";
    let run = Run::of(shell(folder.path(), line)).expect(0);
    assert_eq!(run.report["sources"][0]["size_at_start"], 1000);
}

#[test]
#[cfg(target_os = "linux")]
fn files_without_a_true_size_are_copied_to_their_end() {
    // These say 0, 4,096 and 4,096; not every system has the second and the third.
    for path in [
        "/proc/self/status",
        "/sys/kernel/uevent_seqnum",
        "/sys/class/net/lo/mtu",
    ] {
        if !Path::new(path).exists() {
            println!("skipped: there is no {path}");
            continue;
        }
        let run = crate::harness::run([path, "-"]).expect(0);
        assert_eq!(run.report["sources"][0]["ended"], true, "{path}");
        assert!(!run.stdout.is_empty(), "{path}");
    }
}

#[test]
fn the_account_so_far_is_told_and_the_copy_goes_on() {
    let mut child = copy(["-", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let mut pass = || {
        stdin.write_all(b"hello").unwrap();
        let mut seen = [0; 5];
        stdout.read_exact(&mut seen).unwrap();
    };
    pass();
    let mut kill = Command::new("kill");
    let sent = kill.args(["-s", "USR1", &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
    let mut lines = [String::new(), String::new()];
    for line in &mut lines {
        told.read_line(line).unwrap();
    }
    assert_eq!(lines[0], "watertight: so far 5 bytes (5 B) read from -\n");
    assert!(lines[1].starts_with("  transferred  "), "{lines:?}");
    pass();
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut report = String::new();
    told.read_to_string(&mut report).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["destinations"][0]["transferred"], 10);
}

#[test]
fn messages_never_get_into_the_data() {
    for line in [
        "$W copy source - >log 2>&1",
        "$W copy -q --report none source - >log 2>&1",
        "$W copy --progress always source - >log 2>&1",
        "$W copy --report-to account source - >log 2>&1",
        "$W copy --hash --report-to account source - >log 2>&1",
        "$W copy source - 2>&1 | cat >log",
        "$W copy source - >>log 2>&1",
        "$W copy source log 2>log",
        "$W copy source log 2>>log",
        "$W copy source log,append 2>>log",
        "$W copy source other fd:5 5>log 2>&5",
        // By its own name.
        "$W copy source fd:2 2>log",
        "$W copy source fd:2 2>>log",
        "$W copy -q source fd:2 2>log",
        "$W copy --progress always source fd:2 2>log",
        "$W copy --report-to account source fd:2 2>log",
        "$W copy source other fd:2 2>&1 >/dev/null | cat >log",
        "$W copy \"exec:sh -c 'echo oops >&2; cat source'\" fd:2 2>log",
        "$W copy \"exec:sh -c 'echo oops >&2; cat source'\" - >log 2>&1",
        "$W copy source - 'exec:wc -c' >log",
        // It must not grow by what is said about it.
        "$W copy log other 2>>log && cmp log other",
    ] {
        let (folder, _, bytes) = folder_with(1000);
        let log = folder.path().join("log");
        if line.contains("copy log") {
            fs::write(&log, &bytes).unwrap();
        }
        let output = shell(folder.path(), line);
        assert_eq!(code(&output), Some(0), "{line}: {}", stderr(&output));
        assert!(fs::read(&log).unwrap() == bytes, "{line}");
        if line.contains("--report-to") {
            let account = fs::read_to_string(folder.path().join("account")).unwrap();
            assert!(account.contains("transferred  1000 bytes"), "{account}");
        }
    }
}

/// It is not in the data, and it is nowhere else: the data are whole, and the exit code tells of the rest.
#[test]
fn what_is_asked_for_where_only_data_may_be_is_no_success() {
    for line in [
        "{ $W copy OPTION source -; echo $? >code; } >log 2>&1",
        "{ $W copy OPTION source fd:2; echo $? >code; } 2>log",
        "{ $W copy OPTION source -; echo $? >code; } 2>&1 | cat >log",
    ] {
        for option in [
            "--report json",
            "--report text",
            "--hash",
            "--progress json",
        ] {
            let (folder, _, bytes) = folder_with(1000);
            let line = line.replace("OPTION", option);
            shell(folder.path(), &line);
            let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
            assert_eq!(read("code"), b"1\n", "{line}");
            assert!(read("log") == bytes, "{line}");
        }
    }
}

#[test]
fn a_failure_is_no_data_either() {
    let (folder, _, _) = folder_with(1000);
    for line in [
        "$W copy missing - >log 2>&1",
        "$W copy missing fd:2 2>log",
        "$W copy --report json source missing/target - >log 2>&1",
        "$W copy --report-to log source - >log 2>&1",
    ] {
        let output = shell(folder.path(), line);
        assert_eq!(code(&output), Some(3), "{line}");
        let log = fs::read_to_string(folder.path().join("log")).unwrap();
        assert_eq!(log, "", "{line}");
    }
}

/// With both standard streams as ends, what a command prints goes nowhere, as what we say does; the report tells.
#[test]
fn what_a_child_prints_where_both_streams_are_ends_is_discarded_and_told() {
    let (folder, _, bytes) = folder_with(1000);
    let command = "'exec:sh -c \"cat >copied; echo printed; echo said >&2\"'";
    for report in ["text", "json"] {
        let line =
            format!("$W copy --report {report} --report-to account source - {command} >log 2>&1");
        assert_eq!(code(&shell(folder.path(), &line)), Some(0), "{line}");
        let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
        assert!(read("log") == bytes, "{line}");
        assert!(read("copied") == bytes, "{line}");
        let account = String::from_utf8(read("account")).unwrap();
        let told = match report {
            "text" => "  output       discarded: ",
            _ => "\"output_discarded\":true",
        };
        assert_eq!(account.matches(told).count(), 1, "{account}");
    }
    // Where standard error is nobody's end, it has what the command prints.
    let line = format!("$W copy --report json --report-to account source - {command} 2>said");
    assert_eq!(code(&shell(folder.path(), &line)), Some(0), "{line}");
    let said = fs::read_to_string(folder.path().join("said")).unwrap();
    assert_eq!(said, "printed\nsaid\n");
    let account = fs::read_to_string(folder.path().join("account")).unwrap();
    assert!(!account.contains("\"output_discarded\":true"), "{account}");
}

/// What the report that is saved says of the end with a command: whether its output, and what it says on standard error, was discarded.
#[cfg(target_os = "linux")]
fn discarded(folder: &Path) -> (Value, Value) {
    let account = fs::read(folder.join("account")).unwrap();
    let account: Value = serde_json::from_slice(&account).unwrap();
    let ends = ["sources", "destinations"].map(|ends| account[ends].as_array().unwrap());
    let mut ends = ends.into_iter().flatten();
    let end = ends.find(|end| !end["child"].is_null()).unwrap();
    (
        end["output_discarded"].clone(),
        end["stderr_discarded"].clone(),
    )
}

#[test]
#[cfg(target_os = "linux")]
fn what_a_child_says_where_standard_error_is_an_end_is_told_to_be_discarded() {
    let (folder, _, bytes) = folder_with(1000);
    let source = "\"exec:sh -c 'echo said >&2; cat source'\"";
    let destination = "'exec:sh -c \"cat >copied; echo said >&2\"'";
    for (line, output) in [
        (format!("{source} - >log 2>&1"), false),
        (format!("{source} - 2>&1 | cat >log"), false),
        (format!("source - {destination} 2>&1 | cat >log"), true),
        (format!("source log {destination} 2>>log"), false),
    ] {
        let line = format!("rm -f log; $W copy --report json --report-to account {line}");
        assert_eq!(code(&shell(folder.path(), &line)), Some(0), "{line}");
        assert!(fs::read(folder.path().join("log")).unwrap() == bytes);
        let told = discarded(folder.path());
        assert_eq!(told, (output.into(), true.into()), "{line}");
    }
}

/// The command has the null device there, as we have it from std.
#[test]
#[cfg(target_os = "linux")]
fn what_a_child_prints_on_a_closed_stream_is_told_to_be_discarded() {
    let (folder, _, _) = folder_with(1000);
    let command = "'exec:sh -c \"cat >copied; echo printed; echo said >&2\"'";
    let lost = "what it prints is discarded: standard output is closed (`>printed` keeps it)\n";
    for (ends, streams, output, stderr) in [
        ("source", ">out 2>messages", false, false),
        ("source", ">&- 2>messages", true, false),
        ("source", ">out 2>&-", false, true),
        ("source", ">&- 2>&-", true, true),
        ("source -", ">out 2>&-", true, true),
        ("source -", ">out 2>messages", false, false),
    ] {
        let line = format!("$W copy --report json --report-to account {ends} {command} {streams}");
        assert_eq!(code(&shell(folder.path(), &line)), Some(0), "{line}");
        let told = discarded(folder.path());
        assert_eq!(told, (output.into(), stderr.into()), "{line}");
        if !stderr {
            let said = fs::read_to_string(folder.path().join("messages")).unwrap();
            assert_eq!(said.contains(lost), output, "{said}");
        }
    }
    // And without a report in one line.
    let output = shell(folder.path(), "$W copy source 'exec:wc -c' >&-");
    assert_eq!(code(&output), Some(0));
    assert_eq!(stderr(&output), format!("watertight: exec:wc -c: {lost}"));
}

#[test]
fn a_childs_output_goes_beside_the_data() {
    let (folder, _, bytes) = folder_with(1000);
    let output = shell(folder.path(), "$W copy -q source - 'exec:wc -c'");
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    assert!(output.stdout == bytes);
    assert_eq!(stderr(&output).trim(), "1000");
    // Where standard output has no data, it is the child's.
    let output = shell(folder.path(), "$W copy -q source target 'exec:wc -c'");
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "1000");
    // In the null device nothing is mixed.
    let output = shell(
        folder.path(),
        "$W copy source - 'exec:wc -c' >/dev/null 2>&1",
    );
    assert_eq!(code(&output), Some(0));
}
