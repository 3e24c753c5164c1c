//! A destination's file is written beside its place and renamed when the copy was whole, unless something would be lost by that.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::{EXE, Run, copy, copy_as_nobody, file, folder_with, partial, run, strace};
use rustix::fs::{XattrFlags, getxattr, setxattr};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A source that ends badly after five bytes.
const FAILING: &str = "exec:sh -c \"printf first; exit 1\"";

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

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

/// A folder with a source of 1,000 bytes, and a file that has been there for long.
fn with_old_file() -> (tempfile::TempDir, PathBuf, PathBuf, Vec<u8>) {
    let (folder, source, bytes) = folder_with(1000);
    let target = folder.path().join("target");
    fs::write(&target, "old").unwrap();
    (folder, source, target, bytes)
}

#[track_caller]
fn expect_in_place(run: &Run, reason: &str) {
    assert_eq!(run.destination(0)["how"], "in_place", "{}", run.report);
    assert_eq!(run.destination(0)["in_place_reason"], reason);
    assert!(run.destination(0)["partial"].is_null());
}

#[test]
fn a_whole_copy_replaces_the_file_at_once() {
    let (_folder, source, target, bytes) = with_old_file();
    let before = inode(&target);
    let mut reader = File::open(&target).unwrap();
    let run = run([file(&source), file(&target)]).expect(0);
    assert_eq!(run.destination(0)["how"], "renamed");
    assert!(run.destination(0)["partial"].is_null());
    assert!(run.destination(0)["in_place_reason"].is_null());
    assert_eq!(fs::read(&target).unwrap(), bytes);
    assert_ne!(inode(&target), before);
    assert!(!partial(&target).exists());
    // Whoever had it open has the old content, whole.
    let mut old = String::new();
    reader.read_to_string(&mut old).unwrap();
    assert_eq!(old, "old");
}

#[test]
fn a_copy_that_was_cut_leaves_the_old_file_and_names_the_partial() {
    for arguments in [
        &[FAILING][..],
        &["--expect-bytes", "7", "exec:printf first"],
        &["exec:printf first", "/dev/full"],
    ] {
        let (folder, _, target, _) = with_old_file();
        let before = inode(&target);
        let mut command = copy(arguments);
        command.arg("target").current_dir(folder.path());
        let run = Run::of(command.output().unwrap());
        assert_ne!(run.code, 0, "{arguments:?}");
        let last = run.report["destinations"].as_array().unwrap().len() - 1;
        assert_eq!(run.destination(last)["how"], "partial", "{arguments:?}");
        assert_eq!(run.destination(last)["partial"], "target.partial");
        assert_eq!(fs::read(&target).unwrap(), b"old", "{arguments:?}");
        assert_eq!(inode(&target), before);
        assert_eq!(fs::read(partial(&target)).unwrap(), b"first");
    }
    // The text names it, and so do the errors without a report.
    for options in ["", "-q"] {
        let (folder, ..) = with_old_file();
        let line = format!("$W copy {options} '{FAILING}' target");
        let output = shell(folder.path(), &line);
        assert_eq!(output.status.code(), Some(8));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("target.partial"), "{told}");
    }
}

