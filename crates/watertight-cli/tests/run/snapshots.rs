//! What the program says, word for word: its help, its manual pages, and its messages. The words are in `tests/snapshots`.
//!
//! When words are meant to change: `WATERTIGHT_BLESS=1 cargo test -p watertight-cli --test run snapshots`, and look at what
//! git says of the files.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::EXE;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Set, it has the files written instead of compared.
const BLESS: &str = "WATERTIGHT_BLESS";

/// One screen.
const ROWS: usize = 24;
const COLUMNS: usize = 80;

fn said(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(EXE);
    command
        .args(arguments)
        .current_dir(folder)
        .env("COLUMNS", COLUMNS.to_string())
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    command.output().unwrap()
}

fn printed(arguments: &[&str]) -> String {
    let output = said(Path::new("."), arguments);
    assert!(output.status.success(), "{arguments:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    // On Windows the usage has the program's file name.
    text.replace("\r\n", "\n")
        .replace("watertight.exe", "watertight")
}

/// What differs from version to version is left out.
fn without_version(text: &str) -> String {
    text.replace(env!("CARGO_PKG_VERSION"), "[VERSION]")
}

/// What differs from run to run is left out: times and rates.
#[cfg(unix)]
fn without_times(text: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in text.split(' ') {
        let is_seconds = word == "s" || word.starts_with("s;") || word.starts_with("s,");
        let is_rate = word.contains("B/s");
        if let Some(last) = words.last_mut().filter(|_| is_seconds || is_rate) {
            *last = "[N]";
        }
        words.push(if is_rate { "[RATE]" } else { word });
    }
    words.join(" ")
}

#[track_caller]
fn compare(name: &str, text: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let path: PathBuf = folder.join(name);
    if std::env::var_os(BLESS).is_some() {
        fs::create_dir_all(&folder).unwrap();
        fs::write(&path, text).unwrap();
        return;
    }
    let known = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; {BLESS}=1 writes it", path.display()));
    let known = known.replace("\r\n", "\n");
    let mut lines = known.lines().zip(text.lines()).enumerate();
    let first = lines.find(|(_, (known, now))| known != now);
    assert!(
        known == text,
        "{name} has changed; first in line {:?} (none: its length); {BLESS}=1 takes the new words over. Now it is:\n{text}",
        first.map(|(at, _)| at + 1)
    );
}

#[test]
fn the_help_is_as_it_is_written_down() {
    for (name, arguments) in [
        ("help-short.txt", &["-h"][..]),
        ("help-long.txt", &["--help"][..]),
        ("copy-help-short.txt", &["copy", "-h"][..]),
        ("copy-help-long.txt", &["copy", "--help"][..]),
        ("run-help-short.txt", &["run", "-h"][..]),
        ("run-help-long.txt", &["run", "--help"][..]),
    ] {
        compare(name, &without_version(&printed(arguments)));
    }
}

#[test]
fn the_manual_pages_are_as_they_are_written_down() {
    for (name, arguments) in [
        ("watertight.1", &["man"][..]),
        ("watertight-copy.1", &["man", "copy"][..]),
        ("watertight-run.1", &["man", "run"][..]),
    ] {
        compare(name, &without_version(&printed(arguments)));
    }
}

#[test]
fn a_short_help_fits_on_one_screen() {
    for arguments in [&["-h"][..], &["copy", "-h"][..], &["run", "-h"][..]] {
        let text = printed(arguments);
        assert!(text.lines().count() <= ROWS, "{arguments:?}: {text}");
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS, "{arguments:?}: {line}");
        }
    }
}

