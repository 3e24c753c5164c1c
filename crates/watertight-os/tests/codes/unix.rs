//! Unix: an errno is from 1 to 4095, as the kernel hands it out.

use rustix::io::Errno;
use watertight_core::{Class, OsCode, Outcome};
use watertight_os::classify::{Call, classify};

pub(super) fn check(call: u8, code: u32) {
    let call = Call::ALL[usize::from(call) % Call::ALL.len()];
    let raw = i32::try_from(1 + code % 4095).unwrap();
    let errno = Errno::from_raw_os_error(raw);
    let class = classify(call, errno);
    assert_eq!(class, classify(call, errno), "not stable");
    // No errno says that something was done, is there, or will come by itself.
    assert!(!matches!(
        class,
        Class::EndOfStream | Class::Partial | Class::Pending
    ));
    match class {
        Class::Interrupted => assert!(errno == Errno::INTR && call != Call::Close),
        Class::Wait => assert!(errno == Errno::AGAIN || errno == Errno::WOULDBLOCK),
        _ => {}
    }
    // Whatever it is, who gets it as the end of an operation gets an error with its number.
    let cause = Outcome::failed(class, Some(OsCode(raw))).cause().unwrap();
    assert_eq!(cause.os, Some(OsCode(raw)));
    // Linux gives out nothing above EHWPOISON, 133; the others are nobody's.
    if cfg!(target_os = "linux") && raw > 133 {
        assert_eq!(class, Class::Io, "{raw} on {call:?}");
    }
}
