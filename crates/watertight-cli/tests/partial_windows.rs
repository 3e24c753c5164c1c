//! What a file has that a new one in its place would lack, on Windows: it is kept, or the file is written in place, or refused.
#![cfg(windows)]
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

mod harness;

use harness::{file, folder_with, partial, run};
use std::fs::{self, OpenOptions};
use std::os::windows::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// FILE_ATTRIBUTE_READONLY.
const READ_ONLY: u32 = 0x1;
/// FILE_ATTRIBUTE_HIDDEN, _SYSTEM, both, and _TEMPORARY, which a new file is not given.
const ATTRIBUTES: [u32; 4] = [0x2, 0x4, 0x2 | 0x4, 0x100];

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
    let run = harness::run([file(&source), file(&new) + ",resume"]).expect(3);
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
    let (folder, source, bytes) = folder_with(1000);
    let target = folder.path().join("target");
    fs::write(&target, "old").unwrap();
    let run = run([file(&source), file(&target)]).expect(0);
    assert_eq!(run.destination(0)["how"], "renamed", "{}", run.report);
    assert!(fs::read(&target).unwrap() == bytes);
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
