//! What a local socket's peer has not read, out of the kernel's list of sockets, which `ss` shows (sock_diag(7)).
//!
//! The socket itself cannot tell: SIOCOUTQ counts the memory of what was sent, and that is freed by the piece, when all of it has been
//! read. Never here: the question whether anything is unread at all, which SIOCOUTQ answers.

use super::classify::Call;
use crate::fault::fallible;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::os::fd::OwnedFd;

/// A request, and no dump of all sockets (`NLM_F_REQUEST`, include/uapi/linux/netlink.h).
const IS_REQUEST: u16 = 1;
/// `SOCK_DIAG_BY_FAMILY` (include/uapi/linux/sock_diag.h), the type of the request and of its answer.
const BY_FAMILY: u16 = 20;
/// `AF_UNIX`, as one byte.
const LOCAL: u8 = 1;
/// Sockets in any state.
const ANY_STATE: u32 = u32::MAX;
/// The number is enough: no socket of the same number was there before (`INET_DIAG_NOCOOKIE`).
const NO_COOKIE: u64 = u64::MAX;

/// What can be asked (include/uapi/linux/unix_diag.h): the flag that asks for it, and the attribute that answers.
#[derive(Clone, Copy)]
struct Question {
    flag: u32,
    attribute: u16,
}

/// The number of the socket's peer (`UDIAG_SHOW_PEER`, `UNIX_DIAG_PEER`).
const PEER: Question = Question {
    flag: 0x4,
    attribute: 2,
};
/// How many bytes the socket has to read (`UDIAG_SHOW_RQLEN`, `UNIX_DIAG_RQLEN`), and behind them what it has sent.
const UNREAD: Question = Question {
    flag: 0x10,
    attribute: 4,
};

/// struct nlmsghdr and struct `unix_diag_req`.
const REQUEST_BYTES: u32 = 16 + 24;
/// struct nlmsghdr and struct `unix_diag_msg`.
const ANSWER_HEAD_BYTES: usize = 16 + 16;
/// struct nlattr.
const ATTRIBUTE_HEAD_BYTES: usize = 4;
/// Attributes begin at multiples of this.
const ATTRIBUTE_ALIGNMENT: usize = 4;
/// More than an answer to either question has.
const ANSWER_BYTES_MAX: usize = 512;

/// socket, send, recv: how many bytes the peer of the socket with this number has not read. The kernel answers within the send.
pub(super) fn unread_by_peer(inode: u32) -> Option<u64> {
    let made = fallible("socket (sock_diag)", Call::Make, || {
        socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )
    });
    let socket = made.ok()?;
    let peer = ask(&socket, inode, PEER)?;
    ask(&socket, peer, UNREAD).map(u64::from)
}

fn ask(socket: &OwnedFd, inode: u32, question: Question) -> Option<u32> {
    let request = request(inode, question.flag);
    let sent = fallible("send (sock_diag)", Call::Write, || {
        send(socket, &request, SendFlags::DONTWAIT)
    });
    sent.ok()?;
    let mut answer = [0_u8; ANSWER_BYTES_MAX];
    let received = fallible("recv (sock_diag)", Call::Read, || {
        recv(socket, &mut answer[..], RecvFlags::DONTWAIT)
    });
    let (len, _) = received.ok()?;
    attribute_of(answer.get(..len)?, question.attribute)
}

fn request(inode: u32, flag: u32) -> Vec<u8> {
    let parts: [&[u8]; 9] = [
        &REQUEST_BYTES.to_ne_bytes(),
        &BY_FAMILY.to_ne_bytes(),
        &IS_REQUEST.to_ne_bytes(),
        // The request's number and its sender's, which the kernel knows.
        &[0; 8],
        &[LOCAL, 0, 0, 0],
        &ANY_STATE.to_ne_bytes(),
        &inode.to_ne_bytes(),
        &flag.to_ne_bytes(),
        &NO_COOKIE.to_ne_bytes(),
    ];
    parts.concat()
}

/// The first number in an attribute of an answer. A refusal has another type and none.
fn attribute_of(answer: &[u8], wanted: u16) -> Option<u32> {
    if u16_at(answer, 4)? != BY_FAMILY {
        return None;
    }
    let mut rest = answer.get(ANSWER_HEAD_BYTES..)?;
    loop {
        let (len, kind) = (u16_at(rest, 0)?, u16_at(rest, 2)?);
        let len = usize::from(len).max(ATTRIBUTE_HEAD_BYTES);
        if kind == wanted {
            return u32_at(rest.get(..len)?, ATTRIBUTE_HEAD_BYTES);
        }
        rest = rest.get(len.next_multiple_of(ATTRIBUTE_ALIGNMENT)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*two))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*four))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer of this type, with attributes: each one's length, kind and first number.
    fn answer(kind: u16, attributes: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut answer = vec![0; ANSWER_HEAD_BYTES];
        answer[4..6].copy_from_slice(&kind.to_ne_bytes());
        for (len, kind, number) in attributes {
            answer.extend(len.to_ne_bytes());
            answer.extend(kind.to_ne_bytes());
            answer.extend(number.to_ne_bytes());
        }
        answer
    }

    #[test]
    fn of_an_answer_only_the_wanted_attribute_counts() {
        let known = answer(BY_FAMILY, &[(8, 2, 77), (5, 6, 0), (8, 4, 3)]);
        assert_eq!(attribute_of(&known, PEER.attribute), Some(77));
        assert_eq!(attribute_of(&known, UNREAD.attribute), Some(3));
        assert_eq!(attribute_of(&known, 3), None);
        // NLMSG_ERROR: there is no such socket.
        let refused = answer(2, &[(8, 2, 77)]);
        assert_eq!(attribute_of(&refused, PEER.attribute), None);
    }

    #[test]
    fn an_answer_that_is_cut_or_makes_no_sense_tells_nothing() {
        let known = answer(BY_FAMILY, &[(8, 6, 0), (8, 2, 77)]);
        for len in 0..known.len() {
            assert_eq!(attribute_of(&known[..len], PEER.attribute), None, "{len}");
        }
        for len in [0, 3, 4, 7, 200, u16::MAX] {
            let odd = answer(BY_FAMILY, &[(len, 2, 77)]);
            assert_eq!(attribute_of(&odd, PEER.attribute), None, "{len}");
        }
    }
}
