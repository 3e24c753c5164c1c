//! Runs the tests with coverage, prints what was run of every file, and fails below the thresholds.
//!
//! Each test binary is judged by its own profile and the results are added up afterwards: one profile for all of them
//! mixes builds of the same function with and without `cfg(test)`, and loses those that differ.
//!
//! How much is covered says little about how good the tests are; that is what `cargo xtask mutants` is for.

mod exceptions;
mod lcov;
mod table;

use crate::machine::{self, Machine, NIGHTLY};
use lcov::Coverage;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The packages whose tests run.
const PACKAGES: [&str; 5] = [
    "watertight-core",
    "watertight-os",
    "watertight",
    "watertight-cli",
    "watertight-sim",
];
const TARGET_DIR: &str = "target/coverage";
/// Counters cost time, and a cycle more or less reaches no other line.
const CYCLES: &str = "500";
/// How to get what reads the profiles.
const REMEDY: &str = "`rustup component add llvm-tools --toolchain nightly`, or LLVM_PROFDATA and LLVM_COV with the paths of \
                      llvm-profdata and llvm-cov of the same LLVM as nightly's";

/// The two programs that read profiles.
#[derive(Debug)]
pub(crate) struct Tools {
    profdata: PathBuf,
    cov: PathBuf,
}

/// The tools, or why coverage cannot be measured here.
pub(crate) fn plan(machine: &Machine) -> Result<Tools, String> {
    if !machine.has_nightly {
        return Err("no nightly toolchain, and only nightly counts branches".to_owned());
    }
    let version = machine::answer("rustc", &[NIGHTLY, "-vV"]).unwrap_or_default();
    let major = llvm_major(&version).ok_or("`rustc +nightly -vV` names no LLVM")?;
    let sysroot = machine::answer("rustc", &[NIGHTLY, "--print", "sysroot"]).unwrap_or_default();
    let component = Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(&machine.host)
        .join("bin");
    let tool = |name: &str, variable: &str| {
        let file = component.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        let path = Some(file)
            .filter(|file| file.is_file())
            .or_else(|| std::env::var_os(variable).map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from(name));
        let says = machine::answer(&path.to_string_lossy(), &["--version"])
            .ok_or_else(|| format!("there is no {name} of LLVM {major}: {REMEDY}"))?;
        match llvm_major(&says) {
            Some(own) if own >= major => Ok(path),
            Some(own) => Err(format!(
                "{} is of LLVM {own}, nightly's profiles are of LLVM {major}: {REMEDY}",
                path.display()
            )),
            None => Err(format!("{} does not say its version", path.display())),
        }
    };
    Ok(Tools {
        profdata: tool("llvm-profdata", "LLVM_PROFDATA")?,
        cov: tool("llvm-cov", "LLVM_COV")?,
    })
}

/// The 22 of `LLVM version: 22.1.4` (rustc) and of `LLVM version 22.1.8` (the tools).
fn llvm_major(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("LLVM version")?;
    let digits = rest.trim_start_matches([':', ' ']);
    digits.split('.').next()?.parse().ok()
}

/// The command `coverage`.
pub(crate) fn run(root: &Path) -> Result<bool, String> {
    let machine = Machine::new(root)?;
    let tools = match plan(&machine) {
        Ok(tools) => tools,
        Err(reason) => {
            println!("skipped: coverage: {reason}");
            return Ok(true);
        }
    };
    let listed = exceptions::read(root)?;
    let folder = root.join(TARGET_DIR).join("profiles");
    let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(wrong)?;
    }
    std::fs::create_dir_all(&folder).map_err(wrong)?;
    let binaries = build(&machine, &folder)?;
    let mut coverage = Coverage::default();
    let mut failed = Vec::new();
    for (index, binary) in binaries.tests.iter().enumerate() {
        println!("== {}", binary.name());
        if !binary.run(&folder, index)? {
            failed.push(binary.name());
        }
        if let Some(report) = export(&tools, &folder, index, &binary.path, &binaries.programs)? {
            coverage.add(&report, root);
        }
    }
    let is_enough = table::print(root, &coverage, &listed)?;
    for name in &failed {
        println!("FAILED: {name}: its tests");
    }
    Ok(is_enough && failed.is_empty())
}

/// One program full of tests.
struct TestBinary {
    path: PathBuf,
    /// Where cargo would start it.
    package: PathBuf,
}

/// What was built.
struct Binaries {
    tests: Vec<TestBinary>,
    /// Programs that the tests start.
    programs: Vec<PathBuf>,
}

fn build(machine: &Machine, profiles: &Path) -> Result<Binaries, String> {
    let mut command = Command::new("cargo");
    command
        .args([NIGHTLY, "test", "--no-run", "--all-features"])
        .args(["--lib", "--bins", "--tests"])
        .args(PACKAGES.iter().flat_map(|name| ["-p", name]))
        .args(["--message-format", "json-render-diagnostics"])
        .args(["--target-dir", TARGET_DIR])
        // With a target named, build scripts and macros are not instrumented.
        .args(["--target", &machine.host])
        .env(
            "RUSTFLAGS",
            "-Cinstrument-coverage -Zcoverage-options=branch",
        )
        .env("LLVM_PROFILE_FILE", profiles.join("build-%p.profraw"))
        .current_dir(&machine.root)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = command
        .output()
        .map_err(|error| format!("cargo does not run: {error}"))?;
    if !output.status.success() {
        return Err("the tests do not build with coverage".to_owned());
    }
    Ok(Binaries::new(&String::from_utf8_lossy(&output.stdout)))
}