#[test]
fn a_signal_leaves_the_old_file() {
    let (_folder, _, target, _) = with_old_file();
    let mut child = copy(["-", "-", &file(&target)])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"hello").unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut seen = [0; 5];
    // When these are through, the copy is under way.
    stdout.read_exact(&mut seen).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"old");
    let mut kill = Command::new("kill");
    let sent = kill.args(["-s", "TERM", &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
    Run::of(child.wait_with_output().unwrap()).expect(143);
    drop(stdin);
    assert_eq!(fs::read(&target).unwrap(), b"old");
}

#[test]
fn of_nothing_nothing_is_left() {
    let (_folder, _, target, _) = with_old_file();
    let run = run(["/proc/self/mem", &file(&target)]).expect(4);
    assert!(run.destination(0)["how"].is_null());
    assert!(run.destination(0)["partial"].is_null());
    assert_eq!(fs::read(&target).unwrap(), b"old");
    assert!(!partial(&target).exists());
}

#[test]
fn a_link_stays_a_link() {
    let (folder, source, target, bytes) = with_old_file();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let link = inner.join("link");
    symlink("../target", &link).unwrap();
    let dangling = inner.join("dangling");
    symlink("../new", &dangling).unwrap();
    for (name, leads_to) in [(&link, &target), (&dangling, &folder.path().join("new"))] {
        let run = run([file(&source), file(name)]).expect(0);
        assert_eq!(run.destination(0)["how"], "renamed");
        assert!(fs::symlink_metadata(name).unwrap().is_symlink());
        assert_eq!(&fs::read(leads_to).unwrap(), &bytes);
        assert!(!partial(name).exists());
        fs::write(leads_to, "old").unwrap();
        // The partial lies beside what the link leads to.
        crate::harness::run([FAILING, &file(name)]).expect(8);
        assert_eq!(fs::read(leads_to).unwrap(), b"old");
        assert_eq!(fs::read(partial(leads_to)).unwrap(), b"first");
    }
}

#[test]
fn a_file_with_other_links_is_written_in_place() {
    let (folder, source, target, bytes) = with_old_file();
    let other = folder.path().join("other");
    fs::hard_link(&target, &other).unwrap();
    let run = run([file(&source), file(&target)]).expect(0);
    expect_in_place(&run, "links");
    assert_eq!(fs::read(&other).unwrap(), bytes);
    let line = "$W copy --report text source target";
    let told = String::from_utf8(shell(folder.path(), line).stderr).unwrap();
    assert!(told.contains("in place (it has other links)"), "{told}");
}

#[test]
fn the_mode_and_the_attributes_are_kept() {
    let (folder, source, target, bytes) = with_old_file();
    // Not every file system has these.
    let name = "user.watertight";
    let has_attributes = setxattr(&target, name, b"kept", XattrFlags::empty()).is_ok();
    if !has_attributes {
        println!("skipped for attributes: a file has none here");
    }
    for mode in [0o600, 0o640, 0o777, 0o604] {
        fs::set_permissions(&target, fs::Permissions::from_mode(mode)).unwrap();
        let run = run([file(&source), file(&target)]).expect(0);
        assert_eq!(run.destination(0)["how"], "renamed");
        let found = fs::metadata(&target).unwrap().mode() & 0o7777;
        assert_eq!(found, mode, "{found:o}");
        assert_eq!(fs::read(&target).unwrap(), bytes);
    }
    if has_attributes {
        let mut value = [0_u8; 100];
        let length = getxattr(&target, name, value.as_mut_slice()).unwrap();
        assert_eq!(&value[..length], b"kept");
    }
    // A new file has what every new file has.
    let line = "umask 027; $W copy source new";
    assert_eq!(shell(folder.path(), line).status.code(), Some(0));
    let found = fs::metadata(folder.path().join("new")).unwrap().mode();
    assert_eq!(found & 0o777, 0o640);
}

#[test]
fn a_partial_is_never_wider_than_the_file() {
    let (folder, _, target, _) = with_old_file();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
    let line = format!("umask 0; $W copy '{FAILING}' target");
    assert_eq!(shell(folder.path(), &line).status.code(), Some(8));
    let found = fs::metadata(partial(&target)).unwrap().mode();
    assert_eq!(found & 0o777, 0o600);
}

/// The superuser can give a file to anybody, and nobody else can.
#[test]
fn the_owner_is_kept_or_it_is_in_place() {
    let (folder, source, target, bytes) = with_old_file();
    if chown(&target, Some(12345), Some(54321)).is_err() {
        println!("skipped: only the superuser meets another owner's file here");
        return;
    }
    let owner = || {
        let found = fs::metadata(&target).unwrap();
        (found.uid(), found.gid())
    };
    let run = run([file(&source), file(&target)]).expect(0);
    assert_eq!(run.destination(0)["how"], "renamed");
    assert_eq!(owner(), (12345, 54321));
    assert_eq!(fs::read(&target).unwrap(), bytes);
    let Some(mut command) = copy_as_nobody(folder.path()) else {
        return;
    };
    fs::write(&source, "new").unwrap();
    for (path, mode) in [
        (folder.path(), 0o777),
        (source.as_path(), 0o444),
        (target.as_path(), 0o666),
    ] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let output = command.args(["source", "target"]).output();
    expect_in_place(&Run::of(output.unwrap()).expect(0), "owner");
    assert_eq!(owner(), (12345, 54321));
    assert_eq!(fs::read(&target).unwrap(), b"new");
    assert!(!partial(&target).exists());
}

#[test]
fn an_exclusive_destination_never_replaces_what_appears_meanwhile() {
    let (folder, _, _) = folder_with(0);
    let target = folder.path().join("target");
    let address = file(&target) + ",exclusive";
    let mut child = copy(["-", "-", &address])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"hello").unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut seen = [0; 5];
    // When these are through, the copy is under way.
    stdout.read_exact(&mut seen).unwrap();
    fs::write(&target, "theirs").unwrap();
    drop(stdin);
    let run = Run::of(child.wait_with_output().unwrap()).expect(5);
    assert_eq!(fs::read(&target).unwrap(), b"theirs");
    assert_eq!(fs::read(partial(&target)).unwrap(), b"hello");
    assert_eq!(run.destination(1)["how"], "partial");
    let error = run.destination(1)["error"].as_str().unwrap();
    assert!(error.contains("cannot rename"), "{error}");
    // Without anybody in between it gets its name; and never a second time.
    let (folder, source, bytes) = folder_with(1000);
    let target = folder.path().join("target");
    let address = file(&target) + ",exclusive";
    crate::harness::run([file(&source), address.clone()]).expect(0);
    crate::harness::run([file(&source), address]).expect(3);
    assert_eq!(fs::read(&target).unwrap(), bytes);
}

