//! Orphans in our own process group, which may be of the tree of a child that was started there.
//!
//! At a terminal a child is in our group, and so may be the other commands of a pipeline. Whoever is started there and loses its
//! parent goes to init, or to the nearest process above that asks for orphans, and stays in the group: /proc no longer says whose it was.
//! Here they are found by what they are. What proves more is not known here.

use super::listing::Seen;

/// Who gets the orphans that nobody else asks for.
const INIT: i32 = 1;

/// The orphans in the group of the process `this` that were not started before its child `child`. Nobody, if that is in another group.
pub(super) fn of(table: &[Seen], this: i32, child: i32) -> Vec<&Seen> {
    let (Some(us), Some(child)) = (numbered(table, this), numbered(table, child)) else {
        return Vec::new();
    };
    // A group whose leader is outside our pid namespace has no number, and there may be others.
    if us.group == 0 || child.group != us.group {
        return Vec::new();
    }
    let above = ancestors(table, us);
    let is_above = |pid: i32| above.iter().any(|seen| seen.pid == pid);
    let is_in_group =
        |seen: &Seen| (seen.group, seen.session) == (us.group, us.session) && !seen.is_over;
    // The commands of a pipeline are children of the shell that has put them into our group. One that gets orphans itself (the first process
    // of a container) has both, and nothing tells them apart.
    let outside = above.iter().find(|seen| seen.group != us.group);
    let is_shell =
        |pid: i32| outside.is_some_and(|seen| seen.pid == pid && seen.session == us.session);
    let is_orphan = |seen: &Seen| {
        let has_parent_in_group = numbered(table, seen.parent).is_some_and(is_in_group);
        let is_adopted = seen.parent == INIT || is_above(seen.parent);
        is_adopted && !has_parent_in_group && !is_shell(seen.parent)
    };
    let may_be_the_childs = |seen: &Seen| {
        let is_known = [us.pid, child.pid].contains(&seen.pid) || is_above(seen.pid);
        is_in_group(seen) && !is_known && seen.started >= child.started && is_orphan(seen)
    };
    table
        .iter()
        .filter(|seen| may_be_the_childs(seen))
        .collect()
}

/// All of these and their descendants, as far as the chain of parents lives.
pub(super) fn with_descendants<'a>(table: &'a [Seen], mut all: Vec<&'a Seen>) -> Vec<&'a Seen> {
    let mut next = 0;
    while let Some(parent) = all.get(next).map(|seen| seen.pid) {
        let is_new = |seen: &Seen| all.iter().all(|known| known.pid != seen.pid);
        let is_child = |seen: &Seen| seen.parent == parent && !seen.is_over && is_new(seen);
        let children: Vec<&Seen> = table.iter().filter(|seen| is_child(seen)).collect();
        all.extend(children);
        next += 1;
    }
    all
}

/// Its parent, that one's parent, and so on, as far as they are seen.
fn ancestors<'a>(table: &'a [Seen], of: &Seen) -> Vec<&'a Seen> {
    let mut all = Vec::new();
    let mut parent = numbered(table, of.parent);
    // Not all of the table was seen at one moment, so that a number may stand there for two processes and lead in a circle.
    while let Some(seen) = parent.filter(|_| all.len() < table.len()) {
        all.push(seen);
        parent = numbered(table, seen.parent);
    }
    all
}

