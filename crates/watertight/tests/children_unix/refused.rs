//! Who of a tree runs as somebody else and may not be signalled is named, and the others are ended.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::PATIENCE;
use crate::common::children::accounted;
use crate::common::itself::{may_run_without, run_again_without};
use std::time::Duration;
use watertight::{Command, EndRequest, EndedBy, Found, Group, Input, Limits};

/// Makes this test binary one that may not signal the processes of others, although it is root's.
const WITHOUT_KILL: &str = "WATERTIGHT_WITHOUT_KILL";

/// Root's capability to do that.
const WITHOUT: &str = "-kill";

/// Runs a program as another user, of whom there need not be more than the number.
const AS_ANOTHER: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups";

/// EPERM.
const REFUSED: i32 = 1;

#[test]
fn who_may_not_be_signalled_is_named_and_the_others_are_ended() {
    if std::env::var_os(WITHOUT_KILL).is_some() {
        return end_a_tree_with_another_users_member();
    }
    let trial: Vec<&str> = AS_ANOTHER.split(' ').chain(["true"]).collect();
    if !may_run_without(WITHOUT, &trial) {
        println!("skipped: no setpriv that may run a program as another user");
        return;
    }
    let test = "who_may_not_be_signalled_is_named_and_the_others_are_ended";
    run_again_without(WITHOUT, module_path!(), test, WITHOUT_KILL);
}

/// The member says its number, and ends when its input does, which the test holds.
fn end_a_tree_with_another_users_member() {
    let _accounted = accounted();
    let member = format!("{AS_ANOTHER} sh -c 'echo $$; exec cat >/dev/null 2>&1' <&3");
    for grace in [Duration::ZERO, Duration::from_millis(10)] {
        let (from, into) = std::io::pipe().unwrap();
        let request = EndRequest::new();
        let limits = Limits::new().grace(grace).end_on(&request);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec 3<&0; {member} & wait")]);
        command.stdin(Input::from_handle(from)).group(Group::Own);
        let run = command.output(limits).unwrap();
        drop(command);
        let run = run.on_output(move |_, _| request.send());
        let outcome = run.within(PATIENCE).wait().unwrap();
        drop(into);
        assert_eq!(outcome.ended, EndedBy::Request);
        assert!(!outcome.exit.unwrap().is_success());
        let pid: u32 = outcome.stdout.text().trim().parse().unwrap();
        let tree = outcome.tree.unwrap();
        assert_eq!(pids(&tree.left), [pid], "{tree:?}");
        let ended = pids(if grace.is_zero() {
            &tree.killed
        } else {
            &tree.asked
        });
        assert!(ended.len() == 1 && ended[0] != pid, "{tree:?}");
        assert_eq!(tree.error.unwrap().raw_os_error(), Some(REFUSED));
    }
}

fn pids(found: &[Found]) -> Vec<u32> {
    found.iter().map(|one| one.pid).collect()
}
