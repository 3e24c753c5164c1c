//! What the program does to what it opens and to what it was started with: nothing that would show outside.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::{EXE, Run, copy, file, folder_with, run, strace};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A sector of a block device.
const SECTOR: usize = 512;

/// As of a file over a network whose server does not answer: what a stream is, is not known. The stream is there all the same.
#[test]
fn a_standard_stream_that_cannot_be_looked_at_stays_open() {
    if !strace::may_trace() {
        return;
    }
    let (folder, _, bytes) = folder_with(1000);
    // As strace names it.
    let folder = folder.path().canonicalize().unwrap();
    let [source, target, messages, log] =
        ["source", "target", "messages", "calls"].map(|name| folder.join(name));
    let about = [source.to_str().unwrap(), messages.to_str().unwrap()];
    let mut command = strace::copy(&log, "?statx", &["?statx:error=EIO"], &about);
    command
        .args(["--idle", "20s", "-", &file(&target)])
        .stdin(File::open(&source).unwrap())
        .stderr(File::create(&messages).unwrap());
    let mut output = command.output().unwrap();
    if strace::failed(&log) == 0 {
        println!("skipped: std looks at files in another way here");
        return;
    }
    output.stderr = fs::read(&messages).unwrap();
    let run = Run::of(output).expect(0);
    assert_eq!(run.bytes_read(), 1000, "{}", run.report);
    assert!(run.report["sources"][0]["size_at_start"].is_null());
    assert_eq!(fs::read(&target).unwrap(), bytes);
}

/// A terminal: its leading end, the other one, and the name of that.
fn terminal() -> (File, OwnedFd, String) {
    let leading = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&leading).unwrap();
    unlockpt(&leading).unwrap();
    let name = ptsname(&leading, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let following = rustix::fs::open(&name, flags, Mode::empty()).unwrap();
    (File::from(leading), following, name.into_string().unwrap())
}

/// Whether a process that leads its session has a controlling terminal.
fn has_terminal(leader: &Child) -> bool {
    let id = leader.id().to_string();
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    // Behind the name, which may be any: state, parent, group, session, terminal.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = fields.split(' ').collect();
    assert_eq!(fields[3], id, "it leads no session: {stat}");
    fields[4] != "0"
}

