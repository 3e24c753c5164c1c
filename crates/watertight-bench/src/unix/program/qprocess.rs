//! Qt's QProcess, where Qt's headers are installed: each sample is a process of its own, from a C++ source that is compiled here.
//!
//! Qt is no dependency: without it everything else is measured, and the reason is told.

use crate::platform::children::{find, understood};
use crate::platform::text;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What pkg-config calls Qt's part with QProcess, the newest first.
const MODULES: [&str; 2] = ["Qt6Core", "Qt5Core"];
const NOT_INSTALLED: &str =
    "Qt's headers are not installed: pkg-config knows neither Qt6Core nor Qt5Core";
const SOURCE: &str = "qprocess.cpp";
const SAMPLER: &str = "qprocess";

/// The sampler, which is the compiled program that takes a sample, and the version of its Qt.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct QProcess {
    pub(super) sampler: PathBuf,
    /// Qt's version, in pkg-config's words.
    pub(super) version: String,
}

impl QProcess {
    /// Compiles the sampler in a folder that is the caller's. The error says in words why that cannot be done here.
    pub(super) fn build(folder: &Path) -> Result<Self, String> {
        Self::build_with(folder, &[])
    }

    /// The same, with more variables for pkg-config.
    fn build_with(folder: &Path, variables: &[(&str, &str)]) -> Result<Self, String> {
        let pkg_config = find("pkg-config")
            .map_err(|error| format!("nobody knows where Qt's headers are: {error}"))?;
        for module in MODULES {
            let ask = |words: &[&str]| {
                let mut command = Command::new(&pkg_config);
                command.args(words).arg(module);
                answer(command.envs(variables.iter().copied()))
            };
            let Some(version) = ask(&["--modversion"])? else {
                continue;
            };
            // A module that needs another one which is missing has a version, and no flags.
            let flags = ask(&["--cflags", "--libs"])?
                .ok_or_else(|| format!("pkg-config knows {module}, and not its flags"))?;
            let sampler = compile(folder, &flags)?;
            return Ok(Self { sampler, version });
        }
        Err(NOT_INSTALLED.to_owned())
    }

    pub(super) fn name(&self) -> String {
        format!("QProcess (Qt {})", self.version)
    }

    /// One sample of so many MiB through the program and back: how many seconds it took.
    pub(super) fn seconds(&self, program: &Path, mib: u64) -> Result<f64, String> {
        let mut command = Command::new(&self.sampler);
        command.arg(program).arg(mib.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let output = command.stderr(Stdio::piped()).output();
        let output = output.map_err(|error| format!("its sample does not start: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            let (status, why) = (output.status, last_line(&said));
            return Err(format!("its sample failed: {status}: {why}"));
        }
        let (seconds, _) = understood(last_line(&said))
            .ok_or_else(|| format!("its sample said {:?}", last_line(&said)))?;
        Ok(seconds)
    }
}

/// What the program says on standard output, if it ends well.
fn answer(command: &mut Command) -> Result<Option<String>, String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
    let output = output.map_err(text)?;
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(output.status.success().then(|| said.trim().to_owned()))
}

/// Compiles the source with these flags: where the program is.
fn compile(folder: &Path, flags: &str) -> Result<PathBuf, String> {
    let compiler = find("c++").map_err(text)?;
    std::fs::write(folder.join(SOURCE), include_str!("qprocess.cpp"))
        .map_err(|error| format!("{SOURCE}: {error}"))?;
    let mut command = Command::new(compiler);
    command.args(["-std=c++17", "-O2", "-fPIC", "-o", SAMPLER, SOURCE]);
    command.args(flags.split_whitespace()).stdin(Stdio::null());
    // Its complaints are in English, and have no path of this folder.
    command.env("LC_ALL", "C").current_dir(folder);
    let output = command.output().map_err(text)?;
    if output.status.success() {
        return Ok(folder.join(SAMPLER));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let complaint = complaint(&said).map_or_else(|| output.status.to_string(), str::to_owned);
    Err(format!("the C++ compiler said: {complaint}"))
}

/// The line of a compiler's complaints that says what is wrong, which need not be the first.
fn complaint(said: &str) -> Option<&str> {
    let wrong = said.lines().find(|line| line.contains("error"));
    wrong.or_else(|| said.lines().next()).map(str::trim)
}

/// Qt may warn of a locale before a sample says what it took.
fn last_line(said: &str) -> &str {
    said.trim().lines().next_back().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_qt_the_reason_is_told() {
        // Nothing is installed where pkg-config looks then.
        let nowhere = [("PKG_CONFIG_LIBDIR", ""), ("PKG_CONFIG_PATH", "")];
        let reason = QProcess::build_with(Path::new("no-such-folder"), &nowhere).unwrap_err();
        let expected = if find("pkg-config").is_ok() {
            NOT_INSTALLED
        } else {
            "nobody knows where Qt's headers are: there is no pkg-config in PATH"
        };
        assert_eq!(reason, expected);
        for module in MODULES {
            assert!(NOT_INSTALLED.contains(module), "{module}");
        }
    }

    #[test]
    fn a_sample_that_fails_says_why() {
        let with = |sampler| QProcess {
            sampler,
            version: "6.8.2".into(),
        };
        let no_file = Path::new("watertight-has-no-such-file");
        let failed = with(find("cat").unwrap()).seconds(no_file, 1).unwrap_err();
        assert!(failed.starts_with("its sample failed: exit status: 1: "));
        assert!(!failed.contains('\n'), "{failed}");
        let silent = with(find("true").unwrap()).seconds(no_file, 1);
        assert_eq!(silent.unwrap_err(), "its sample said \"\"");
        let absent = with("watertight-has-no-such-program".into()).seconds(no_file, 1);
        assert!(absent.unwrap_err().starts_with("its sample does not start"));
    }

    #[test]
    fn a_warning_before_the_answer_is_passed_over() {
        assert_eq!(last_line("Detected locale \"C\"\n5 -\n"), "5 -");
        assert_eq!(last_line("\n"), "");
    }

    #[test]
    fn a_compiler_is_quoted_in_one_line() {
        let said = "In file included from a:\nb.h:1:2: fatal error: c: No such file\n  compilation ended\n";
        let quoted = Some("b.h:1:2: fatal error: c: No such file");
        assert_eq!(complaint(said), quoted);
        assert_eq!(complaint("killed\n"), Some("killed"));
        assert_eq!(complaint(""), None);
    }
}
