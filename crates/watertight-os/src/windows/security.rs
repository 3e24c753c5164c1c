//! Who may open what we make: the owner-only security descriptor, and names that nobody can guess (guarantee G6).

use super::classify::{Call, classified};
use super::sys::last_error;
use crate::fault::fallible;
use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};
use watertight_core::{Class, OsCode};
use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::Cryptography::ProcessPrng;
use windows_sys::core::{PCWSTR, w};

/// All rights to the owner and none to anybody else; nothing is inherited from elsewhere (P).
///
/// S-1-3-4 ("owner rights") rather than the user of the process's token: the system takes the owner from the token that
/// makes the pipe, so that it fits a thread that impersonates too, and our own opening of the other end always passes.
/// An elevated process may own as the group of administrators; they can open everything anyway.
const OWNER_ONLY: PCWSTR = w!("D:P(A;;GA;;;S-1-3-4)");

/// A security descriptor that the system allocated.
pub(super) struct Descriptor(NonNull<c_void>);

impl Descriptor {
    /// ConvertStringSecurityDescriptorToSecurityDescriptorW.
    pub(super) fn owner_only() -> Result<Self, (Class, Option<OsCode>)> {
        let mut raw = null_mut();
        let made = fallible("ConvertStringSecurityDescriptor", Call::Security, || {
            // SAFETY: the text is static and ends with a zero; the system writes one pointer to memory that it allocates and
            // that is ours from then on.
            let succeeded = unsafe {
                ConvertStringSecurityDescriptorToSecurityDescriptorW(
                    OWNER_ONLY,
                    SDDL_REVISION_1,
                    &raw mut raw,
                    null_mut(),
                )
            };
            match NonNull::new(raw) {
                Some(descriptor) if succeeded != 0 => Ok(Self(descriptor)),
                _ => Err(last_error()),
            }
        });
        made.map_err(|code| classified(Call::Security, code))
    }

    /// For calls that only read it. Valid as long as this value lives.
    pub(super) fn as_ptr(&self) -> *const c_void {
        self.0.as_ptr()
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: the system allocated it for us by LocalAlloc, we have the only pointer, and this is the one release.
        unsafe { LocalFree(self.0.as_ptr()) };
    }
}

/// ProcessPrng: 128 bits that nobody can guess.
pub(super) fn random() -> Result<u128, (Class, Option<OsCode>)> {
    let mut bytes = [0; size_of::<u128>()];
    fallible("ProcessPrng", Call::Security, || {
        // SAFETY: the bytes are ours, and as many as is said; the call is done with them when it returns.
        let succeeded = unsafe { ProcessPrng(bytes.as_mut_ptr(), bytes.len()) };
        if succeeded == 0 {
            Err(last_error())
        } else {
            Ok(())
        }
    })
    .map_err(|code| classified(Call::Security, code))?;
    Ok(u128::from_ne_bytes(bytes))
}