/// Only who leads a session that has none can get one by opening it, and only for reading.
#[test]
fn a_terminal_that_is_opened_is_not_the_controlling_one() {
    let trial = Command::new("setsid").arg("true").status();
    if !trial.is_ok_and(|status| status.success()) {
        println!("skipped: there is no setsid");
        return;
    }
    for is_inherited in [false, true] {
        let (mut leading, following, name) = terminal();
        let mut command = Command::new("setsid");
        command.args([EXE, "copy", "--idle", "60s"]);
        if is_inherited {
            // Opened once more, for a description of its own.
            command.args(["-", "-"]).stdin(following);
        } else {
            command.args([name.as_str(), "-"]).stdin(Stdio::null());
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        leading.write_all(b"x\n").unwrap();
        let mut seen = [0; 2];
        let stdout = child.stdout.as_mut().unwrap();
        stdout.read_exact(&mut seen).unwrap();
        // It has the terminal open, and waits for more.
        assert!(!has_terminal(&child), "inherited: {is_inherited}");
        // Ctrl-D.
        leading.write_all(b"\x04").unwrap();
        assert!(child.wait().unwrap().success());
    }
    // This is how it would be seen.
    let (_leading, _following, name) = terminal();
    let script = "exec 3<\"$0\"; echo x; read line";
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", script, &name]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut seen = [0; 2];
    let stdout = child.stdout.as_mut().unwrap();
    stdout.read_exact(&mut seen).unwrap();
    let has_terminal = has_terminal(&child);
    drop(child.stdin.take());
    child.wait().unwrap();
    assert!(has_terminal);
}

/// A terminal is made for both. What is said there is not lost because the data go there.
#[test]
fn a_terminal_that_has_the_data_has_the_messages_too() {
    let (_folder, source, _) = folder_with(0);
    fs::write(&source, "data\n").unwrap();
    let (leading, following, _) = terminal();
    let mut command = Command::new(EXE);
    command
        .args(["copy", "--progress", "never", "--expect-bytes", "7"])
        .args([&file(&source), "fd:2"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(following);
    let mut child = command.spawn().unwrap();
    // Else the terminal would have no end.
    drop(command);
    let mut lines = BufReader::new(leading).lines();
    assert_eq!(lines.next().unwrap().unwrap().trim_end(), "data");
    let is_told = |line: std::io::Result<String>| line.unwrap().contains("exit code 7");
    assert!(lines.any(is_told));
    assert_eq!(child.wait().unwrap().code(), Some(7));
}

/// A loop device, until this is dropped.
struct LoopDevice(String);

impl LoopDevice {
    /// None: not everybody may make one, and not everywhere.
    fn of(file: &Path) -> Option<Self> {
        let mut command = Command::new("losetup");
        command.args(["--find", "--show"]).arg(file);
        let output = command.output().ok()?;
        let name = String::from_utf8(output.stdout).ok()?;
        output
            .status
            .success()
            .then(|| Self(name.trim().to_owned()))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let mut command = Command::new("losetup");
        let _ = command.args(["--detach", &self.0]).status();
    }
}

#[test]
fn the_size_of_a_block_device_is_known_at_the_start() {
    let (folder, source, bytes) = folder_with(2048 * SECTOR + 3 * SECTOR);
    let Some(device) = LoopDevice::of(&source) else {
        println!("skipped: there is no loop device for us");
        return;
    };
    let run = run([device.0.as_str(), "-"]).expect(0);
    assert_eq!(run.report["sources"][0]["size_at_start"], bytes.len());
    assert!(run.stdout == bytes);
    // What is left of it, where it was read before; looking does not move the position.
    let line =
        "{ dd bs=512 count=3 of=first 2>/dev/null; \"$0\" copy --report json - rest; } <\"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", line, EXE, &device.0]);
    let output = command.current_dir(folder.path()).output().unwrap();
    let run = Run::of(output).expect(0);
    let left = &bytes[3 * SECTOR..];
    assert_eq!(run.report["sources"][0]["size_at_start"], left.len());
    assert!(fs::read(folder.path().join("rest")).unwrap() == left);
}

/// A device is no file, and has a disk behind it all the same.
#[test]
fn a_block_device_is_synced() {
    if !strace::may_trace() {
        return;
    }
    let (folder, source, bytes) = folder_with(8 * SECTOR);
    let disk = folder.path().join("disk");
    fs::write(&disk, [0_u8; 16 * SECTOR]).unwrap();
    let Some(device) = LoopDevice::of(&disk) else {
        println!("skipped: there is no loop device for us");
        return;
    };
    let log = folder.path().join("calls");
    let about = [device.0.as_str()];
    let mut command = strace::copy(&log, "fsync", &[], &about);
    command.args(["--sync", &file(&source), device.0.as_str()]);
    Run::of(command.output().unwrap()).expect(0);
    let log = fs::read_to_string(&log).unwrap();
    assert_eq!(log.matches("fsync(").count(), 1, "{log}");
    assert!(fs::read(&disk).unwrap().starts_with(&bytes));
}

/// What goes past the cache: only whole blocks can be read or written, out of and into aligned memory (O_DIRECT).
fn direct(options: &mut OpenOptions, path: &Path) -> Option<File> {
    let opened = options
        .custom_flags(OFlags::DIRECT.bits().cast_signed())
        .open(path);
    if opened.is_err() {
        println!("skipped: this file system has no O_DIRECT");
    }
    opened.ok()
}

/// Its position is shared, as `(copy …; cat) <&9` shares it: what was not copied is left for others.
#[test]
fn a_file_that_is_read_past_the_cache_is_copied_whole_from_any_position() {
    let (folder, source, bytes) = folder_with(300_123);
    let target = folder.path().join("target");
    let cases: [(&[&str], Option<usize>); 4] = [
        (&["--hash"], None),
        (&["--stable"], None),
        (&[], None),
        (&["--stable", "--limit", "100001"], Some(100_001)),
    ];
    for (options, limit) in cases {
        for at in [0, 777, 4096, 300_000, 300_123] {
            let Some(mut opened) = direct(File::options().read(true), &source) else {
                return;
            };
            opened.seek(SeekFrom::Start(at as u64)).unwrap();
            let mut command = copy(options);
            command.args(["-", &file(&target)]);
            let output = command.stdin(opened.try_clone().unwrap()).output();
            let run = Run::of(output.unwrap()).expect(0);
            let expected =
                &bytes[at..limit.map_or(bytes.len(), |limit| bytes.len().min(at + limit))];
            assert!(fs::read(&target).unwrap() == expected, "{}", run.report);
            let behind = opened.stream_position().unwrap();
            assert_eq!(behind, (at + expected.len()) as u64, "{}", run.report);
        }
    }
}

/// Whoever else has the descriptor goes on behind what was copied, and in the mode that it was opened in.
#[test]
fn a_file_that_is_written_past_the_cache_gets_every_byte_at_its_position() {
    let (folder, source, bytes) = folder_with(300_123);
    let target = folder.path().join("target");
    for options in [&["--hash"][..], &["--stable"], &[]] {
        for is_appended in [false, true] {
            fs::write(&target, b"before").unwrap();
            let mut opening = File::options();
            opening.append(is_appended).write(true);
            let Some(mut opened) = direct(&mut opening, &target) else {
                return;
            };
            if !is_appended {
                opened.seek(SeekFrom::End(0)).unwrap();
            }
            for _ in 0..2 {
                let mut command = copy(options);
                command.args([file(&source).as_str(), "-"]);
                let output = command.stdout(opened.try_clone().unwrap()).output();
                Run::of(output.unwrap()).expect(0);
            }
            let expected = [&b"before"[..], &bytes, &bytes].concat();
            assert!(fs::read(&target).unwrap() == expected, "{is_appended}");
            let behind = opened.stream_position().unwrap();
            assert_eq!(behind, expected.len() as u64, "{is_appended}");
            let flags = rustix::fs::fcntl_getfl(&opened).unwrap();
            assert!(flags.contains(OFlags::DIRECT), "{is_appended}");
        }
    }
}

/// A disk that is full: whoever else has the descriptor goes on behind what was written, and there is no hole before that.
#[test]
fn what_cannot_be_written_past_the_cache_is_not_passed_over() {
    if !strace::may_trace() {
        return;
    }
    let (folder, source, bytes) = folder_with(300_123);
    let target = folder.path().join("target");
    fs::write(&target, b"before").unwrap();
    let Some(mut opened) = direct(File::options().write(true), &target) else {
        return;
    };
    opened.seek(SeekFrom::End(0)).unwrap();
    let log = folder.path().join("calls");
    let full = "pwrite64:error=ENOSPC:when=2+";
    let mut command = strace::copy(&log, "pwrite64", &[full], &[]);
    command.args(["--stable", &file(&source), "-"]);
    let output = command.stdout(opened.try_clone().unwrap()).output();
    if strace::failed(&log) == 0 {
        println!("skipped: this file system wants no whole blocks");
        return;
    }
    let run = Run::of(output.unwrap()).expect(5);
    let written = usize::try_from(run.count(0, "transferred")).unwrap();
    let expected = [&b"before"[..], &bytes[..written]].concat();
    assert!(fs::read(&target).unwrap() == expected, "{}", run.report);
    let behind = opened.stream_position().unwrap();
    assert_eq!(behind, expected.len() as u64, "{}", run.report);
}

/// As `(copy one - & copy two -) >both`: each read and each write has the position to itself.
#[test]
fn two_who_share_a_position_past_the_cache_lose_and_double_nothing() {
    let (folder, source, bytes) = folder_with(3_000_000);
    let both = folder.path().join("both");
    let sorted = |mut bytes: Vec<u8>| {
        bytes.sort_unstable();
        bytes
    };
    let run_all = |copies: [Command; 2]| {
        let started = copies.map(|mut command| command.spawn().unwrap());
        for child in started {
            Run::of(child.wait_with_output().unwrap()).expect(0);
        }
    };
    let mut opening = File::options();
    let Some(opened) = direct(opening.write(true).create(true).truncate(true), &both) else {
        return;
    };
    let to_both = || {
        let mut command = copy(["--stable", &file(&source), "-"]);
        command.stdout(opened.try_clone().unwrap());
        command
    };
    run_all([to_both(), to_both()]);
    let written = fs::read(&both).unwrap();
    assert_eq!(written.len(), 2 * bytes.len());
    assert!(sorted(written) == sorted([&bytes[..], &bytes[..]].concat()));
    let Some(opened) = direct(File::options().read(true), &source) else {
        return;
    };
    let parts = ["one", "other"].map(|name| folder.path().join(name));
    let from_both = |part: &Path| {
        let mut command = copy(["--stable", "-", &file(part)]);
        command.stdin(opened.try_clone().unwrap());
        command
    };
    run_all([from_both(&parts[0]), from_both(&parts[1])]);
    let read = parts.map(|part| fs::read(part).unwrap()).concat();
    assert_eq!(read.len(), bytes.len());
    assert!(sorted(read) == sorted(bytes));
}

/// Each byte has one place, and one reader, as with a shell's `>` and `cat`: what the kernel moves by itself takes no lock of the position.
#[test]
fn copies_that_share_a_position_lose_and_double_nothing() {
    let (folder, source, bytes) = folder_with(12_000_000);
    let line = |line: &str| {
        let status = Command::new("sh")
            .args(["-c", line])
            .env("W", EXE)
            .current_dir(folder.path())
            .status();
        assert!(status.unwrap().success(), "{line}");
    };
    let len = |name: &str| fs::metadata(folder.path().join(name)).unwrap().len();
    let all = fs::metadata(&source).unwrap().len();
    for _ in 0..3 {
        line("(\"$W\" copy -q source - & one=$!; \"$W\" copy -q source - && wait $one) >both");
        assert_eq!(len("both"), 2 * all);
        line(
            "(\"$W\" copy -q - one <&3 & one=$!; \"$W\" copy -q - other <&3 && wait $one) 3<source",
        );
        assert_eq!(len("one") + len("other"), all);
    }
    assert_eq!(bytes.len() as u64, all);
}

/// So much that it is looked who else has the file.
#[cfg(target_os = "linux")]
const HOLE_BYTES: u64 = 8 << 20;

/// Lets the command copy a hole from a path into a file that it gets from here, and says how much of that is on the disk. What is read and
/// written fills a hole: so that shows how the bytes went.
#[cfg(target_os = "linux")]
fn on_disk(with: impl FnOnce(&Path, File) -> Command) -> Option<u64> {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let [hole, target] = ["hole", "target"].map(|name| folder.path().join(name));
    let source = File::create(&hole).unwrap();
    source.set_len(HOLE_BYTES).unwrap();
    if source.metadata().unwrap().blocks() > 0 {
        println!("skipped: the file system of {folder:?} knows of no holes");
        return None;
    }
    let mut command = with(&hole, File::create(&target).unwrap());
    let output = command.current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let known = fs::metadata(target).unwrap();
    assert_eq!(known.len(), HOLE_BYTES);
    Some(known.blocks() * SECTOR as u64)
}

/// A file that is written to, and one that is read.
#[cfg(target_os = "linux")]
#[test]
fn a_file_whose_position_this_test_shares_is_written_to() {
    let to_shared = on_disk(|hole, target| {
        let mut command = copy(["-q"]);
        command.arg(hole).arg("-").stdout(target);
        command
    });
    let from_shared = on_disk(|hole, _| {
        let mut command = copy(["-q", "-", "target"]);
        command.stdin(File::open(hole).unwrap());
        command
    });
    for written in [to_shared, from_shared] {
        let is_filled = written.is_none_or(|bytes| bytes >= HOLE_BYTES);
        assert!(is_filled, "{to_shared:?}, {from_shared:?}");
    }
}

/// As by the `>` of a shell that is gone (one that waits has the file too, as dash does). What is before the look is written.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_nobody_shares_keeps_its_holes_behind_the_look() {
    let written = on_disk(|hole, target| {
        drop(target);
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$W\" copy -q \"$0\" - >target"]);
        command.arg(hole).env("W", EXE);
        command
    });
    let is_kept = written.is_none_or(|bytes| bytes < HOLE_BYTES / 4 * 3);
    if !is_kept && !rustix::process::geteuid().is_root() {
        println!("skipped: another user's process is in our group, or has started us");
        return;
    }
    assert!(is_kept, "{written:?}");
}

