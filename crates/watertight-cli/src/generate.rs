//! What is generated from the one definition of the flags: completions and manual pages, on standard output.

use crate::cli::Cli;
use crate::diagnostics;
use crate::platform;
use crate::topics;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::io::{self, Write};

/// Prints a completion script and returns the exit code.
pub(crate) fn completions(shell: Shell) -> u8 {
    // Into memory first: the generator cannot fail there, and standard output can.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "watertight", &mut script);
    print(&script)
}

/// Prints a manual page and returns the exit code.
pub(crate) fn man(subcommand: Option<&str>) -> u8 {
    let mut program = Cli::command();
    program.build();
    let command = match subcommand {
        None => Some(program),
        Some(name) => program.find_subcommand(name).cloned(),
    };
    let Some(command) = command else {
        let name = subcommand.unwrap_or_default();
        return complain(
            &format!("there is no subcommand `{name}`; `watertight help` lists them"),
            2,
        );
    };
    match page(command, subcommand) {
        Ok(text) => print(text.as_bytes()),
        Err(error) => complain(&format!("the page could not be made: {error}"), 1),
    }
}

/// The manual page of the program, or of one subcommand.
fn page(command: Command, subcommand: Option<&str>) -> io::Result<String> {
    let has_subcommands = command.has_subcommands();
    let name = command.get_display_name().unwrap_or("watertight");
    let name = name.to_uppercase();
    let mut head = Roff::new();
    let source = concat!("watertight ", env!("CARGO_PKG_VERSION"));
    // The quotes are an empty date: without them what follows would be taken for it.
    let title = [name.as_str(), "1", "\"\"", source, "User Commands"];
    head.control("TH", title);
    let mut text = head.render().into_bytes();
    let generated = Man::new(command);
    generated.render_name_section(&mut text)?;
    generated.render_synopsis_section(&mut text)?;
    generated.render_description_section(&mut text)?;
    generated.render_options_section(&mut text)?;
    if has_subcommands {
        generated.render_subcommands_section(&mut text)?;
    }
    let mut tail = Roff::new();
    topics::in_manual(topics::of(subcommand), &mut tail);
    see_also(subcommand, &mut tail);
    tail.to_writer(&mut text)?;
    let text = String::from_utf8(text).map_err(io::Error::other)?;
    // Every part begins with the same definition, which is needed once.
    let definition = Roff::new().render();
    Ok(definition.clone() + &text.replace(&definition, ""))
}

/// The other pages.
fn see_also(subcommand: Option<&str>, page: &mut Roff) {
    const PAGES: [(&str, Option<&str>); 3] = [
        ("watertight", None),
        ("watertight-copy", Some("copy")),
        ("watertight-run", Some("run")),
    ];
    let others = PAGES.iter().filter(|(_, of)| *of != subcommand);
    let names: Vec<&str> = others.map(|(name, _)| *name).collect();
    page.control("SH", ["SEE ALSO"]);
    for (at, name) in names.iter().enumerate() {
        let is_last = at + 1 == names.len();
        let after = if is_last { "(1)" } else { "(1)," };
        page.text([bold(*name), roman(after)]);
    }
}

fn print(text: &[u8]) -> u8 {
    printed(io::stdout().write_all(text))
}

/// The exit code after something was printed on standard output: what does not get through is told, and is no success.
pub(crate) fn printed(result: io::Result<()>) -> u8 {
    let flushed = result.and_then(|()| io::stdout().flush());
    // To std a stream that is closed takes everything.
    match flushed.and_then(|()| platform::standard_at_start(1)) {
        Ok(()) => 0,
        Err(error) => complain(&format!("cannot write to standard output: {error}"), 1),
    }
}

fn complain(text: &str, code: u8) -> u8 {
    diagnostics::tell(text);
    code
}
