//! Facts that a program asks of the system about a file, each by the call that answers it. Nothing is set here but by a test.

use super::OsHandleRef;
use super::classify::Call;
use super::sys::{self, Information};
use std::io;
use std::os::windows::io::AsRawHandle;
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_EA_INFORMATION, FileEaInformation, FileStreamInformation,
};
use windows_sys::Win32::Foundation as win;
#[cfg(feature = "fault")]
use windows_sys::Win32::Security::SetKernelObjectSecurity;
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, GROUP_SECURITY_INFORMATION, GetKernelObjectSecurity,
    LABEL_SECURITY_INFORMATION, OBJECT_SECURITY_INFORMATION, OWNER_SECURITY_INFORMATION,
};

/// What is asked of a file's security: all that needs the right READ_CONTROL alone, and belongs to users. Audit rules need a
/// privilege.
const ASKED: OBJECT_SECURITY_INFORMATION = OWNER_SECURITY_INFORMATION
    | GROUP_SECURITY_INFORMATION
    | DACL_SECURITY_INFORMATION
    | LABEL_SECURITY_INFORMATION;

/// Room for the longest descriptor there is, in words of 32 bits: two lists of 64 KiB, and two names of users.
const DESCRIPTOR_WORDS_MAX: usize = 1 << 16;

/// The stream that every file has: its content.
const CONTENT: &str = "::$DATA";

/// FILE_STREAM_INFORMATION of a file's first stream, with room for the name of the one that every file has.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct FirstStream {
    next_at: u32,
    name_bytes: u32,
    bytes: i64,
    allocation_bytes: i64,
    name: [u16; 32],
}

// SAFETY: a record of integers, as ntifs.h has it, with more room behind it: any bytes the kernel puts there are a value.
unsafe impl Information for FirstStream {
    const CLASS: i32 = FileStreamInformation;
    const NAME: &'static str = "FileStreamInformation";
}
// SAFETY: a record of one integer, as ntifs.h has it: any bytes the kernel puts there are a value.
unsafe impl Information for FILE_EA_INFORMATION {
    const CLASS: i32 = FileEaInformation;
    const NAME: &'static str = "FileEaInformation";
}

/// GetKernelObjectSecurity: a file's owner, its group, its access list and its integrity label, as a security descriptor in one
/// piece (self-relative). The handle needs the right READ_CONTROL, which one for writing has.
///
/// # Errors
/// The system does not say.
pub fn file_security(file: OsHandleRef<'_>) -> io::Result<Vec<u8>> {
    let mut room = vec![0_u32; DESCRIPTOR_WORDS_MAX];
    let bytes = u32::try_from(size_of_val(room.as_slice())).expect("256 KiB");
    let mut needed = 0;
    let code = sys::said("GetKernelObjectSecurity", Call::Query, || {
        // SAFETY: the handle is open while it is borrowed; the room is ours, aligned as a descriptor has to be, and as long as is
        // said; the call is done with it and with the number when it returns.
        sys::code_of(unsafe {
            GetKernelObjectSecurity(
                file.as_raw_handle(),
                ASKED,
                room.as_mut_ptr().cast(),
                bytes,
                &raw mut needed,
            )
        })
    });
    if code != win::ERROR_SUCCESS {
        return Err(error_of(code));
    }
    let filled = room.into_iter().flat_map(u32::to_ne_bytes);
    Ok(filled.take(needed as usize).collect())
}

/// NtQueryInformationFile: whether a file has streams besides its content.
///
/// # Errors
/// The system does not say.
pub fn has_further_streams(file: OsHandleRef<'_>) -> io::Result<bool> {
    are_there_more(sys::query(file)).map_err(error_of)
}

/// Whether there are more streams than the content: what the system said of the first one, or the code in place of that.
fn are_there_more(first: Result<FirstStream, u32>) -> Result<bool, u32> {
    match first {
        Ok(first) => Ok(first.next_at != 0 || !first.is_content_or_nothing()),
        // There is no room for all of them.
        Err(win::ERROR_MORE_DATA) => Ok(true),
        Err(code) if has_no_such_thing(code) => Ok(false),
        Err(code) => Err(code),
    }
}

impl FirstStream {
    fn is_content_or_nothing(&self) -> bool {
        let units = self.name_bytes as usize / size_of::<u16>();
        let name = self.name.get(..units);
        name.is_some_and(|name| name.is_empty() || name.iter().copied().eq(CONTENT.encode_utf16()))
    }
}