/// Whom it has started it, and the group of processes that it is of, it takes for sharing what it was started with.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_comes_from_another_user_or_from_outside_the_namespace_is_written_to() {
    const AS_ANOTHER: &[&str] = &[
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    const INSIDE: &[&str] = &[
        "unshare",
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--mount-proc",
    ];
    for wrapped in [AS_ANOTHER, INSIDE] {
        let started = |arguments: &[&str]| {
            let mut command = Command::new(wrapped[0]);
            command.args(&wrapped[1..]).arg(EXE).args(arguments);
            command
        };
        let trial = started(&["--version"]).output();
        if !trial.is_ok_and(|output| output.status.success()) {
            println!("skipped: this may not be run under {wrapped:?}");
            continue;
        }
        let written = on_disk(|hole, target| {
            let mut command = started(&["copy", "-q"]);
            command.arg(hole).arg("-").stdout(target);
            command
        });
        let is_filled = written.is_none_or(|bytes| bytes >= HOLE_BYTES);
        assert!(is_filled, "{wrapped:?}: {written:?}");
    }
}

/// A copy of its descriptor that is closed before that hears what a disk far away has not taken, and the destination's own close does not.
#[test]
fn a_file_that_was_written_to_is_closed_by_its_destination_first() {
    fn number<'a>(line: &'a str, call: &str) -> Option<&'a str> {
        let (_, behind) = line.split_once(call)?;
        behind.split('<').next()
    }
    if !strace::may_trace() {
        return;
    }
    let (folder, source, bytes) = folder_with(6_000_000);
    // As strace names it.
    let path = folder.path().canonicalize().unwrap();
    let [target, log] = ["target", "calls"].map(|name| path.join(name));
    let about = target.to_str().unwrap();
    let mut command = strace::copy(&log, "write,close", &[], &[about]);
    command
        .args([&file(&source), "-"])
        .stdout(File::create(&target).unwrap());
    Run::of(command.output().unwrap()).expect(0);
    assert!(fs::read(&target).unwrap() == bytes);
    let calls = fs::read_to_string(&log).unwrap();
    let mut lines = calls.lines();
    let written = lines.find_map(|line| number(line, " write("));
    let closed = lines.find_map(|line| number(line, " close("));
    assert!(written.is_some() && closed == written, "{calls}");
}

/// To look at all processes takes longer than to read and write a little.
#[cfg(target_os = "linux")]
#[test]
fn who_else_has_a_file_is_looked_for_once_it_pays() {
    if !strace::may_trace() {
        return;
    }
    for (bytes, is_looked) in [(3_000_000, false), (6_000_000, true)] {
        let (folder, source, _) = folder_with(bytes);
        let [target, log] = ["target", "calls"].map(|name| folder.path().join(name));
        let mut command = strace::copy(&log, "?open,openat", &[], &[]);
        command.args(["-", "-"]).stdin(File::open(&source).unwrap());
        command.stdout(File::create(&target).unwrap());
        Run::of(command.output().unwrap()).expect(0);
        let calls = fs::read_to_string(&log).unwrap();
        assert_eq!(calls.contains("\"/proc\""), is_looked, "{calls}");
    }
}
