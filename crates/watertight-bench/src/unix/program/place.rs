//! Where a run takes place: a folder with the files and FIFOs, which is removed at the end, and the programs that are here.

use super::flows::{EMPTY, FIFOS, PART, PART_MIB, SOURCE, TARGET, Tool};
use super::stages::produce;
use crate::platform::children::find;
use crate::platform::{kernel, text};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the program under test is called, beside this one.
const OURS: &str = "watertight";

/// The folder and the programs.
pub(super) struct Place {
    folder: PathBuf,
    this: PathBuf,
    ours: PathBuf,
    /// Why it cannot be used, if so.
    strace: Result<PathBuf, String>,
}

impl Place {
    /// Makes the folder, in the one that is given or in the system's, and in it a file of so many MiB, a
    /// smaller one, an empty one, and the FIFOs.
    pub(super) fn make(within: Option<&Path>, file_mib: u64) -> Result<Self, String> {
        let this = std::env::current_exe().map_err(text)?;
        let ours = this.with_file_name(OURS);
        if !ours.is_file() {
            return Err(format!(
                "there is no {}: build it with `cargo build --release -p watertight-cli`",
                ours.display()
            ));
        }
        let within = within.map_or_else(folder_of_system, Path::to_path_buf);
        let folder = within.join(format!("watertight-bench-program-{}", std::process::id()));
        let folder = std::path::absolute(folder).map_err(text)?;
        let explain = |error: io::Error| format!("{}: {error}", folder.display());
        std::fs::create_dir(&folder).map_err(explain)?;
        // From here on it is removed, whatever happens.
        let place = Self {
            strace: strace(),
            folder: folder.clone(),
            this,
            ours,
        };
        place.fill(file_mib).map_err(explain)?;
        Ok(place)
    }

    fn fill(&self, file_mib: u64) -> io::Result<()> {
        for (name, mib) in [(EMPTY, 0), (PART, PART_MIB), (SOURCE, file_mib)] {
            let file = File::create(self.path(name))?;
            produce(&file, mib)?;
            // Else the system writes it to the disk while somebody is timed.
            file.sync_all()?;
        }
        let mut mkfifo = Command::new("mkfifo");
        mkfifo.args(FIFOS).current_dir(&self.folder);
        let status = mkfifo.stdin(Stdio::null()).status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("mkfifo: {status}")))
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// This program, which is whoever writes and whoever reads.
    pub(super) fn this(&self) -> &Path {
        &self.this
    }

    pub(super) fn strace(&self) -> Result<&Path, String> {
        self.strace.as_deref().map_err(Clone::clone)
    }

    /// Where a tool is, if it is here.
    pub(super) fn program(&self, tool: Tool) -> Option<PathBuf> {
        if tool.is_ours() {
            return Some(self.ours.clone());
        }
        if tool.is_raw() && !kernel::HAS_SPLICE {
            return None;
        }
        match tool.program_name() {
            Some(name) => find(name).ok(),
            None => Some(self.this.clone()),
        }
    }

    /// Removes what the run before has written: its bytes need not go to the disk then.
    pub(super) fn remove_target(&self) -> io::Result<()> {
        match std::fs::remove_file(self.path(TARGET)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            let folder = self.folder.display();
            eprintln!("watertight-bench: {folder} is left: {error}");
        }
    }
}

/// `/tmp` is memory on many systems, `/var/tmp` on few.
fn folder_of_system() -> PathBuf {
    let disk = Path::new("/var/tmp");
    if std::env::var_os("TMPDIR").is_none() && disk.is_dir() {
        disk.to_path_buf()
    } else {
        std::env::temp_dir()
    }
}

fn strace() -> Result<PathBuf, String> {
    let strace = find("strace").map_err(text)?;
    let mut trial = Command::new(&strace);
    trial.args(["-f", "-c", "-o", "/dev/null", "true"]);
    trial.stdin(Stdio::null()).stdout(Stdio::null());
    let status = trial.stderr(Stdio::null()).status().map_err(text)?;
    if status.success() {
        Ok(strace)
    } else {
        Err(format!("strace cannot be used here: {status}"))
    }
}
