//! What this machine can do: its toolchains, their targets, and tools beside cargo.
//!
//! Only questions: nothing here installs or changes anything.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The toolchain in use, as an argument to cargo and rustc.
pub(crate) const CURRENT: &str = "";
/// The toolchain for what only nightly does.
pub(crate) const NIGHTLY: &str = "+nightly";

/// The answers that more than one stage asks for.
pub(crate) struct Machine {
    pub(crate) root: PathBuf,
    /// This machine's own target.
    pub(crate) host: String,
    pub(crate) has_nightly: bool,
    /// Whether nightly can build the standard library (`-Zbuild-std`).
    pub(crate) has_library_source: bool,
}

impl Machine {
    pub(crate) fn new(root: &Path) -> Result<Machine, String> {
        let version = answer("rustc", &["-vV"]).ok_or("rustc does not run: install Rust first")?;
        let host = version
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .ok_or("rustc -vV names no host")?;
        let sysroot = answer("rustc", &[NIGHTLY, "--print", "sysroot"]);
        let library = sysroot.as_deref().map(|sysroot| {
            Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/Cargo.lock")
        });
        Ok(Machine {
            root: root.to_path_buf(),
            host: host.to_owned(),
            has_nightly: sysroot.is_some(),
            has_library_source: library.is_some_and(|file| file.is_file()),
        })
    }

    /// The first toolchain that has a target's standard library: the current one, else nightly.
    pub(crate) fn toolchain_for(&self, target: &str) -> Option<&'static str> {
        [CURRENT, NIGHTLY].into_iter().find(|toolchain| {
            let mut arguments = vec!["--print", "target-libdir", "--target", target];
            if !toolchain.is_empty() {
                arguments.insert(0, toolchain);
            }
            let folder = answer("rustc", &arguments).unwrap_or_default();
            let files = std::fs::read_dir(folder.trim());
            files.is_ok_and(|mut files| files.next().is_some())
        })
    }

    /// The installed toolchain of a version such as `1.88`, as an argument to cargo.
    pub(crate) fn toolchain_of_version(&self, version: &str) -> Option<String> {
        let list = answer("rustup", &["toolchain", "list"])?;
        list.lines()
            .filter_map(|line| line.split_whitespace().next())
            .find(|name| {
                let rest = name.strip_prefix(version);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
            })
            .map(|name| format!("+{name}"))
    }

    /// Why nightly's sanitizers cannot run here, if so.
    pub(crate) fn lacks_sanitizers(&self) -> Option<&'static str> {
        if !self.host.ends_with("-linux-gnu") {
            Some("only set up for Linux with glibc")
        } else if !self.has_nightly {
            Some("no nightly toolchain")
        } else {
            None
        }
    }
}

/// The commit that is checked out, as far as git knows; `0` elsewhere.
pub(crate) fn commit(root: &Path) -> String {
    let hash = git(root, &["rev-parse", "HEAD"]).unwrap_or_default();
    match hash.trim() {
        "" => "0".to_owned(),
        hash => hash.to_owned(),
    }
}

/// What git answers in a folder.
pub(crate) fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let folder = folder.to_str()?;
    answer("git", &[&["-C", folder], arguments].concat())
}

/// What is committed or about to be: the paths, in order.
pub(crate) fn git_files(root: &Path) -> Option<Vec<String>> {
    let listing = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    let list = git(root, &listing)?;
    let mut paths: Vec<String> = list.split_terminator('\0').map(str::to_owned).collect();
    paths.sort();
    paths.dedup();
    // A file that is deleted but not yet committed is still listed.
    paths.retain(|path| root.join(path).is_file());
    Some(paths)
}

/// What cargo knows of the workspace's own packages.
pub(crate) fn metadata(root: &Path) -> Result<serde_json::Value, String> {
    let manifest = root.join("Cargo.toml").display().to_string();
    let words = [
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--manifest-path",
        &manifest,
    ];
    let text = answer("cargo", &words).ok_or("`cargo metadata` fails: run it to see why")?;
    serde_json::from_str(&text).map_err(|error| format!("`cargo metadata`: {error}"))
}

/// Whether `cargo NAME` is installed.
pub(crate) fn has_cargo_tool(name: &str) -> bool {
    answer("cargo", &[name, "--version"]).is_some()
}

/// What a program prints, if it runs and succeeds.
pub(crate) fn answer(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        // A question must not download a toolchain.
        .env("RUSTUP_AUTO_INSTALL", "0")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}