#[test]
fn a_manual_page_has_its_sections() {
    for (arguments, sections) in [
        (&["man"][..], &["SUBCOMMANDS", "ENVIRONMENT"][..]),
        (
            &["man", "copy"][..],
            &["OPTIONS", "ADDRESSES", "\"EXIT STATUS\""][..],
        ),
        (
            &["man", "run"][..],
            &["OPTIONS", "STREAMS", "\"EXIT STATUS\""][..],
        ),
    ] {
        let page = printed(arguments);
        let common = [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "EXAMPLES",
            "\"SEE ALSO\"",
        ];
        for section in common.iter().chain(sections) {
            assert!(page.contains(&format!("\n.SH {section}\n")), "{section}");
        }
        assert_eq!(
            page.matches(".ds Aq").count(),
            2,
            "one definition, of two lines"
        );
    }
}

/// What `man --warnings` and more would say of the pages. Where there is no groff nobody can ask it.
#[cfg(unix)]
#[test]
fn groff_has_no_complaint_about_the_manual_pages() {
    use std::io::Write;

    for arguments in [&["man"][..], &["man", "copy"][..], &["man", "run"][..]] {
        let page = printed(arguments);
        let mut groff = Command::new("groff");
        groff.args([
            "-man",
            "-Tutf8",
            "-wmac",
            "-wchar",
            "-wescape",
            "-wmissing",
            "-z",
        ]);
        let started = groff.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let Ok(mut groff) = started else {
            println!("skipped: there is no groff");
            return;
        };
        let mut stdin = groff.stdin.take().unwrap();
        stdin.write_all(page.as_bytes()).unwrap();
        drop(stdin);
        let output = groff.wait_with_output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert_eq!(complaints, "", "{arguments:?}");
    }
}

/// What is wrong with arguments, addresses, files and systems. Each message names the end, the step, what the system said, and
/// where there is one the way out.
#[cfg(target_os = "linux")]
#[test]
fn the_messages_are_as_they_are_written_down() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("source"), [b'x'; 1000]).unwrap();
    let mut all = String::new();
    for arguments in [
        &["copy"][..],
        &["copy", "-", ""],
        &["copy", "-", "foo:bar"],
        &["copy", "-", "unix:/x"],
        &["copy", "-", "a,appendix"],
        &["copy", "-", "exec:"],
        &["copy", "-", "-", "-"],
        &["copy", "--rate", "0", "source", "-"],
        &["copy", "--limit", "x", "source", "-"],
        &["copy", "--idle", "soon", "source", "-"],
        &["copy", "--slow", "sometimes", "source", "-"],
        &["copy", "--progress-every", "2s", "source", "-"],
        &[
            "copy",
            "--report",
            "none",
            "--report-to",
            "x",
            "source",
            "-",
        ],
        &["copy", "missing", "target"],
        &["copy", "source", "missing/target"],
        &["copy", "source", "missing,create=no"],
        &["copy", ".", "target"],
        &["copy", "source", "."],
        &["copy", "source", "source"],
        &["copy", "source", "fd:99"],
        &["copy", "source", "/dev/fd/99"],
        &["copy", "source", "/dev/stdout,exclusive"],
        &["copy", "source", "fifo:source"],
        &["copy", "source", "exec:no-such-program-here"],
        &["copy", "--report-to", "missing/report", "source", "target"],
        &["copy", "/proc/self/mem", "target"],
        &["copy", "--expect-bytes", "7", "source", "target"],
        &[
            "copy", "--limit", "10", "--report", "text", "source", "target",
        ],
        &["copy", "source", "exec:sh -c 'cat >/dev/null; exit 7'"],
        &["run"],
        &["run", "--report-to", "x", "--", "true"],
        &["run", "--stdin", "exec:cat", "--", "true"],
        &["run", "--stdin", "missing", "--", "true"],
        &["run", "--", "no-such-program-here"],
        &["run", "--", "./source"],
        &["run", "--max-output", "5", "--", "echo", "too much"],
        &["man", "nothing"],
    ] {
        let output = said(folder.path(), arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        let code = output.status.code().unwrap();
        all += &format!("$ watertight {}\n", arguments.join(" "));
        all += &without_times(&stderr);
        all += &format!("({code})\n\n");
    }
    compare("messages.txt", &all);
}
