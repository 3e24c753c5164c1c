//! Whether somebody else may move the position of a file.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::turn::take_turn;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, Command, Stdio};
use watertight_os::may_share_position;

fn holder(file: &File) -> Child {
    let mut command = Command::new("sleep");
    command.arg("1000").stdin(file.try_clone().unwrap());
    command.stdout(Stdio::null()).spawn().unwrap()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_position_is_shared_with_whoever_has_the_description() {
    take_turn();
    let memory = rustix::fs::memfd_create("positions", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    File::from(memory.try_clone().unwrap())
        .write_all(b"some bytes")
        .unwrap();
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let mut file = File::open(&path).unwrap();
    assert!(!may_share_position(file.as_fd()));
    let child = holder(&file);
    assert!(may_share_position(file.as_fd()));
    // Of both it moves on.
    file.read_exact(&mut [0; 4]).unwrap();
    assert!(may_share_position(file.as_fd()));
    end(child);
    assert!(!may_share_position(file.as_fd()));

    let elsewhere = holder(&File::open(&path).unwrap());
    assert!(!may_share_position(file.as_fd()), "it is another place");
    let writes = File::options().write(true).open(&path).unwrap();
    assert!(!may_share_position(writes.as_fd()), "it only reads");
    end(elsewhere);

    let appends = File::options().append(true).open(&path).unwrap();
    let child = holder(&appends);
    assert!(!may_share_position(appends.as_fd()));
    end(child);
}
