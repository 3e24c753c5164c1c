//! What a file has that a new one in its place would lack, on Windows: it is kept, or the file is written in place, or refused.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::{Run, copy, file, folder_with, partial, run};
use std::fs::{self, File, OpenOptions};
use std::os::windows::fs::{MetadataExt, OpenOptionsExt, symlink_file};
use std::os::windows::io::AsHandle;
use std::path::{Path, PathBuf};

/// FILE_ATTRIBUTE_READONLY.
const READ_ONLY: u32 = 0x1;
/// FILE_ATTRIBUTE_HIDDEN, _SYSTEM, both, and _TEMPORARY, which a new file is not given.
const ATTRIBUTES: [u32; 4] = [0x2, 0x4, 0x2 | 0x4, 0x100];

/// READ_CONTROL and WRITE_DAC: a file's security is read, and its access list is set.
const READ_SECURITY: u32 = 0x2_0000;
const SET_LIST: u32 = 0x4_0000;

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

/// A file's owner, its access list and all that is asked for with them.
fn security_of(path: &Path) -> Vec<u8> {
    let mut options = OpenOptions::new();
    let file = options.access_mode(READ_SECURITY).open(path).unwrap();
    watertight_os::file_security(file.as_handle()).unwrap()
}

/// Gives a file an access list of its own.
fn give_list(path: &Path) {
    let mut options = OpenOptions::new();
    let rights = READ_SECURITY | SET_LIST;
    let file = options.access_mode(rights).open(path).unwrap();
    watertight_os::let_everybody_in_for_a_test(file.as_handle()).unwrap();
}

/// Makes an old file with these attributes. False: they are not to be had here.
fn make(path: &Path, attributes: u32) -> bool {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).attributes(attributes);
    drop(options.open(path).unwrap());
    let found = attributes_of(path) & attributes;
    if found != attributes {
        println!("skipped: a file has no attributes {attributes:#x} here");
        fs::remove_file(path).unwrap();
    }
    found == attributes
}

fn attributes_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().file_attributes()
}

#[test]
fn a_file_with_other_links_keeps_them() {
    let (folder, source, bytes) = folder_with(1000);
    let (target, other) = (folder.path().join("target"), folder.path().join("other"));
    fs::write(&target, "old").unwrap();
    if let Err(error) = fs::hard_link(&target, &other) {
        println!("skipped: a file has no further links here: {error}");
        return;
    }
    let run = run([file(&source), file(&target)]).expect(0);
    assert_eq!(run.destination(0)["how"], "in_place", "{}", run.report);
    assert_eq!(run.destination(0)["in_place_reason"], "links");
    assert!(fs::read(&target).unwrap() == bytes);
    assert!(fs::read(&other).unwrap() == bytes);
    // Whoever has the other name would get what is written to this one.
    let new = folder.path().join("new");
    fs::hard_link(&other, partial(&new)).unwrap();
    let run = crate::harness::run([file(&source), file(&new) + ",resume"]).expect(3);
    let error = run.destination(0)["error"].as_str().unwrap();
    assert!(error.contains("other links"), "{error}");
    assert!(fs::read(&other).unwrap() == bytes);
}

#[test]
fn attributes_are_kept() {
    for attributes in ATTRIBUTES {
        let (folder, source, bytes) = folder_with(1000);
        let target = folder.path().join("target");
        if !make(&target, attributes) {
            continue;
        }
        let run = run([file(&source), file(&target)]).expect(0);
        assert_eq!(attributes_of(&target) & attributes, attributes);
        assert!(fs::read(&target).unwrap() == bytes);
        assert!(!partial(&target).exists());
        let destination = run.destination(0);
        // What a new file cannot be given means in place.
        if destination["how"] != "renamed" {
            assert_eq!(destination["how"], "in_place", "{destination}");
            assert_eq!(destination["in_place_reason"], "file_attributes");
        }
    }
}

#[test]
fn a_file_with_nothing_of_its_own_is_replaced() {
    let (_folder, source, target, bytes) = with_old_file();
    let before = security_of(&target);
    let run = run([file(&source), file(&target)]).expect(0);
    assert_eq!(run.destination(0)["how"], "renamed", "{}", run.report);
    assert!(fs::read(&target).unwrap() == bytes);
    assert_eq!(security_of(&target), before);
}

#[test]
fn an_access_list_of_its_own_is_kept() {
    let (_folder, source, target, bytes) = with_old_file();
    let plain = security_of(&target);
    give_list(&target);
    let own = security_of(&target);
    if own == plain {
        println!("skipped: a file has no access list of its own here");
        return;
    }
    let run = run([file(&source), file(&target)]).expect(0);
    expect_in_place(&run, "access_list");
    assert!(fs::read(&target).unwrap() == bytes);
    assert_eq!(security_of(&target), own);
    assert!(!partial(&target).exists());
    // What a cut copy left cannot take its place either.
    fs::write(partial(&target), &bytes[..10]).unwrap();
    let run = crate::harness::run([file(&source), file(&target) + ",resume"]).expect(3);
    let error = run.destination(0)["error"].as_str().unwrap();
    assert!(error.contains("access list"), "{error}");
    assert_eq!(fs::read(partial(&target)).unwrap(), bytes[..10]);
    assert_eq!(security_of(&target), own);
}