fn numbered(table: &[Seen], pid: i32) -> Option<&Seen> {
    table.iter().find(|seen| seen.pid == pid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unix::process::listing::parsed;

    /// By number, parent, group, session and start.
    fn table(all: &[[i32; 5]]) -> Vec<Seen> {
        let seen = all.iter().map(|[pid, parent, group, session, started]| {
            let line = format!(
                "{pid} (x) S {parent} {group} {session} 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 {started} 0 0"
            );
            parsed(*pid, line.as_bytes()).unwrap()
        });
        seen.collect()
    }

    /// init and a terminal's program; an interactive shell in a session of its own, and its job: we, the child and what it has started.
    const JOB: [[i32; 5]; 6] = [
        [1, 0, 0, 0, 0],
        [10, 1, 10, 10, 1],
        [20, 10, 20, 20, 2],
        [30, 20, 30, 20, 50],
        [31, 30, 30, 20, 51],
        [32, 31, 30, 20, 52],
    ];

    /// Whom the look finds beside that job.
    fn found_beside(more: &[[i32; 5]]) -> Vec<i32> {
        let all = table(&[&JOB[..], more].concat());
        of(&all, 30, 31).iter().map(|seen| seen.pid).collect()
    }

    #[test]
    fn an_orphan_that_was_started_since_is_found_wherever_it_went() {
        assert_eq!(found_beside(&[]), [0; 0]);
        // To init, or to one above us that asks for orphans.
        assert_eq!(found_beside(&[[40, 1, 30, 20, 51]]), [40]);
        assert_eq!(found_beside(&[[40, 10, 30, 20, 60]]), [40]);
        // To init whose row is hidden from us.
        let hidden = table(&[&JOB[1..], &[[40, 1, 30, 20, 60]][..]].concat());
        assert_eq!(of(&hidden, 30, 31).len(), 1);
    }

    #[test]
    fn nobody_else_is_found() {
        for other in [
            // Before the child; in another group; in another session.
            [40, 1, 30, 20, 50],
            [40, 1, 40, 20, 60],
            [40, 1, 30, 40, 60],
            // A command of the same pipeline; what one of them has started; another child of ours.
            [40, 20, 30, 20, 60],
            [40, 32, 30, 20, 60],
            [40, 30, 30, 20, 60],
            // Its parent lives and is none of those who get orphans.
            [40, 77, 30, 20, 60],
        ] {
            let stranger = [77, 1, 77, 20, 3];
            assert_eq!(found_beside(&[other, stranger]), [0; 0], "{other:?}");
        }
    }

    /// A script's shell and we may have been started in the tick in which the child was. Another command of the script's is the shell's.
    #[test]
    fn who_is_above_us_in_our_group_is_no_orphan() {
        let all = table(&[
            [1, 0, 0, 0, 0],
            [20, 1, 20, 20, 50],
            [30, 20, 20, 20, 50],
            [31, 30, 20, 20, 50],
            [40, 1, 20, 20, 50],
            [41, 20, 20, 20, 60],
        ]);
        let found = of(&all, 30, 31);
        assert_eq!(found.iter().map(|seen| seen.pid).collect::<Vec<_>>(), [40]);
    }

    /// And where the group has no number here, nobody can be told from others.
    #[test]
    fn a_child_in_another_group_has_no_orphans_in_ours() {
        let orphan = [40, 1, 30, 20, 60];
        let own = [31, 30, 31, 20, 51];
        let all = table(&[JOB[0], JOB[2], JOB[3], own, orphan]);
        assert!(of(&all, 30, 31).is_empty());
        let numberless =
            |[pid, parent, _, session, started]: [i32; 5]| [pid, parent, 0, session, started];
        let all = [JOB[0], JOB[3], JOB[4], orphan].map(numberless);
        assert!(of(&table(&all), 30, 31).is_empty());
        assert!(of(&table(&JOB), 30, 99).is_empty());
    }

    #[test]
    fn what_an_orphan_has_started_is_found_with_it() {
        let more = [
            [40, 1, 30, 20, 60],
            [41, 40, 30, 20, 61],
            [42, 41, 42, 42, 62],
            [43, 20, 30, 20, 63],
        ];
        let all = table(&[&JOB[..], &more[..]].concat());
        let found = with_descendants(&all, of(&all, 30, 31));
        let pids: Vec<i32> = found.iter().map(|seen| seen.pid).collect();
        assert_eq!(pids, [40, 41, 42]);
    }
}
