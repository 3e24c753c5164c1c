//! What is generated from the one definition of the flags: completions and manual pages, on standard output.

use crate::diagnostics;
use crate::flags::Cli;
use clap::CommandFactory;
use clap_complete::Shell;
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
    let title = command
        .get_display_name()
        .unwrap_or("watertight")
        .to_owned();
    let mut text = Vec::new();
    match clap_mangen::Man::new(command)
        .title(title)
        .render(&mut text)
    {
        Ok(()) => print(&text),
        Err(error) => complain(&format!("the page could not be made: {error}"), 1),
    }
}

fn print(text: &[u8]) -> u8 {
    printed(io::stdout().write_all(text))
}

/// The exit code after something was printed on standard output: what does not get through is told, and is no success.
pub(crate) fn printed(result: io::Result<()>) -> u8 {
    match result.and_then(|()| io::stdout().flush()) {
        Ok(()) => 0,
        Err(error) => complain(&format!("cannot write to standard output: {error}"), 1),
    }
}

fn complain(text: &str, code: u8) -> u8 {
    diagnostics::tell(text);
    code
}
