//! Commands that `watertight run` cannot start: its exit code is that of `env`, and its message names what was refused.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::harness::{EXE, is_installed};
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A folder with what there is to be started.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let plain = place.join("plain");
    fs::write(&plain, "").unwrap();
    fs::set_permissions(&plain, Permissions::from_mode(0o644)).unwrap();
    symlink("circle", place.join("circle")).unwrap();
    let of_plain = format!("#!{}\n", plain.display());
    add_program(place, "of-plain", of_plain.as_bytes());
    add_program(place, "of-missing", b"#!/no/such\n");
    add_program(place, "of-folder", b"#!/\n");
    add_program(place, "of-windows", b"#!/bin/sh\r\nexit 0\r\n");
    folder
}

fn add_program(folder: &Path, name: &str, content: &[u8]) {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
}

/// The beginning of a program whose file ends before the name of its loader, if it has one.
fn cut_program() -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let program = File::open(EXE).unwrap();
    program.take(4096).read_to_end(&mut head).unwrap();
    let at = head.windows(4).position(|part| part == b"/lib")?;
    head.truncate(at);
    Some(head)
}

fn run(program: &str, folder: &Path) -> Output {
    let mut command = Command::new(EXE);
    command.args(["run", "--", program]).current_dir(folder);
    command.output().unwrap()
}

fn told(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn what_cannot_be_started_has_the_exit_code_that_env_gives_it() {
    let folder = folder();
    let long = "x".repeat(5000);
    let long_path = format!("./{long}");
    let mut programs = vec![
        ("", 127),
        ("no-such-program-here", 127),
        ("./missing", 127),
        ("./of-missing", 127),
        ("./of-windows", 127),
        ("/", 126),
        ("./plain", 126),
        ("./plain/below", 126),
        ("./circle", 126),
        (long.as_str(), 126),
        (long_path.as_str(), 126),
        ("./of-plain", 126),
        ("./of-folder", 126),
    ];
    match cut_program() {
        Some(head) => {
            add_program(folder.path(), "cut", &head);
            programs.push(("./cut", 126));
        }
        None => println!("skipped: no program with a loader to cut"),
    }
    let has_env = is_installed("env");
    if !has_env {
        println!("skipped: there is no env to compare with");
    }
    for (program, code) in programs {
        let output = run(program, folder.path());
        assert_eq!(output.status.code(), Some(code), "{}", told(&output));
        if has_env {
            let mut env = Command::new("env");
            let output = env.arg(program).current_dir(&folder).output().unwrap();
            assert_eq!(output.status.code(), Some(code), "{}", told(&output));
        }
    }
}

#[test]
fn what_the_system_refused_is_named() {
    let folder = folder();
    let plain = folder.path().join("plain");
    for (program, words) in [
        ("./missing", "there is no such program".to_owned()),
        ("./plain", "it may not be run".to_owned()),
        ("./circle", "no file can be found by its name".to_owned()),
        (
            "./of-missing",
            r#"run it cannot be run ("/no/such")"#.to_owned(),
        ),
        ("./of-plain", format!("run it cannot be run ({plain:?})")),
        (
            "./of-windows",
            r#"("/bin/sh\r", for the script's lines"#.to_owned(),
        ),
    ] {
        let output = run(program, folder.path());
        let told = told(&output);
        assert!(told.contains(&words) && !told.contains('\r'), "{told}");
    }
}

/// Nor is one made. The shell empties it.
#[test]
fn a_file_is_not_emptied_for_a_program_that_is_missing() {
    let folder = folder();
    let old = folder.path().join("old");
    fs::write(&old, "precious").unwrap();
    // As a whole line of shell is, in quotes, where its words are meant.
    let long = "x".repeat(300);
    let run = |program: &str| {
        let mut command = Command::new(EXE);
        command
            .args(["run", "--stdout", "old", "--stderr", "new", "--"])
            .arg(program)
            .current_dir(&folder)
            .stdin(Stdio::null());
        command.output().unwrap()
    };
    for (program, code) in [
        ("", 127),
        ("no-such-program-here", 127),
        ("./missing", 127),
        ("./plain/below", 126),
        ("./circle", 126),
        (long.as_str(), 126),
        ("/", 126),
        // Nobody may run it.
        ("./plain", 126),
    ] {
        let output = run(program);
        assert_eq!(output.status.code(), Some(code), "{}", told(&output));
        assert_eq!(fs::read(&old).unwrap(), b"precious", "{program}");
        assert!(!folder.path().join("new").exists(), "{program}");
    }
    // One that is there, by its path or by a search.
    for program in ["/bin/sh", "true"] {
        fs::write(&old, "precious").unwrap();
        let output = run(program);
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        assert_eq!(fs::read(&old).unwrap(), b"", "{program}");
    }
}

/// The start looks in folders of the C library's then.
#[cfg(target_os = "linux")]
#[test]
fn a_file_is_not_emptied_for_a_program_that_is_missing_where_there_is_no_path() {
    let folder = folder();
    let old = folder.path().join("old");
    for (program, code, content) in [("no-such-program-here", 127, "precious"), ("true", 0, "")] {
        fs::write(&old, "precious").unwrap();
        let mut command = Command::new(EXE);
        command
            .args(["run", "--stdout", "old", "--", program])
            .current_dir(&folder)
            .env_remove("PATH")
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", told(&output));
        assert_eq!(fs::read_to_string(&old).unwrap(), content, "{program}");
    }
}
