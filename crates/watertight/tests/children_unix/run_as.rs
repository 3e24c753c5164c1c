//! A child that runs as another user or group, and the step that fails where it may not.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::PATIENCE;
use crate::common::children::accounted;
use crate::common::files::Folder;
use crate::common::itself::{may_run_without, run_again_without};
use rustix::process::getuid;
use std::fs::{Permissions, create_dir, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use watertight::{Command, Limits, StartError, StartStep};

/// Makes this test binary one that may not change to another user or group, although it is root's.
const WITHOUT_RIGHTS: &str = "WATERTIGHT_WITHOUT_SETUID";

/// Root's capabilities to do that.
const WITHOUT: &str = "-setuid,-setgid";

/// A user and a group of which there need not be more than the number.
const NOBODY: u32 = 65534;

fn refused(set: impl FnOnce(&mut Command) -> &mut Command) -> StartError {
    set(&mut Command::new("true")).spawn().unwrap_err()
}

#[test]
fn a_user_that_a_child_may_not_become_is_the_step_that_failed() {
    if !getuid().is_root() || std::env::var_os(WITHOUT_RIGHTS).is_some() {
        return become_others_in_vain();
    }
    if !may_run_without(WITHOUT, &["true"]) {
        println!("skipped: no setpriv that may take rights away");
        return;
    }
    let test = "a_user_that_a_child_may_not_become_is_the_step_that_failed";
    run_again_without(WITHOUT, module_path!(), test, WITHOUT_RIGHTS);
}

fn become_others_in_vain() {
    let _accounted = accounted();
    let ours = getuid().as_raw();
    let other = if ours == 0 { NOBODY } else { 0 };
    let error = refused(|command| command.user(other));
    assert_eq!(error.step, StartStep::User, "{error}");
    let text = error.to_string();
    let told = format!("it may not run as somebody else (user {other}): ");
    assert!(text.contains(&told), "{text}");
    let error = refused(|command| command.group_id(other));
    assert_eq!(error.step, StartStep::User, "{error}");
    assert!(error.to_string().contains(&format!("(group {other})")));
    // Whom it can become in any case is not what failed.
    let mut file = Command::new("/proc/self/stat");
    let error = file.user(ours).spawn().unwrap_err();
    assert_eq!(error.step, StartStep::Permission, "{error}");
    assert!(error.run_as.is_none());
    let own = Command::new("true")
        .user(ours)
        .output(Limits::new())
        .unwrap();
    assert!(own.within(PATIENCE).wait().unwrap().is_success());
}

/// The number that stands for none (setuid(2)).
#[test]
fn a_user_that_there_is_not_is_the_step_that_failed() {
    let _accounted = accounted();
    let error = refused(|command| command.user(u32::MAX));
    assert_eq!(error.step, StartStep::User, "{error}");
    assert_eq!(error.run_as.unwrap().user, Some(u32::MAX));
}

/// std has the child become that user before it enters its directory: what we may do, root above all, says nothing of that.
#[test]
fn what_the_user_may_not_enter_or_run_is_named() {
    if !getuid().is_root() {
        println!("skipped: only root may run a child as another user");
        return;
    }
    let _accounted = accounted();
    let folder = Folder::new("run-as");
    let (open, closed) = (folder.0.join("open"), folder.0.join("closed"));
    create_dir(&open).unwrap();
    create_dir(&closed).unwrap();
    let allow = |path: &Path, mode| set_permissions(path, Permissions::from_mode(mode)).unwrap();
    allow(&folder.0, 0o755);
    allow(&open, 0o755);
    allow(&closed, 0o700);
    let program = |folder: &Path, interpreter: &Path| -> PathBuf {
        let path = folder.join("program");
        write(&path, format!("#!{}\n", interpreter.display())).unwrap();
        allow(&path, 0o755);
        path
    };
    let start = |program: &Path, directory: &Path| {
        let mut command = Command::new(program);
        command
            .current_dir(directory)
            .user(NOBODY)
            .kill_on_drop(true);
        command.spawn()
    };
    let nothing = PathBuf::from("true");
    match start(&nothing, &open) {
        Ok(child) => assert!(child.wait().within(PATIENCE).wait().unwrap().is_success()),
        // Without the right to, or with a folder for such files that not everybody may enter.
        Err(error) => {
            println!("skipped: {error}");
            return;
        }
    }
    let theirs = program(&closed, Path::new("/bin/sh"));
    let scripts = program(&open, &theirs);
    let here = PathBuf::from("./program");
    for (program, directory, step, path) in [
        (&nothing, &closed, StartStep::Directory, Some(&closed)),
        (&theirs, &open, StartStep::Permission, None),
        (&scripts, &open, StartStep::Interpreter, Some(&theirs)),
        (&here, &open, StartStep::Interpreter, Some(&theirs)),
        (&open.join("no"), &open, StartStep::Program, None),
        (
            &nothing,
            &open.join("no"),
            StartStep::Directory,
            Some(&open.join("no")),
        ),
    ] {
        let error = start(program, directory).unwrap_err();
        assert_eq!(error.step, step, "{error}");
        assert_eq!(error.path.as_ref(), path, "{error}");
    }
}

#[test]
fn a_child_runs_as_who_was_asked_for() {
    if !getuid().is_root() {
        println!("skipped: only root may run a child as another user");
        return;
    }
    let _accounted = accounted();
    let mut command = Command::new("sh");
    command
        .args(["-c", "id -u; id -g; id -G"])
        .current_dir("/")
        .user(NOBODY)
        .group_id(NOBODY);
    let run = match command.output(Limits::new()) {
        Err(error) if error.step == StartStep::User => {
            println!("skipped: {error}");
            return;
        }
        started => started.unwrap(),
    };
    let outcome = run.within(PATIENCE).wait().unwrap();
    assert_eq!(outcome.stdout.text(), "65534\n65534\n65534\n");
}
