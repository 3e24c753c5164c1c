//! Adopting handles and giving them back: what does not fit comes back untouched.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests state their expectations this way, in their helpers too"
)]

use crate::windows_lab::*;
use watertight_core::{Class, OpKind};
use watertight_os::{Direction, Step};
use windows_sys::Win32::System::Pipes::{
    PIPE_NOWAIT, PIPE_READMODE_MESSAGE, PIPE_TYPE_MESSAGE, PIPE_WAIT,
};

#[test]
fn adopting_twice_gives_the_second_handle_back() {
    take_turn();
    let mut lab = Lab::new();
    let (server, client) = named_pipe(PIPE_WAIT);
    let second = duplicate(&client);
    let writing = lab.native.adopt(client, Direction::Write).unwrap();
    let refused = lab.native.adopt(second, Direction::Write).unwrap_err();
    assert_eq!(refused.error.step, Step::AssociatePort);
    assert_eq!(refused.error.class, Class::Argument);
    assert_eq!(refused.error.os.map(|os| os.0), Some(87));

    // The handle is open still: it alone keeps the pipe from ending.
    let reading = lab.native.adopt(server, Direction::Read).unwrap();
    let (reading, writing) = (lab.end(reading), lab.end(writing));
    lab.close(writing);
    assert_in_flight(&lab.submit_read(&reading));
    lab.assert_quiet();
    drop(refused);
    assert_end(&lab.answer(reading.id(OpKind::Read)));
}

#[test]
fn a_handle_that_never_answers_is_refused() {
    take_turn();
    let lab = Lab::new();
    let (_server, client) = named_pipe(PIPE_WAIT);
    skip_packets(&client);
    // The mode belongs to the file, so a duplicate has it too.
    for handle in [duplicate(&client), client] {
        let refused = lab.native.adopt(handle, Direction::Write).unwrap_err();
        assert_eq!(
            (refused.error.step, refused.error.class),
            (Step::Inspect, Class::Unsupported)
        );
    }
}

/// Its handle looks like a pipe's, and is not closed like one's.
#[test]
fn a_socket_is_refused_and_stays_as_it_was() {
    use std::os::windows::io::{AsRawSocket, FromRawHandle, OwnedHandle, RawHandle};
    take_turn();
    let lab = Lab::new();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let socket = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    for direction in [Direction::Read, Direction::Write] {
        // SAFETY: the socket is open; the handle made of its number is kept below, and never closed.
        let handle = unsafe { OwnedHandle::from_raw_handle(socket.as_raw_socket() as RawHandle) };
        let refused = lab.native.adopt(handle, direction).unwrap_err();
        let _kept = std::mem::ManuallyDrop::new(refused.handle);
        assert_eq!(
            (refused.error.step, refused.error.class),
            (Step::Inspect, Class::Argument)
        );
    }
    let (mut peer, _) = listener.accept().unwrap();
    std::io::Write::write_all(&mut &socket, b"open").unwrap();
    let mut buf = [0; 4];
    std::io::Read::read_exact(&mut peer, &mut buf).unwrap();
    assert_eq!(&buf, b"open");
}

#[test]
fn a_pipe_of_messages_is_not_written() {
    take_turn();
    let lab = Lab::new();
    let (server, client) = named_pipe(PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT);
    let refused = lab.native.adopt(client, Direction::Write).unwrap_err();
    assert_eq!(
        (refused.error.step, refused.error.class),
        (Step::Inspect, Class::Unsupported)
    );
    lab.native.adopt(server, Direction::Read).unwrap();
}

#[test]
fn an_adoption_that_fails_leaves_the_handle_inheritable() {
    take_turn();
    let mut lab = Lab::new();
    let (_server, client) = named_pipe(PIPE_WAIT);
    let second = duplicate(&client);
    set_inherited(&second, true);
    let first = lab.native.adopt(client, Direction::Write).unwrap();
    let refused = lab.native.adopt(second, Direction::Write).unwrap_err();
    assert_eq!(refused.error.step, Step::AssociatePort);
    assert!(is_inherited(&refused.handle));
    let first = lab.end(first);
    lab.close(first);
}

#[test]
fn a_handle_comes_back_open() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = lab.native.pipe().unwrap();
    let os = writing.into_os();
    let reading = lab.end(reading);
    assert_in_flight(&lab.submit_read(&reading));
    lab.assert_quiet();
    drop(os);
    assert_end(&lab.answer(reading.id(OpKind::Read)));
}

#[test]
fn handles_that_do_not_fit_come_back() {
    take_turn();
    let lab = Lab::new();
    let (server, client) = named_pipe(PIPE_WAIT);

    let refused = lab.native.adopt(client, Direction::Read).unwrap_err();
    assert_eq!(refused.error.step, Step::InspectAccess);
    assert_eq!(refused.error.class, Class::Argument);
    assert_eq!(refused.error.os.map(|os| os.0), Some(5));
    lab.native.adopt(refused.handle, Direction::Write).unwrap();
    let refused = lab.native.adopt(server, Direction::Write).unwrap_err();
    lab.native.adopt(refused.handle, Direction::Read).unwrap();

    let refused = lab.native.adopt(event(), Direction::Read).unwrap_err();
    assert_eq!(
        (refused.error.step, refused.error.class),
        (Step::Inspect, Class::Bug)
    );
    assert_eq!(refused.error.os.map(|os| os.0), Some(6));

    // In PIPE_NOWAIT mode a write "succeeds" with no bytes taken.
    let (server, _client) = named_pipe(PIPE_NOWAIT);
    let refused = lab.native.adopt(server, Direction::Read).unwrap_err();
    assert_eq!(
        (refused.error.step, refused.error.class),
        (Step::Inspect, Class::Argument)
    );
}
