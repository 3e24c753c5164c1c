//! The figures of docs/testing.md, taken from the logs of the commands that produce them and never typed.

use crate::machine;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Where they stand in the document.
const DOCUMENT: &str = "docs/testing.md";
const BEGIN: &str = "<!-- figures: written by `cargo xtask figures --write` -->";
const END: &str = "<!-- figures: end -->";

/// One figure: what it is about, the log it is in, what its line contains, and the command that makes the log.
struct Figure {
    about: &'static str,
    log: &'static str,
    holds: &'static str,
    command: &'static str,
}

const fn figure(
    about: &'static str,
    log: &'static str,
    holds: &'static str,
    command: &'static str,
) -> Figure {
    Figure {
        about,
        log,
        holds,
        command,
    }
}

const FIGURES: [Figure; 15] = [
    figure("seeds", "sim", "seeds, ", "cargo xtask ci --only sim"),
    figure(
        "every fault, simulated",
        "sim",
        "scenarios, ",
        "cargo xtask ci --only sim",
    ),
    figure(
        "tables",
        "sim",
        "cells (call x code)",
        "cargo xtask ci --only sim",
    ),
    figure(
        "canary",
        "canary",
        "canary: ",
        "cargo xtask ci --only canary",
    ),
    figure(
        "every fault, real kernel",
        "faults",
        "faulted runs in ",
        "cargo xtask ci --only faults",
    ),
    figure(
        "models of races",
        "loom",
        "test result: ok",
        "cargo xtask ci --only loom",
    ),
    figure(
        "their broken twins",
        "twins",
        " caught, ",
        "cargo xtask ci --only twins",
    ),
    figure(
        "planted bugs",
        "planted",
        " caught, ",
        "cargo xtask ci --only planted",
    ),
    figure(
        "lines and branches, core",
        "coverage",
        "watertight-core, all",
        "cargo xtask ci --only coverage",
    ),
    figure(
        "lines and branches, table of Unix",
        "coverage",
        "unix/classify.rs",
        "cargo xtask ci --only coverage",
    ),
    figure(
        "lines and branches, table of Windows",
        "coverage",
        "windows/classify.rs",
        "cargo xtask ci --only coverage",
    ),
    figure(
        "lines and branches, os",
        "coverage",
        "watertight-os, all",
        "cargo xtask ci --only coverage",
    ),
    figure(
        "lines and branches, watertight",
        "coverage",
        "watertight, all",
        "cargo xtask ci --only coverage",
    ),
    figure(
        "mutants of the core",
        "mutants",
        "core: ",
        "cargo xtask ci --only mutants",
    ),
    figure(
        "mutants of the driver",
        "mutants",
        "driver: ",
        "cargo xtask ci --only mutants",
    ),
];

/// The command `figures`: prints the table, and with `--write` puts it into the document.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<bool, String> {
    let write = match arguments {
        [] => false,
        [only] if only == "--write" => true,
        _ => return Err("figures knows only --write".to_owned()),
    };
    let commit = machine::answer("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_default();
    let table = table(&commit, |log| {
        let path = root.join("target/ci").join(format!("{log}.log"));
        fs::read_to_string(path).unwrap_or_default()
    });
    println!("{table}");
    if write {
        let path = root.join(DOCUMENT);
        let text = fs::read_to_string(&path).map_err(|error| format!("{DOCUMENT}: {error}"))?;
        let text = replaced(&text, &table)?;
        fs::write(&path, text).map_err(|error| format!("{DOCUMENT}: {error}"))?;
    }
    Ok(true)
}

fn table(commit: &str, log: impl Fn(&str) -> String) -> String {
    let mut table = format!(
        "As of commit {}:\n\n| | figure | command |\n| --- | --- | --- |\n",
        commit.trim()
    );
    for figure in &FIGURES {
        let text = log(figure.log);
        let said = text.lines().rfind(|line| line.contains(figure.holds));
        let said = said.map_or("no log here".to_owned(), squeezed);
        // Writing into a String cannot fail.
        let _ = writeln!(
            table,
            "| {} | {said} | `{}` |",
            figure.about, figure.command
        );
    }
    table
}

/// One line without its columns, and without what a table would take for its own.
fn squeezed(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    words.join(" ").replace('|', "/")
}

fn replaced(text: &str, table: &str) -> Result<String, String> {
    let missing = || format!("{DOCUMENT} has no `{BEGIN}` and `{END}`");
    let (before, rest) = text.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_log_is_the_figure_and_a_missing_log_is_said() {
        let table = table("abc\n", |log| match log {
            "sim" => "10 seeds, x\n20   seeds, a | b\n".to_owned(),
            _ => String::new(),
        });
        assert!(table.starts_with("As of commit abc:\n"));
        assert!(table.contains("| seeds | 20 seeds, a / b | `cargo xtask ci --only sim` |\n"));
        assert!(table.contains("| canary | no log here |"));
    }

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = replaced(&text, "new\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}\n\nnew\n\n{END}\nb\n"));
        assert!(replaced("a", "new").unwrap_err().contains(DOCUMENT));
    }
}
