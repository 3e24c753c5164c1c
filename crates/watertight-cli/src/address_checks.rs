//! What must hold for every address anybody can write. A fuzz target includes this file.
#![allow(clippy::unwrap_used, reason = "a test names what it expects")]

use crate::address::{Address, FileMode, Place};
use crate::platform;
use std::ffi::OsString;

/// The first byte picks the role, the rest is the address.
pub(crate) fn check(bytes: &[u8]) {
    let Some((role, text)) = bytes.split_first() else {
        return;
    };
    // Not every text is a name everywhere.
    let Some(text) = platform::os_string(text) else {
        return;
    };
    let is_source = role % 2 == 0;
    match parse(is_source, &text) {
        Ok(address) => accepted(is_source, &text, &address),
        Err(complaint) => {
            assert!(!complaint.is_empty());
            assert!(
                !complaint.chars().any(char::is_control),
                "it leaves its line: {complaint:?}"
            );
        }
    }
}

fn parse(is_source: bool, text: &OsString) -> Result<Address, String> {
    if is_source {
        Address::source(text)
    } else {
        Address::destination(text)
    }
}

fn accepted(is_source: bool, text: &OsString, address: &Address) {
    assert_eq!(address.to_string(), text.to_string_lossy());
    let canonical = match &address.place {
        Place::File(path, mode) => {
            assert!(!path.as_os_str().is_empty());
            assert!(!(mode.exclusive && mode.must_exist));
            assert!(!(mode.resume && (mode.append || mode.exclusive || mode.in_place)));
            assert!(!is_source || *mode == FileMode::default());
            assert_eq!(address.path(), Some(path.as_path()));
            let mut canonical = quoted("file:", path.as_os_str().as_encoded_bytes());
            for (is_on, option) in [
                (mode.append, ",append"),
                (mode.must_exist, ",create=no"),
                (mode.exclusive, ",exclusive"),
                (mode.in_place, ",inplace"),
                (mode.resume, ",resume"),
            ] {
                if is_on {
                    canonical.extend_from_slice(option.as_bytes());
                }
            }
            canonical
        }
        Place::Fifo(path) => {
            assert!(!path.as_os_str().is_empty());
            assert_eq!(address.path(), Some(path.as_path()));
            quoted("fifo:", path.as_os_str().as_encoded_bytes())
        }
        Place::Fd(number) => {
            assert!(i32::try_from(*number).is_ok());
            assert_eq!(address.path(), None);
            if !platform::HAS_DESCRIPTORS {
                return;
            }
            format!("fd:{number}").into_bytes()
        }
        Place::Exec(command) => {
            assert!(!command.to_command().get_program().is_empty());
            assert_eq!(address.path(), None);
            return;
        }
    };
    // What is meant, written out in full, means the same.
    let canonical = platform::os_string(&canonical).unwrap();
    let again = parse(is_source, &canonical).unwrap();
    assert_eq!(format!("{:?}", again.place), format!("{:?}", address.place));
}

fn quoted(scheme: &str, name: &[u8]) -> Vec<u8> {
    let mut text = scheme.as_bytes().to_vec();
    for byte in name {
        text.push(*byte);
        if *byte == b',' {
            text.push(b',');
        }
    }
    text
}
