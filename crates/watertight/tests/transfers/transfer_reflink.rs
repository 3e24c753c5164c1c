//! A transfer between two files of a file system that can have them share blocks (a reflink: btrfs, XFS, bcachefs).
//!
//! Skipped, with a word, where neither the temporary folder nor that of this program is on such a file system.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::files::Folder;
use crate::common::{Accounted, PATIENCE, noise};
use rustix::fs::ioctl_ficlone;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use watertight::{PipeReader, PipeWriter, transfer};

/// A new folder there, if its files can share blocks.
fn sharing(parent: PathBuf) -> Option<Folder> {
    let path = parent.join(format!("watertight-{}-reflink", std::process::id()));
    std::fs::create_dir(&path).ok()?;
    let folder = Folder(path);
    let (source, copy) = (folder.0.join("source"), folder.0.join("copy"));
    std::fs::write(&source, noise(4096, 81)).unwrap();
    let shared = ioctl_ficlone(File::create(copy).unwrap(), File::open(source).unwrap());
    shared.is_ok().then_some(folder)
}

/// The lines about a file's extents. None: there is nobody to ask.
fn extents(path: &Path) -> Option<Vec<String>> {
    let asked = Command::new("filefrag").arg("-v").arg(path).output().ok()?;
    let told = String::from_utf8(asked.stdout).unwrap();
    let is_extent = |line: &&str| line.trim_start().starts_with(|c: char| c.is_ascii_digit());
    let lines = told.lines().filter(is_extent).map(str::to_owned);
    asked.status.success().then(|| lines.collect())
}

#[test]
fn two_files_share_their_blocks_where_the_file_system_can_have_them_do_so() {
    const BYTES: usize = (3 << 20) + 5;
    let _accounted = Accounted::start();
    let program = std::env::current_exe().unwrap();
    let parents = [std::env::temp_dir(), program.parent().unwrap().to_owned()];
    let Some(folder) = parents.into_iter().find_map(sharing) else {
        println!("skipped: no file system here has files share blocks");
        return;
    };
    let (source, copy) = (folder.0.join("source"), folder.0.join("copy"));
    let data = noise(BYTES, 82);
    std::fs::write(&source, &data).unwrap();
    File::open(&source).unwrap().sync_all().unwrap();
    let from = PipeReader::adopt(File::open(&source).unwrap()).unwrap();
    let to = PipeWriter::adopt(File::create(&copy).unwrap()).unwrap();
    let moving = transfer(&from, &to).in_kernel_everywhere();
    let done = moving.within(PATIENCE).wait().unwrap();
    let bytes = BYTES as u64;
    assert_eq!((done.bytes, done.in_kernel), (bytes, bytes));
    let receipt = to.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete());
    assert!(std::fs::read(&copy).unwrap() == data);
    File::open(&copy).unwrap().sync_all().unwrap();
    match extents(&copy) {
        None => println!("skipped: there is no filefrag that tells what a file shares"),
        Some(extents) => {
            let is_shared = |extent: &String| extent.contains("shared");
            let are_shared = !extents.is_empty() && extents.iter().all(is_shared);
            assert!(are_shared, "{extents:#?}");
        }
    }
}
