//! Where this process's own control group is (cgroups(7), version 2), as far as a mount shows it.

use crate::fault::fallible;
use crate::unix::classify::Call;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A control group.
#[derive(Debug)]
pub(super) struct CgroupPlace {
    /// Its folder.
    pub(super) folder: PathBuf,
    /// Its path in the tree of the groups, as /proc names it.
    pub(super) path: Vec<u8>,
}

/// The group that this process is in, once for each mount that shows it. None: there is no second version, or no mount shows the group.
pub(super) fn own() -> io::Result<Vec<CgroupPlace>> {
    let own = fallible("read (own cgroup)", Call::Open, || {
        std::fs::read("/proc/self/cgroup")
    })?;
    let mounts = fallible("read (mountinfo)", Call::Open, || {
        std::fs::read("/proc/self/mountinfo")
    })?;
    Ok(places(&own, &mounts))
}

/// The path of the group that a process is in, by its number.
pub(super) fn path_of(pid: i32) -> Option<Vec<u8>> {
    let read = fallible("read (cgroup of one)", Call::Open, || {
        std::fs::read(format!("/proc/{pid}/cgroup"))
    });
    group(&read.ok()?).map(<[u8]>::to_vec)
}

/// The group of the second version in a file as /proc/self/cgroup: it has the number 0 and no controllers' names. No escapes are in there, and
/// no group has a newline in its name.
fn group(text: &[u8]) -> Option<&[u8]> {
    let mut lines = text.split(|byte| *byte == b'\n');
    lines.find_map(|line| line.strip_prefix(b"0::"))
}

fn places(own: &[u8], mounts: &[u8]) -> Vec<CgroupPlace> {
    let Some(path) = group(own) else {
        return Vec::new();
    };
    let lines = mounts.split(|byte| *byte == b'\n');
    let folders = lines.filter_map(|line| shown(path, line));
    folders
        .map(|folder| CgroupPlace {
            folder,
            path: path.to_vec(),
        })
        .collect()
}

/// The group's folder, if this line of /proc/self/mountinfo (proc_pid_mountinfo(5)) is that of a mount which shows it.
fn shown(path: &[u8], line: &[u8]) -> Option<PathBuf> {
    let mut fields = line.split(|byte| *byte == b' ');
    let root = unescaped(fields.nth(3)?);
    let mut folder = unescaped(fields.next()?);
    // Behind the mount's options stand as many fields as there are, and then a dash.
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    if kind != b"cgroup2" {
        return None;
    }
    folder.extend_from_slice(beneath(path, &root)?);
    Some(PathBuf::from(OsString::from_vec(folder)))
}

/// What of a group's path is beneath the root of a mount. What is outside of our namespace of groups has a `..` in its path, and what leads
/// there from here nobody knows.
fn beneath<'a>(path: &'a [u8], root: &[u8]) -> Option<&'a [u8]> {
    if path.split(|byte| *byte == b'/').any(|part| part == b"..") {
        return None;
    }
    let rest = path.strip_prefix(root.strip_suffix(b"/").unwrap_or(root))?;
    (rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
}

/// A path of mountinfo as it is: blanks, tabs, newlines and backslashes stand there as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let escaped = behind.split_at_checked(3).filter(|_| *first == b'\\');
        let decoded = escaped.and_then(|(digits, behind)| Some((octal(digits)?, behind)));
        let (byte, behind) = decoded.unwrap_or((*first, behind));
        path.push(byte);
        rest = behind;
    }
    path
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The folders in which these mounts show the group of this file.
    fn folders(own: &str, mounts: &str) -> Vec<String> {
        let places = places(own.as_bytes(), mounts.as_bytes()).into_iter();
        let texts = places.map(|place| place.folder.into_os_string().into_string().unwrap());
        texts.collect()
    }

    #[test]
    fn the_group_of_the_second_version_is_found_beside_those_of_the_first() {
        let own = "9:name=systemd:/first\n0::/user.slice/session-1.scope\n";
        assert_eq!(
            group(own.as_bytes()),
            Some(&b"/user.slice/session-1.scope"[..])
        );
        assert_eq!(group(b"0::/\n"), Some(&b"/"[..]));
        assert_eq!(group(b"4:memory:/first\n"), None);
        let mounts = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
            36 31 0:33 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 master:1 - cgroup2 cgroup2 rw\n";
        let folder = "/sys/fs/cgroup/unified/user.slice/session-1.scope";
        assert_eq!(folders(own, mounts), [folder]);
        assert_eq!(folders("0::/\n", mounts), ["/sys/fs/cgroup/unified/"]);
        assert_eq!(folders("4:memory:/first\n", mounts), [""; 0]);
        assert_eq!(
            folders(own, "31 23 0:28 / /sys rw - tmpfs tmpfs rw\n"),
            [""; 0]
        );
    }

    /// A container's, without a namespace of groups and with one.
    #[test]
    fn a_mount_that_shows_a_part_of_the_tree_shows_what_is_beneath() {
        let mount = |root: &str| format!("41 31 0:38 {root} /groups rw - cgroup2 cgroup rw\n");
        let part = mount("/box/1");
        assert_eq!(folders("0::/box/1\n", &part), ["/groups"]);
        assert_eq!(folders("0::/box/1/deeper\n", &part), ["/groups/deeper"]);
        for outside in ["/box/12", "/box", "/", "/other/1"] {
            assert_eq!(
                folders(&format!("0::{outside}\n"), &part),
                [""; 0],
                "{outside}"
            );
        }
        assert_eq!(folders("0::/../other\n", &mount("/..")), [""; 0]);
        assert_eq!(folders("0::/../other\n", &mount("/")), [""; 0]);
        assert_eq!(folders("0::/\n", &mount("/../..")), [""; 0]);
        let both = part + &mount("/");
        assert_eq!(folders("0::/box/1\n", &both), ["/groups", "/groups/box/1"]);
    }

    #[test]
    fn a_path_with_blanks_and_backslashes_is_read_as_it_is() {
        let mount = "41 31 0:38 /a\\040b /a\\011\\012\\134040\\04 rw - cgroup2 cgroup rw\n";
        assert_eq!(folders("0::/a b/c d\n", mount), ["/a\t\n\\040\\04/c d"]);
        // 0o777 is no byte.
        assert_eq!(unescaped(b"\\777\\"), b"\\777\\");
    }

    #[test]
    fn this_process_has_the_path_that_it_reads_of_itself() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let own = std::fs::read("/proc/self/cgroup").unwrap_or_default();
        assert_eq!(path_of(pid).as_deref(), group(&own));
        assert_eq!(path_of(i32::MAX), None);
    }
}