impl Binaries {
    /// What cargo's messages name, one message a line.
    fn new(messages: &str) -> Binaries {
        let mut binaries = Binaries {
            tests: Vec::new(),
            programs: Vec::new(),
        };
        for line in messages.lines() {
            let (Some(path), Some(manifest)) =
                (field(line, "executable"), field(line, "manifest_path"))
            else {
                continue;
            };
            let path = PathBuf::from(path);
            // The target says whether it can be tested, the profile whether this is its test.
            let profile = line
                .split_once("\"profile\":{")
                .map_or("", |(_, rest)| rest);
            let profile = profile.split('}').next().unwrap_or_default();
            if profile.contains("\"test\":true") {
                let package = Path::new(&manifest).parent().unwrap_or(Path::new("."));
                binaries.tests.push(TestBinary {
                    path,
                    package: package.to_path_buf(),
                });
            } else {
                binaries.programs.push(path);
            }
        }
        binaries
    }
}

/// A text of a JSON object, if it has one of this name. Of what cargo writes, only paths on Windows hold escapes.
fn field(line: &str, name: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!("\"{name}\":\""))?;
    let (text, _) = rest.split_once('"')?;
    Some(text.replace("\\\\", "\\"))
}

impl TestBinary {
    fn name(&self) -> String {
        let file = self.path.file_stem().unwrap_or_default().to_string_lossy();
        file.rsplit_once('-')
            .map_or(file.to_string(), |(name, _)| name.to_owned())
    }

    /// Runs it as cargo would; whether all tests passed. What it says goes into a log beside its profile.
    fn run(&self, profiles: &Path, index: usize) -> Result<bool, String> {
        let log = profiles.join(format!("{index}.log"));
        let wrong = |error: std::io::Error| format!("{}: {error}", self.path.display());
        let file = File::create(&log).map_err(wrong)?;
        let status = Command::new(&self.path)
            .current_dir(&self.package)
            .env("RUST_TEST_THREADS", "1")
            .env("WATERTIGHT_CYCLES", CYCLES)
            .env(
                "LLVM_PROFILE_FILE",
                profiles.join(format!("{index}-%p.profraw")),
            )
            .stdin(Stdio::null())
            .stdout(file.try_clone().map_err(wrong)?)
            .stderr(file)
            .status()
            .map_err(wrong)?;
        if !status.success() {
            println!("{}", std::fs::read_to_string(&log).unwrap_or_default());
        }
        Ok(status.success())
    }
}

/// What a test binary and the programs it started ran, in lcov's format; nothing if they left no profile.
fn export(
    tools: &Tools,
    profiles: &Path,
    index: usize,
    binary: &Path,
    programs: &[PathBuf],
) -> Result<Option<String>, String> {
    let prefix = format!("{index}-");
    let raw: Vec<PathBuf> = std::fs::read_dir(profiles)
        .map_err(|error| format!("{}: {error}", profiles.display()))?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect();
    if raw.is_empty() {
        return Ok(None);
    }
    let merged = profiles.join(format!("{index}.profdata"));
    let mut command = Command::new(&tools.profdata);
    // A child that is killed in the middle of writing leaves a broken file; it is left out.
    command
        .args(["merge", "--sparse", "--failure-mode=all"])
        .args(&raw)
        .arg("-o")
        .arg(&merged);
    output(&mut command)?;
    let mut command = Command::new(&tools.cov);
    command
        .args(["export", "--format=lcov", "--instr-profile"])
        .arg(&merged);
    command.arg(binary);
    for program in programs {
        let mut object = OsString::from("--object=");
        object.push(program);
        command.arg(object);
    }
    match output(&mut command) {
        // A test of another system is an empty program here.
        Err(message) if message.contains("no coverage data found") => Ok(None),
        report => report.map(Some),
    }
}

fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name}: {}: {}", output.status, said.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_compiler_and_tools_are_read() {
        assert_eq!(llvm_major("host: x\nLLVM version: 22.1.4\n"), Some(22));
        let tool = "Debian LLVM version 14.0.6\n  Optimized build.";
        assert_eq!(llvm_major(tool), Some(14));
        assert_eq!(llvm_major("rustc 1.97"), None);
    }

    #[test]
    fn tests_and_programs_are_told_apart() {
        let line = |test: bool, path: &str| {
            format!(
                "{{\"reason\":\"compiler-artifact\",\"manifest_path\":\"C:\\\\a\\\\Cargo.toml\",\
                 \"profile\":{{\"opt_level\":\"1\",\"test\":{test}}},\"executable\":{path}}}\n"
            )
        };
        let messages =
            line(true, "\"/t/seam-0a\"") + &line(false, "\"/t/b\"") + &line(true, "null");
        let binaries = Binaries::new(&messages);
        assert_eq!(binaries.programs, [PathBuf::from("/t/b")]);
        assert_eq!(binaries.tests.len(), 1);
        assert_eq!(binaries.tests[0].name(), "seam");
    }

    #[test]
    fn a_machine_without_nightly_is_told_so() {
        let machine = Machine {
            root: PathBuf::from("nowhere"),
            host: "x86_64-unknown-linux-gnu".to_owned(),
            has_nightly: false,
            has_library_source: false,
        };
        assert!(plan(&machine).unwrap_err().contains("no nightly toolchain"));
    }
}
