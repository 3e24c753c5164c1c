//! The command line: every subcommand. Help, completions and the man page come from here.

use crate::flags::CopyFlags;
use crate::run_flags::RunFlags;
use crate::topics;
use clap::{Parser, Subcommand};

/// What the short help of the program says at its end.
const SEE: &str = "\
Examples:
  watertight copy big.iso /mnt/usb/big.iso exec:sha256sum
  watertight run --within 30s -- ./flaky-test
More: watertight copy -h, watertight run -h; all of it with --help, or as
manual pages: watertight man copy | man -l -";

/// Moves bytes through pipes and accounts for every one of them.
#[derive(Debug, Parser)]
#[command(
    name = "watertight",
    version,
    arg_required_else_help = true,
    max_term_width = 80,
    after_help = SEE,
    after_long_help = topics::in_help(topics::of(None))
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Task,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Copy a source to one or several destinations and account for every byte
    ///
    /// Every destination gets all bytes of the source, at the pace of the slowest. The exit code says whether every byte got
    /// through; the report says where each of them is. No destination is given the end of its stream before everything is known
    /// to be well: a command that commits what it got at the end of its input never commits a part.
    Copy(Box<CopyFlags>),
    /// Run a command with limits, end it as a tree, and say what became of it
    ///
    /// A deadline ends the command and its tree, not only its first process (see --within). What it wrote until then is there. A
    /// daemon that holds its output is waited for, or named (--quiet-after-exit), where that output goes through us (see Streams);
    /// else only --adopt-orphans sees it.
    Run(Box<RunFlags>),
    /// Print the manual page (roff), of the program or of one subcommand
    Man {
        /// The subcommand
        subcommand: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::HashChoice;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_hash_flag_does_not_swallow_the_source() {
        let cli = Cli::try_parse_from(["watertight", "copy", "--hash", "a", "b"]).unwrap();
        let Task::Copy(flags) = cli.command else {
            panic!("not a copy");
        };
        assert_eq!(flags.hash, Some(HashChoice::Sha256));
        assert_eq!(flags.source.text, "a");
        assert_eq!(flags.destinations.len(), 1);
    }
}