#[test]
fn a_partial_of_somebody_else_is_never_touched() {
    let (folder, source, target, _) = with_old_file();
    fs::write(partial(&target), "theirs").unwrap();
    let new = folder.path().join("new");
    fs::write(partial(&new), "theirs").unwrap();
    for path in [&target, &new] {
        let run = run([file(&source), file(path)]).expect(3);
        let error = run.destination(0)["error"].as_str().unwrap();
        assert!(error.contains(".partial"), "{error}");
        assert!(error.contains("remove it"), "{error}");
        assert_eq!(fs::read(partial(path)).unwrap(), b"theirs");
        let in_place = file(path) + ",inplace";
        crate::harness::run([file(&source), in_place]).expect(0);
        assert_eq!(fs::read(partial(path)).unwrap(), b"theirs");
    }
    // Two destinations are in each other's way, too.
    for pair in [["a", "a.partial"], ["a.partial", "a"]] {
        let pair = pair.map(|name| file(&folder.path().join(name)));
        let run = run([&file(&source), &pair[0], &pair[1]]).expect(3);
        assert!(run.stderr.contains("each other's way"), "{}", run.stderr);
    }
    assert!(!folder.path().join("a.partial").exists());
}

#[test]
fn on_request_a_file_is_written_where_it_is() {
    let (_folder, source, target, bytes) = with_old_file();
    let before = inode(&target);
    let run = run([file(&source), file(&target) + ",inplace"]).expect(0);
    expect_in_place(&run, "asked");
    assert_eq!(inode(&target), before);
    assert_eq!(fs::read(&target).unwrap(), bytes);
    let run = crate::harness::run([file(&source), file(&target) + ",append"]).expect(0);
    expect_in_place(&run, "append");
    assert_eq!(inode(&target), before);
    assert_eq!(fs::read(&target).unwrap().len(), 2000);
    // What arrived in place of a copy that is cut is there.
    crate::harness::run([FAILING.to_owned(), file(&target) + ",inplace"]).expect(8);
    assert_eq!(fs::read(&target).unwrap(), b"first");
}

/// The names of standard output. The shell that is replaced by the program knows its number.
const NAMES_OF_STDOUT: [&str; 6] = [
    "/dev/stdout",
    "/dev/fd/1",
    "/proc/self/fd/1",
    "/proc/thread-self/fd/1",
    "/proc/$$/fd/1",
    "link",
];

/// Where it was opened, at its position, with its flags: what is there already stays, and what others write comes behind.
#[test]
fn a_descriptors_name_is_written_in_place() {
    for name in NAMES_OF_STDOUT {
        for option in ["", ",append", ",inplace"] {
            let (folder, _, bytes) = folder_with(1000);
            symlink("/dev/stdout", folder.path().join("link")).unwrap();
            let target = folder.path().join("target");
            let copy = format!("sh -c 'exec \"$W\" copy -q source {name}{option}'");
            let expect = |line: &str, before: &str, after: &str| {
                let output = shell(folder.path(), line);
                assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
                let expected = [before.as_bytes(), &bytes, after.as_bytes()].concat();
                assert!(fs::read(&target).unwrap() == expected, "{line}");
                assert!(!partial(&target).exists(), "{line}");
            };
            expect(&format!("{copy} >target"), "", "");
            fs::write(&target, "before\n").unwrap();
            expect(&format!("{copy} >>target"), "before\n", "");
            let line = format!("{{ echo header; {copy}; echo trailer; }} >target");
            expect(&line, "header\n", "trailer\n");
        }
    }
    // It is reported as `-` is.
    let (folder, _, _) = folder_with(1000);
    let line = "$W copy --report json source /dev/stdout >target";
    let run = Run::of(shell(folder.path(), line)).expect(0);
    assert!(run.destination(0)["how"].is_null(), "{}", run.report);
}

