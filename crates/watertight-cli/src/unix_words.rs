//! What an address means on Unix: names are bytes, commands are word lists, and there are descriptor numbers.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::Command;

/// Whether `c:` begins a path.
pub(crate) const HAS_DRIVES: bool = false;
/// Whether `fd:N` means anything.
pub(crate) const HAS_DESCRIPTORS: bool = true;

/// A program and its arguments.
#[derive(Clone, Debug)]
pub(crate) struct CommandLine {
    program: OsString,
    arguments: Vec<OsString>,
}

impl CommandLine {
    pub(crate) fn to_command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
    }
}

/// Takes a command apart by the shell's quoting rules; no shell runs, so nothing is expanded.
pub(crate) fn command_line(text: OsString) -> Result<CommandLine, String> {
    let words = shlex::bytes::split(text.as_bytes()).ok_or(
        "the quotes of the command do not match; close them, or write a literal one as \\' or \\\"",
    )?;
    let mut words = words.into_iter().map(OsString::from_vec);
    match words.next().filter(|program| !program.is_empty()) {
        None => Err(
            "the command is empty; write a program after the colon, as in `exec:sha256sum`"
                .to_owned(),
        ),
        Some(program) => Ok(CommandLine {
            program,
            arguments: words.collect(),
        }),
    }
}

/// A name from its bytes.
pub(crate) fn os_string(bytes: &[u8]) -> Option<OsString> {
    Some(OsStr::from_bytes(bytes).to_owned())
}
