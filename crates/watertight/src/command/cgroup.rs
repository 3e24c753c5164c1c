//! A child's control group: what it is for, and what it costs. `watertight-os` makes it.

use super::Command;

impl Command {
    /// Whether the child starts in a control group of its own (Linux, cgroups version 2), where one can be had;
    /// [`Child::has_cgroup`](crate::Child::has_cgroup) says whether it was. Then everybody whom it starts belongs to its tree and is reached
    /// when that is ended or waited for: also who forks twice into a session of its own, also another user's, and also when the child is
    /// reaped. All of them are killed at once, so that nobody runs from it. Off by default, for it has its price:
    ///
    /// - What runs in there finds another group in `/proc/self/cgroup`, and in that one's folder no limits: those of the folders above go on to
    ///   hold, and a program that looks for them in its own folder alone does not find them.
    /// - std forks for the start, and the child waits for the kernel to move it: 4 to 20 ms when no process on the machine was moved shortly
    ///   before, and 0.1 ms otherwise. So long [`spawn`](Self::spawn) blocks.
    /// - The open child has one descriptor more.
    ///
    /// The group is a folder `watertight-…` beneath the one that this process is in. The child gets in before it runs its program, and the
    /// folder is removed when the child is reaped. Whoever lives on then keeps it; it is removed by a later start, once that one is over.
    ///
    /// There is none, and the child starts as ever, where no second version is mounted, this process may not write in its group (an
    /// unprivileged one may in a systemd user session; a container's is read-only most of the time), its group is one for threads, or the
    /// kernel is older than 5.14. Somebody with the right to move processes (systemd, sudo's session) takes them out of it as out of any other.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use watertight::Command;
    /// let mut shell = Command::new("sh");
    /// shell.args(["-c", "(setsid sleep 1000 &); exec sleep 1000"]).cgroup(true);
    /// let child = shell.spawn()?;
    /// // With a control group also the one that has left for a session of its own.
    /// let end = child.kill_tree();
    /// println!("killed: {:?}; it had a control group: {}", end.signalled, child.has_cgroup());
    /// assert!(!child.wait().wait()?.is_success());
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cgroup(&mut self, yes: bool) -> &mut Self {
        self.cgroup = yes;
        self
    }
}
