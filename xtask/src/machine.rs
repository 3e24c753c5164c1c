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

    pub(crate) fn has_file(&self, path: &str) -> bool {
        self.root.join(path).is_file()
    }
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

/// Runs a cargo command in the workspace, with this process's streams; whether it succeeded.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Result<bool, String> {
    println!("$ cargo {}", arguments.join(" "));
    let status = Command::new("cargo")
        .args(arguments.iter().filter(|argument| !argument.is_empty()))
        .current_dir(root)
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("cargo does not run: {error}"))?;
    Ok(status.success())
}