#[test]
fn every_descriptor_has_such_names() {
    for (line, expected) in [
        ("$W copy -q source /dev/stderr 2>>target", "old"),
        ("$W copy -q source /dev/fd/5 5>>target", "old"),
        (
            "{ echo old; $W copy -q source /dev/fd/5; } 5>target >&5",
            "old\n",
        ),
        ("$W run --stdout /dev/stdout -- cat source >>target", "old"),
        ("$W run --stdout /dev/fd/5 -- cat source 5>>target", "old"),
    ] {
        let (folder, _, target, bytes) = with_old_file();
        let output = shell(folder.path(), line);
        assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
        let expected = [expected.as_bytes(), &bytes].concat();
        assert!(fs::read(&target).unwrap() == expected, "{line}");
    }
    // A source is read from where it is.
    for name in ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"] {
        let (folder, _, bytes) = folder_with(1000);
        let line = format!(
            "{{ dd bs=400 count=1 of=first 2>/dev/null; $W copy -q {name} rest; }} <source"
        );
        let output = shell(folder.path(), &line);
        assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
        assert_eq!(fs::read(folder.path().join("rest")).unwrap(), bytes[400..]);
    }
    // It is the same one, and not another one of the same file.
    let (folder, _, _) = folder_with(1000);
    let output = shell(folder.path(), "$W copy source - /dev/stdout >target");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

/// As in a container whose filter has no pidfd_getfd, and on an old system.
#[test]
fn a_descriptor_is_the_same_also_where_its_duplicate_is_forbidden() {
    if !strace::may_trace() {
        return;
    }
    for code in ["EPERM", "ENOSYS"] {
        let (folder, _, target, bytes) = with_old_file();
        let tracer = format!(
            "strace -f -qq -o calls -e trace=?pidfd_getfd -e inject=?pidfd_getfd:error={code}"
        );
        let line = format!("{tracer} $W copy -q source /dev/fd/5 5>>target");
        let output = shell(folder.path(), &line);
        assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
        let expected = [&b"old"[..], &bytes].concat();
        assert!(fs::read(&target).unwrap() == expected, "{line}");
        if strace::failed(&folder.path().join("calls")) == 0 {
            println!("skipped: this machine has no such call, or strace does not know it");
        }
    }
}

/// It cannot be opened by its name.
#[test]
fn a_socket_has_a_descriptors_name_too() {
    let (_folder, source, bytes) = folder_with(1000);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut command = Command::new(EXE);
    command.args(["copy", &file(&source), "/dev/stdout"]);
    command.stdin(Stdio::null()).stdout(OwnedFd::from(theirs));
    let output = command.output().unwrap();
    drop(command);
    assert!(output.status.success(), "{output:?}");
    let mut arrived = Vec::new();
    ours.read_to_end(&mut arrived).unwrap();
    assert!(arrived == bytes);
}

/// Its position is that process's own. So what it appends is not emptied, and ours comes behind it.
#[test]
fn another_processs_descriptor_is_appended_to_if_that_one_appends() {
    let hold = |stdout: Stdio| {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(stdout);
        command.spawn().unwrap()
    };
    let end = |mut holder: Child, last: &[u8]| {
        holder.stdin.take().unwrap().write_all(last).unwrap();
        assert!(holder.wait().unwrap().success());
    };
    let name = |holder: &Child| format!("/proc/{}/fd/1", holder.id());
    let (folder, source, target, bytes) = with_old_file();
    let source = file(&source);
    let appending = File::options().append(true).open(&target).unwrap();
    let holder = hold(appending.into());
    symlink(name(&holder), folder.path().join("link")).unwrap();
    for address in [name(&holder), file(&folder.path().join("link"))] {
        let run = run([&source, &address]).expect(0);
        expect_in_place(&run, "descriptor");
    }
    end(holder, b"last");
    let expected = [&b"old"[..], &bytes, &bytes, b"last"].concat();
    assert!(fs::read(&target).unwrap() == expected);
    // One that does not append is overwritten, as by the shell.
    fs::write(&target, [b'x'; 2000]).unwrap();
    let writing = File::options().write(true).open(&target).unwrap();
    let holder = hold(writing.into());
    let run = run([&source, &name(&holder)]).expect(0);
    expect_in_place(&run, "descriptor");
    assert!(fs::read(&target).unwrap() == bytes);
    end(holder, b"");
    let mut holder = hold(Stdio::piped());
    let run = crate::harness::run([&source, &name(&holder)]).expect(0);
    expect_in_place(&run, "no_file");
    let mut arrived = vec![0; bytes.len()];
    let stdout = holder.stdout.as_mut().unwrap();
    stdout.read_exact(&mut arrived).unwrap();
    assert!(arrived == bytes);
    end(holder, b"");
}