#[test]
fn a_file_with_further_streams_keeps_them() {
    let (folder, source, target, bytes) = with_old_file();
    let stream = folder.path().join("target:mark");
    let names = || fs::read_dir(folder.path()).unwrap().count();
    let before = names();
    if let Err(error) = fs::write(&stream, "more") {
        println!("skipped: a file has no further streams here: {error}");
        return;
    }
    if names() != before {
        println!("skipped: what looks like a stream's name is another file's here");
        fs::remove_file(&stream).unwrap();
        return;
    }
    let run = run([file(&source), file(&target)]).expect(0);
    expect_in_place(&run, "streams");
    assert!(fs::read(&target).unwrap() == bytes);
    assert_eq!(fs::read(&stream).unwrap(), b"more");
    assert!(!partial(&target).exists());
}

#[test]
fn a_link_stays_a_link() {
    let (folder, source, target, bytes) = with_old_file();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    for (name, leads_to) in [("link", "target"), ("dangling", "new")] {
        let (link, leads_to) = (inner.join(name), folder.path().join(leads_to));
        let made = symlink_file(Path::new("..").join(leads_to.file_name().unwrap()), &link);
        let is_link = || fs::symlink_metadata(&link).is_ok_and(|known| known.is_symlink());
        if made.is_err() || !is_link() {
            println!("skipped: we can make no symbolic links here: {made:?}");
            return;
        }
        let run = run([file(&source), file(&link)]).expect(0);
        assert_eq!(run.destination(0)["how"], "renamed", "{}", run.report);
        assert!(is_link());
        assert!(fs::read(&leads_to).unwrap() == bytes);
        assert!(!partial(&link).exists());
    }
    assert!(!partial(&target).exists());
}

#[test]
fn a_partial_of_somebody_else_is_never_touched() {
    let (folder, source, target, _) = with_old_file();
    let new = folder.path().join("new");
    for path in [&target, &new] {
        fs::write(partial(path), "theirs").unwrap();
        let run = run([file(&source), file(path)]).expect(3);
        let error = run.destination(0)["error"].as_str().unwrap();
        assert!(error.contains("remove it"), "{error}");
        assert_eq!(fs::read(partial(path)).unwrap(), b"theirs");
    }
    assert_eq!(fs::read(&target).unwrap(), b"old");
    assert!(!new.exists());
}

#[test]
fn an_exclusive_destination_never_replaces_a_file() {
    let (folder, source, target, bytes) = with_old_file();
    run([file(&source), file(&target) + ",exclusive"]).expect(3);
    assert_eq!(fs::read(&target).unwrap(), b"old");
    let new = folder.path().join("new");
    let run = run([file(&source), file(&new) + ",exclusive"]).expect(0);
    assert_eq!(run.destination(0)["how"], "renamed", "{}", run.report);
    assert!(fs::read(&new).unwrap() == bytes);
    for path in [&target, &new] {
        assert!(!partial(path).exists());
    }
}

#[test]
fn a_read_only_file_stays_as_it_is() {
    let (folder, source, _) = folder_with(1000);
    let target = folder.path().join("target");
    fs::write(&target, "old").unwrap();
    let before = fs::metadata(&target).unwrap().permissions();
    let mut read_only = before.clone();
    read_only.set_readonly(true);
    fs::set_permissions(&target, read_only).unwrap();
    let is_refused = OpenOptions::new().write(true).open(&target).is_err();
    if is_refused {
        let run = run([file(&source), file(&target)]).expect(3);
        let error = run.destination(0)["error"].as_str().unwrap();
        assert!(error.contains("permissions"), "{error}");
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert_eq!(attributes_of(&target) & READ_ONLY, READ_ONLY);
        assert!(!partial(&target).exists());
    } else {
        println!("skipped: nothing keeps us from writing to a read-only file here");
    }
    // So that it can be removed.
    fs::set_permissions(&target, before).unwrap();
}

/// Flushed while it is open, given its name, and flushed again; a pipe is not, which would wait for its reader.
#[test]
fn what_can_be_synced_is_and_the_copy_is_well() {
    let (folder, source, target, bytes) = with_old_file();
    let new = folder.path().join("new");
    for path in [&target, &new] {
        let run = run(["--sync".to_owned(), file(&source), file(path)]).expect(0);
        assert_eq!(run.destination(0)["how"], "renamed", "{}", run.report);
        assert!(fs::read(path).unwrap() == bytes);
    }
    let to_ours = || copy(["--sync".to_owned(), file(&source), "-".to_owned()]);
    let piped = Run::of(to_ours().output().unwrap()).expect(0);
    assert!(piped.stdout == bytes);
    let path = folder.path().join("out");
    let output = File::create(&path).unwrap();
    Run::of(to_ours().stdout(output).output().unwrap()).expect(0);
    assert!(fs::read(&path).unwrap() == bytes);
}
