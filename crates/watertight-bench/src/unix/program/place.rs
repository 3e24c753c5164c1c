//! Where a run takes place: a folder with the files and FIFOs, one on a memory file system, which are removed at the end, and the
//! programs that are here.

use super::flows::{EMPTY, FIFOS, Flow, PART, PART_MIB, READER, SOURCE, TARGET, Tool};
use super::stages::produce;
use crate::platform::children::find;
use crate::platform::tools::Counter;
use crate::platform::{kernel, text};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the program under test is called, beside this one.
const OURS: &str = "watertight";
/// A memory file system has room for so many times the file: it is the machine's memory that it takes.
const MEMORY_ROOM: u64 = 2;

/// The folder and the programs.
pub(super) struct Place {
    folder: PathBuf,
    /// None: there is no memory file system with room enough.
    memory: Option<PathBuf>,
    this: PathBuf,
    ours: PathBuf,
    /// Who counts calls, or why nobody does.
    counter: Result<Counter, String>,
}

impl Place {
    /// Makes the folder, in the one that is given or in the system's, and in it a file of so many MiB, a
    /// smaller one, an empty one, the FIFOs, and this program under another name.
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
        let name = format!("watertight-bench-program-{}", std::process::id());
        let folder = std::path::absolute(within.join(&name)).map_err(text)?;
        let explain = |error: io::Error| format!("{}: {error}", folder.display());
        std::fs::create_dir(&folder).map_err(explain)?;
        // From here on it is removed, whatever happens.
        let place = Self {
            counter: Counter::find(),
            memory: folder_in_memory(&format!("{name}-memory"), file_mib),
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
        std::os::unix::fs::symlink(&self.this, self.path(READER))?;
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

    /// Where a relay is started, which names its files without a folder.
    pub(super) fn folder_of(&self, flow: Flow) -> &Path {
        match &self.memory {
            Some(memory) if flow == Flow::PipeToMemory => memory,
            Some(_) | None => &self.folder,
        }
    }

    pub(super) fn target(&self, flow: Flow) -> PathBuf {
        self.folder_of(flow).join(TARGET)
    }

    pub(super) fn has_memory(&self) -> bool {
        self.memory.is_some()
    }

    fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.folder].into_iter().chain(&self.memory)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// This program, which is whoever writes and whoever reads.
    pub(super) fn this(&self) -> &Path {
        &self.this
    }

    pub(super) fn counter(&self) -> Result<Counter, String> {
        self.counter.clone()
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

    /// Removes what the run before has written: its bytes need not go to the disk then, nor stay in memory.
    pub(super) fn remove_target(&self) -> io::Result<()> {
        for folder in self.folders() {
            match std::fs::remove_file(folder.join(TARGET)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for folder in self.folders() {
            if let Err(error) = std::fs::remove_dir_all(folder) {
                let folder = folder.display();
                eprintln!("watertight-bench: {folder} is left: {error}");
            }
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

/// Makes a folder on a memory file system with room, if there is one.
fn folder_in_memory(name: &str, file_mib: u64) -> Option<PathBuf> {
    let needed = MEMORY_ROOM * (file_mib << 20);
    let of_user = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let known = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
    let mut folders = known.into_iter().chain(of_user);
    folders.find_map(|within| {
        kernel::memory_room(&within).filter(|room| *room >= needed)?;
        let folder = std::path::absolute(within.join(name)).ok()?;
        std::fs::create_dir(&folder).ok()?;
        Some(folder)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_file_system_without_room_is_not_used() {
        let name = format!("watertight-bench-test-{}", std::process::id());
        assert_eq!(folder_in_memory(&name, 1 << 40), None);
    }
}