#[test]
fn a_device_is_written_in_place() {
    let (_folder, source, _) = folder_with(1000);
    let run = run([file(&source), "/dev/null".to_owned()]).expect(0);
    expect_in_place(&run, "no_file");
}

#[test]
fn success_is_claimed_when_everything_is_on_the_disk() {
    let (folder, source, target, bytes) = with_old_file();
    let new = folder.path().join("new");
    for address in [
        file(&target),
        file(&new),
        file(&target) + ",inplace",
        file(&target) + ",append",
        "/dev/null".to_owned(),
        "-".to_owned(),
    ] {
        run(["--sync", &file(&source), &address]).expect(0);
    }
    assert_eq!(fs::read(&new).unwrap(), bytes);
    // A relative name has a folder, too.
    let line = "$W copy --sync source relative";
    assert_eq!(shell(folder.path(), line).status.code(), Some(0));
}

#[test]
fn a_folder_that_takes_no_file_means_in_place() {
    let (folder, source, target, bytes) = with_old_file();
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode(folder.path(), 0o555);
    set_mode(&source, 0o444);
    set_mode(&target, 0o666);
    // Nothing keeps the superuser from making a file.
    let command = if File::create_new(folder.path().join("attempt")).is_ok() {
        copy_as_nobody(folder.path())
    } else {
        let mut command = copy([""; 0]);
        command.current_dir(folder.path());
        Some(command)
    };
    if let Some(mut command) = command {
        let output = command.args(["source", "target"]).output();
        expect_in_place(&Run::of(output.unwrap()).expect(0), "folder");
        assert_eq!(fs::read(&target).unwrap(), bytes);
    }
    set_mode(folder.path(), 0o755);
}

#[test]
fn a_name_that_is_too_long_beside_means_in_place() {
    let (folder, source, bytes) = folder_with(1000);
    let target = folder.path().join("n".repeat(250));
    // New, and then old.
    for _ in 0..2 {
        let run = run([file(&source), file(&target)]).expect(0);
        expect_in_place(&run, "name");
        assert_eq!(fs::read(&target).unwrap(), bytes);
    }
}

/// A bind-mounted file, as container runtimes have for single files: its rename would fail at the very end.
#[test]
fn a_file_that_is_mounted_by_itself_is_written_in_place() {
    let (folder, _, target, bytes) = with_old_file();
    fs::write(folder.path().join("inside"), "inside").unwrap();
    let line = "exec unshare -m sh -c 'mount --bind inside target && echo ready && exec \"$W\" copy --report json source target'";
    let output = shell(folder.path(), line);
    if BufReader::new(&*output.stdout).lines().next().is_none() {
        println!("skipped: we may mount nothing here");
        return;
    }
    let run = Run::of(output).expect(0);
    expect_in_place(&run, "mount");
    assert_eq!(fs::read(&target).unwrap(), b"old");
    assert_eq!(fs::read(folder.path().join("inside")).unwrap(), bytes);
}

#[test]
fn a_refused_copy_leaves_no_partial() {
    let (folder, source, target, bytes) = with_old_file();
    for line in [
        "$W copy source target new exec:no-such-program",
        "$W copy source target missing/new",
        "$W copy target target",
        "$W copy source target ./target",
    ] {
        let output = shell(folder.path(), line);
        assert_eq!(output.status.code(), Some(3), "{line}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "{line}");
        assert_eq!(fs::read(&target).unwrap(), b"old", "{line}");
        assert_eq!(fs::read(&source).unwrap(), bytes, "{line}");
    }
}
