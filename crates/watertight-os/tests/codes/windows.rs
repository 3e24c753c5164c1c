//! Windows: any 32 bits are a code, and there are calls that say with a code that they succeeded.

#[cfg(not(windows))]
use bytes::Bytes;
#[cfg(windows)]
use watertight_os::classify as table;
#[cfg(not(windows))]
use watertight_os::windows::{answer, classify as table};

use table::{Call, classify, is_success};
use watertight_core::Class;
#[cfg(not(windows))]
use watertight_core::{ErrorKind, Moved, OsCode, Outcome};

/// The largest code that means something to us.
const CODE_MAX: u32 = 2250;

pub(super) fn check(call: u8, code: u32, rest: [u8; 4]) {
    let call = Call::ALL[usize::from(call) % Call::ALL.len()];
    // Half of the time a small one, for nearly all that mean something are.
    let code = if rest[0] & 1 == 0 {
        code
    } else {
        code % (CODE_MAX + 2)
    };
    let class = classify(call, code);
    assert_eq!(class, classify(call, code), "not stable");
    let succeeded = matches!(
        (call, code),
        (_, 0) | (Call::Cancel, 1168) | (Call::Connect, 232 | 535)
    );
    assert_eq!(is_success(call, code), succeeded, "{code} on {call:?}");
    if succeeded || code > CODE_MAX {
        assert_eq!(class, Class::Io, "{code} on {call:?}");
    }
    let known = match class {
        Class::EndOfStream => call == Call::Read && matches!(code, 38 | 109),
        Class::Partial => matches!(call, Call::Query | Call::Read) && code == 234,
        Class::Pending => matches!(code, 258 | 996 | 997),
        Class::Wait => matches!((call, code), (Call::Read, 232) | (Call::Connect, 536)),
        Class::Interrupted | Class::WrongProcess => false,
        _ => true,
    };
    assert!(known, "{code} on {call:?} is {class:?}");
    answers(code, rest);
}

/// There the answers are the backend's own.
#[cfg(windows)]
fn answers(_: u32, _: [u8; 4]) {}

#[cfg(not(windows))]
fn answers(code: u32, [flags, len, count, bytes]: [u8; 4]) {
    let data = Bytes::from(vec![7; usize::from(len)]);
    let empty_ends = flags & 2 == 0;
    let os = Some(OsCode(code.cast_signed()));
    match answer::read(code, data.clone(), empty_ends) {
        Outcome::Data(told) => assert!(told == data && len > 0 && matches!(code, 0 | 234)),
        Outcome::EndOfStream => {
            let empty = code == 0 && len == 0 && empty_ends;
            assert!(empty || matches!(code, 38 | 109));
        }
        Outcome::Ready => assert!(len == 0 && matches!(code, 0 | 234)),
        Outcome::Failed { os: told, .. } => assert!(code != 0 && told == os),
        other => panic!("a read is not answered by {other:?}"),
    }
    let moved = if flags & 4 == 0 {
        Moved::Unknown
    } else {
        Moved::Exactly(u64::from(count.min(bytes)))
    };
    match answer::write(code, u64::from(count), u64::from(bytes), moved) {
        Outcome::Transferred(told) => {
            assert!(code == 0 && told == u64::from(count.min(bytes)));
            assert!(told > 0 || bytes == 0, "success without progress");
        }
        outcome @ Outcome::Failed { .. } => {
            let cause = outcome.cause().unwrap();
            assert!(cause.os == os || (code == 0 && count == 0 && cause.kind == ErrorKind::Os));
        }
        other => panic!("a write is not answered by {other:?}"),
    }
}
