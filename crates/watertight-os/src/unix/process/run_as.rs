//! As whom a child is to run, and whether it may have been that which was refused.

use crate::process::RunAs;
use rustix::io::Errno;
use rustix::process::{getegid, geteuid, getgid, getuid};
#[cfg(any(target_os = "android", target_os = "linux"))]
use rustix::thread::{CapabilitySet, capabilities};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Whom this thread's children can always become, and whether they can become anybody.
struct Allowed {
    users: [u32; 2],
    groups: [u32; 2],
    any_user: bool,
    any_group: bool,
}

/// Tells std, which changes the group first, leaves the further groups, if it may, when it changes the user, and runs the program last.
pub(super) fn pass_on(command: &mut Command, run_as: RunAs) {
    if let Some(user) = run_as.user {
        command.uid(user);
    }
    if let Some(group) = run_as.group {
        command.gid(group);
    }
}

/// Whether a start that failed with this code may have failed because the child could not become who it was to be: if it always
/// can, something else was refused.
pub(super) fn may_be_refused(run_as: RunAs, code: Errno) -> bool {
    Allowed::now().may_refuse(run_as, code)
}

impl Allowed {
    fn now() -> Self {
        let (any_user, any_group) = rights();
        Self {
            users: [getuid().as_raw(), geteuid().as_raw()],
            groups: [getgid().as_raw(), getegid().as_raw()],
            any_user,
            any_group,
        }
    }

    fn may_refuse(&self, run_as: RunAs, code: Errno) -> bool {
        let user = run_as.user.filter(|user| !self.users.contains(user));
        let group = run_as.group.filter(|group| !self.groups.contains(group));
        match code {
            // Nobody has such a number here: it is none, or not one of this user namespace.
            Errno::INVAL => user.is_some() || group.is_some(),
            Errno::PERM => {
                (user.is_some() && !self.any_user) || (group.is_some() && !self.any_group)
            }
            _ => false,
        }
    }
}

/// capget: whether this thread may change to any user, and to any group. root may lack these rights, and others may have them.
#[cfg(any(target_os = "android", target_os = "linux"))]
fn rights() -> (bool, bool) {
    let held = capabilities(None).map(|sets| sets.effective);
    let has = |right| held.is_ok_and(|held| held.contains(right));
    (has(CapabilitySet::SETUID), has(CapabilitySet::SETGID))
}

#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn rights() -> (bool, bool) {
    let is_root = geteuid().is_root();
    (is_root, is_root)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn run_as(user: Option<u32>, group: Option<u32>) -> RunAs {
        RunAs { user, group }
    }

    #[test]
    fn what_a_child_can_always_become_was_not_refused() {
        let ordinary = Allowed {
            users: [1000, 1001],
            groups: [100, 101],
            any_user: false,
            any_group: false,
        };
        let refuses = |user, group, code| ordinary.may_refuse(run_as(user, group), code);
        for code in [Errno::PERM, Errno::INVAL] {
            assert!(refuses(Some(0), None, code));
            assert!(refuses(None, Some(0), code));
            assert!(refuses(Some(1000), Some(0), code));
            // Then it was the program that was refused, or something else.
            assert!(!refuses(None, None, code));
            assert!(!refuses(Some(1000), Some(100), code));
            assert!(!refuses(Some(1001), Some(101), code));
        }
        assert!(!refuses(Some(0), Some(0), Errno::ACCESS));
    }

    #[test]
    fn a_right_leaves_only_a_number_that_there_is_not() {
        let mut allowed = Allowed {
            users: [0; 2],
            groups: [0; 2],
            any_user: true,
            any_group: true,
        };
        assert!(!allowed.may_refuse(run_as(Some(5), Some(5)), Errno::PERM));
        assert!(allowed.may_refuse(run_as(Some(u32::MAX), None), Errno::INVAL));
        allowed.any_group = false;
        assert!(!allowed.may_refuse(run_as(Some(5), None), Errno::PERM));
        assert!(allowed.may_refuse(run_as(Some(5), Some(5)), Errno::PERM));
    }
}