/// NtQueryInformationFile: whether a file has extended attributes, those of NTFS that the Linux subsystem uses among others.
///
/// # Errors
/// The system does not say.
pub fn has_extended_attributes(file: OsHandleRef<'_>) -> io::Result<bool> {
    match sys::query::<FILE_EA_INFORMATION>(file) {
        Ok(found) => Ok(found.EaSize != 0),
        Err(code) if has_no_such_thing(code) => Ok(false),
        Err(code) => Err(error_of(code)),
    }
}

/// Whether the code says that this file system does not know what it was asked about (FAT, many networks, Wine): then no file has it.
const fn has_no_such_thing(code: u32) -> bool {
    matches!(
        code,
        win::ERROR_CALL_NOT_IMPLEMENTED
            | win::ERROR_EAS_NOT_SUPPORTED
            | win::ERROR_HANDLE_EOF
            | win::ERROR_INVALID_FUNCTION
            | win::ERROR_INVALID_LEVEL
            | win::ERROR_INVALID_PARAMETER
            | win::ERROR_NOT_SUPPORTED
    )
}

fn error_of(code: u32) -> io::Error {
    io::Error::from_raw_os_error(code.cast_signed())
}

/// SetKernelObjectSecurity, for a test of what becomes of a file's own access list: everybody may do everything with the file, and
/// what its folder hands down does not count. The handle needs the right WRITE_DAC.
///
/// # Errors
/// The system refuses.
#[cfg(feature = "fault")]
pub fn let_everybody_in_for_a_test(file: OsHandleRef<'_>) -> io::Result<()> {
    // D:P(A;;FA;;;WD) in one piece: the head with the place of the list, the list's head, its one entry, and whom it is for (S-1-1-0).
    let mut descriptor: [u32; 12] = [
        0x9004_0001,
        0,
        0,
        0,
        20,
        0x001c_0002,
        1,
        0x0014_0000,
        0x001f_01ff,
        0x0000_0101,
        0x0100_0000,
        0,
    ];
    // SAFETY: the handle is open while it is borrowed; the descriptor is ours, whole and aligned, and the call, which only reads it, is
    // done with it when it returns.
    let code = sys::code_of(unsafe {
        SetKernelObjectSecurity(
            file.as_raw_handle(),
            DACL_SECURITY_INFORMATION,
            descriptor.as_mut_ptr().cast(),
        )
    });
    if code == win::ERROR_SUCCESS {
        Ok(())
    } else {
        Err(error_of(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::windows::io::AsHandle;

    fn stream(name: &str, next_at: u32) -> FirstStream {
        let mut stream = FirstStream {
            next_at,
            ..FirstStream::default()
        };
        for (unit, of_name) in stream.name.iter_mut().zip(name.encode_utf16()) {
            *unit = of_name;
            stream.name_bytes += 2;
        }
        stream
    }

    #[test]
    fn the_first_stream_tells_whether_there_are_more() {
        assert_eq!(are_there_more(Ok(stream(CONTENT, 0))), Ok(false));
        // A file system may list none.
        assert_eq!(are_there_more(Ok(stream("", 0))), Ok(false));
        assert_eq!(are_there_more(Ok(stream(CONTENT, 40))), Ok(true));
        assert_eq!(are_there_more(Ok(stream(":mark:$DATA", 0))), Ok(true));
        assert_eq!(are_there_more(Err(win::ERROR_MORE_DATA)), Ok(true));
        let beyond = FirstStream {
            name_bytes: u32::MAX,
            ..FirstStream::default()
        };
        assert_eq!(are_there_more(Ok(beyond)), Ok(true));
    }

    #[test]
    fn what_a_file_system_does_not_know_no_file_has_and_a_refusal_is_an_error() {
        assert_eq!(are_there_more(Err(win::ERROR_INVALID_PARAMETER)), Ok(false));
        assert_eq!(are_there_more(Err(win::ERROR_INVALID_FUNCTION)), Ok(false));
        let refused = win::ERROR_ACCESS_DENIED;
        assert_eq!(are_there_more(Err(refused)), Err(refused));
    }

    #[test]
    fn two_new_files_are_alike() {
        let name = |number| format!("watertight-facts-{}-{number}", std::process::id());
        let paths = [1, 2].map(|number| std::env::temp_dir().join(name(number)));
        let files = paths.each_ref().map(|path| File::create_new(path).unwrap());
        let securities = files
            .each_ref()
            .map(|file| file_security(file.as_handle()).unwrap());
        for file in &files {
            assert!(!has_further_streams(file.as_handle()).unwrap());
            assert!(!has_extended_attributes(file.as_handle()).unwrap());
        }
        drop(files);
        for path in paths {
            std::fs::remove_file(path).unwrap();
        }
        assert_eq!(securities[0], securities[1]);
        // A descriptor's first byte is its revision.
        assert_eq!(securities[0].first(), Some(&1));
    }
}
