//! `--sync`: what is brought to the disk before success is said, and in which order. Without it nothing is waited for.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::{Run, file, folder_with, strace};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const SYNC: &str = "fsync,fdatasync";
const RENAME: &str = "?rename,?renameat,renameat2";
/// The calls by which a file may get its bytes, or lose them.
const WRITE: &str =
    "write,writev,?pwrite64,?pwritev,?pwritev2,?sendfile,?splice,?copy_file_range,?ftruncate";

/// A source, and a folder with one file.
struct Place {
    _folder: TempDir,
    source: PathBuf,
    log: PathBuf,
    made: PathBuf,
}

impl Place {
    fn new() -> Self {
        let (folder, source, _) = folder_with(1000);
        // As strace names it.
        let path = folder.path().canonicalize().unwrap();
        let made = path.join("made");
        fs::create_dir(&made).unwrap();
        fs::write(made.join("old"), "old").unwrap();
        Self {
            _folder: folder,
            source,
            log: path.join("calls"),
            made,
        }
    }

    /// A copy of standard input. What was done in the folder, in order: `write`, `rename`, `sync NAME`; several of a kind in a row are one.
    fn steps(&self, options: &[&str], address: &str, code: i32) -> Vec<String> {
        let names = ["", "new", "new.partial", "old", "old.partial", "out"];
        let about = names.map(|name| self.path(name).to_str().unwrap().to_owned());
        let about: Vec<&str> = about.iter().map(String::as_str).collect();
        let calls = [SYNC, RENAME, WRITE].join(",");
        let mut command = strace::copy(&self.log, &calls, &[], &about);
        command
            .args(options)
            .args(["-", address])
            .stdin(File::open(&self.source).unwrap())
            .stdout(File::create(self.made.join("out")).unwrap());
        Run::of(command.output().unwrap()).expect(code);
        let log = fs::read_to_string(&self.log).unwrap();
        let steps = log.lines().filter_map(|line| step(line, &self.made));
        let mut steps: Vec<String> = steps.collect();
        steps.dedup();
        steps
    }

    /// A path in the folder, or the folder's.
    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() {
            self.made.clone()
        } else {
            self.made.join(name)
        }
    }

    fn address(&self, name: &str, option: &str) -> String {
        file(&self.path(name)) + option
    }
}

/// What a line of strace's log says was done in the folder.
fn step(line: &str, folder: &Path) -> Option<String> {
    // The number of the thread is in front, and a call that was interrupted by another one's has two lines.
    let (_, call) = line.split_once(' ')?;
    let call = call.trim_start();
    let (name, arguments) = call.split_once('(')?;
    match name {
        "fsync" | "fdatasync" => {
            let path = arguments.split(['<', '>']).nth(1)?;
            let name = Path::new(path).strip_prefix(folder).unwrap();
            Some(format!("sync {}", name.display()))
        }
        "rename" | "renameat" | "renameat2" => Some("rename".to_owned()),
        _ => Some("write".to_owned()),
    }
}

#[test]
fn the_file_is_synced_before_it_has_its_name_and_the_folder_after_that() {
    if !strace::may_trace() {
        return;
    }
    for (name, option) in [("new", ""), ("old", ""), ("new", ",exclusive")] {
        let place = Place::new();
        let steps = place.steps(&["--sync"], &place.address(name, option), 0);
        let of_file = format!("sync {name}.partial");
        let expected = ["write", &of_file, "rename", "sync "];
        assert_eq!(steps, expected, "{name}{option}");
        let place = Place::new();
        let steps = place.steps(&[], &place.address(name, option), 0);
        assert_eq!(steps, ["write", "rename"], "{name}{option}");
    }
}

#[test]
fn a_file_that_is_written_in_place_is_synced_and_a_new_ones_folder() {
    if !strace::may_trace() {
        return;
    }
    for (name, option, synced) in [
        ("new", ",inplace", &["sync new", "sync "][..]),
        ("old", ",inplace", &["sync old"][..]),
        ("old", ",append", &["sync old"][..]),
    ] {
        let place = Place::new();
        let steps = place.steps(&["--sync"], &place.address(name, option), 0);
        let expected = [&["write"][..], synced].concat();
        assert_eq!(steps, expected, "{name}{option}");
        let place = Place::new();
        let steps = place.steps(&[], &place.address(name, option), 0);
        assert_eq!(steps, ["write"], "{name}{option}");
    }
}

/// What is not whole gets no name, and nothing is claimed of it.
#[test]
fn what_is_not_whole_is_not_synced() {
    if !strace::may_trace() {
        return;
    }
    let place = Place::new();
    let options = ["--sync", "--expect-bytes", "7"];
    let steps = place.steps(&options, &place.address("new", ""), 7);
    assert_eq!(steps, ["write"]);
}

/// An empty file is a file.
#[test]
fn an_empty_copy_is_on_the_disk_too() {
    if !strace::may_trace() {
        return;
    }
    let place = Place::new();
    File::create(&place.source).unwrap();
    let steps = place.steps(&["--sync"], &place.address("new", ""), 0);
    assert_eq!(steps, ["sync new.partial", "rename", "sync "]);
}

/// The shell has opened it. Where it has its name nobody knows.
#[test]
fn a_file_that_we_were_started_with_is_synced() {
    if !strace::may_trace() {
        return;
    }
    let place = Place::new();
    let steps = place.steps(&["--sync"], "-", 0);
    assert_eq!(steps, ["write", "sync out"]);
    File::create(&place.source).unwrap();
    assert_eq!(place.steps(&["--sync"], "-", 0), ["sync out"]);
    let place = Place::new();
    assert_eq!(place.steps(&[], "-", 0), ["write"]);
}

/// A pipe has nothing to sync, and is no failure.
#[test]
fn a_file_that_we_were_started_with_and_cannot_be_synced_is_no_success() {
    if !strace::may_trace() {
        return;
    }
    let place = Place::new();
    let mut command = strace::copy(&place.log, "fsync", &["fsync:error=EIO"], &[]);
    command.args(["--sync", "-", "-"]);
    command.stdin(File::open(&place.source).unwrap());
    let run = Run::of(command.output().unwrap()).expect(0);
    assert_eq!(run.stdout.len(), 1000);
    command.stdin(File::open(&place.source).unwrap());
    command.stdout(File::create(place.path("out")).unwrap());
    let run = Run::of(command.output().unwrap()).expect(5);
    assert_eq!(run.destination(0)["ending"], "failed", "{}", run.report);
    let error = run.destination(0)["error"].as_str().unwrap();
    assert!(error.contains("cannot sync the file"), "{error}");
    assert_eq!(run.count(0, "transferred"), 1000);
    assert_eq!(fs::read(place.path("out")).unwrap().len(), 1000);
}
