//! What the long help and the manual pages say beside the options. Every topic is written once; here it is laid out for both.

use clap_mangen::roff::{Roff, bold, roman};

/// No line of the help is longer, so that no terminal breaks it.
const COLUMNS: usize = 78;
/// Terms that take more are followed by a line break.
const TERM_COLUMNS: usize = 14;

/// A section of its own.
#[derive(Clone, Copy)]
pub(crate) struct Topic {
    /// As the help has it. The manual page has it in capitals.
    pub(crate) heading: &'static str,
    pub(crate) contents: &'static [Content],
}

/// What a topic consists of.
pub(crate) enum Content {
    /// Lines as they are.
    Lines(&'static [&'static str]),
    /// A paragraph.
    Paragraph(&'static str),
    /// Terms, and what each means.
    Terms(&'static [(&'static str, &'static str)]),
}

use Content::{Lines, Paragraph, Terms};

pub(crate) const ADDRESSES: Topic = Topic {
    heading: "Addresses",
    contents: &[
        Terms(&[
            (
                "-",
                "standard input (source), standard output (destination)",
            ),
            ("PATH", "a file; the same as file:PATH"),
            (
                "file:PATH",
                "a file. A destination is written beside, as PATH.partial, and renamed when the copy was whole; otherwise the \
                 old file is as it was, and the partial stays. What cannot be kept that way (other links, the owner, access \
                 lists ...) means in place; the report says how. Options follow:",
            ),
            (",append", "write behind what is there (in place)"),
            (",create=no", "it must exist"),
            (",exclusive", "it must not exist, and replaces nothing"),
            (
                ",inplace",
                "for a file that is watched (tail -f), or captured",
            ),
            (
                ",resume",
                "go on with the PATH.partial of a copy that was cut, if there is one: it is compared with the beginning of the \
                 source, and only what is behind it is written. If they differ, nothing is touched",
            ),
            (
                "fifo:PATH",
                "a FIFO (Unix); opening it waits for the other side",
            ),
            (
                "fd:N",
                "a descriptor the program was started with (Unix), read or written as it was opened: nothing is emptied. So are its other \
                 names: /dev/stdin, /dev/stdout, /dev/stderr, /dev/fd/N, /proc/self/fd/N, and links to them",
            ),
            (
                "exec:COMMAND",
                "a child process. Of a source its standard output (its input is empty), of a destination its standard input \
                 (its output goes to ours, or to standard error if ours has the data of `-`); its exit status counts. No shell \
                 runs: Unix takes the words apart by the shell's quoting rules, Windows passes on all that follows the \
                 program's name (to a batch file word by word). For pipes, variables and patterns: 'exec:sh -c \"...\"'. \
                 When the copy fails, it and all it started are asked to end, before the input of a destination ends, and killed after 2 s \
                 (on Windows at once, unasked). So is whoever it left behind, if it has ended by then, with every exit code but 0 (those of \
                 a destination not with --on-failure end); options follow:",
            ),
            (
                ",ok=CODES",
                "exit codes that mean well, as in ,ok=0,1 (without this: 0)",
            ),
            (
                ",pipe",
                "the input of a destination is a plain pipe, for commands that open /dev/stdin themselves. It has no sign for a cut \
                 stream: one looks whole if `watertight` is killed, and to a command that it cannot kill (under sudo), which the \
                 report tells",
            ),
        ]),
        Paragraph(
            "A comma in a name or a command is written twice: `,,`. A file that is named `foo:bar` is file:foo:bar.",
        ),
    ],
};

pub(crate) const UNITS: Topic = Topic {
    heading: "Units",
    contents: &[
        Paragraph(
            "Sizes: k, M, G, T are powers of 1000; Ki, Mi, Gi, Ti powers of 1024. Durations: 500ms, 1.5s, 2m, 1h; a bare number \
             means seconds.",
        ),
        Paragraph(
            "Nothing is cut short by default: without a deadline the copy ends when the source, all destinations and all \
             children have ended.",
        ),
    ],
};

pub(crate) const COPY_EXIT_STATUS: Topic = Topic {
    heading: "Exit status",
    contents: &[
        Paragraph(
            "Computed from the closing report. When several apply, the first of this list counts:",
        ),
        Terms(&[
            (
                "129, 130, 131, 143",
                "interrupted (SIGHUP, SIGINT or Ctrl-C, SIGQUIT or Ctrl-\\, SIGTERM); the account is printed. Every other \
                 signal that would end us interrupts, too (SIGALRM, SIGPWR, SIGUSR2, SIGXCPU, real-time signals, ...): 128 + N. One \
                 that was ignored at the start stays ignored",
            ),
            ("2", "wrong usage; nothing was opened"),
            ("3", "an address could not be opened; nothing was copied"),
            (
                "4",
                "the source failed while it was read, a file became shorter, --sealed did not find a whole sealed stream, or a \
                 partial (,resume) is not the beginning of the source",
            ),
            (
                "6",
                "a deadline passed (--idle, --drain-within, --slow-after)",
            ),
            (
                "5",
                "a destination ended early: bytes that were read did not reach it, or its reader closed with bytes unread; or its \
                 file could not be renamed or synced. Destinations dropped by `--dead drop` count too: bytes are missing there",
            ),
            (
                "8",
                "a child ended badly (a non-zero status, or a signal). One whose pipe we closed before its end, or that we \
                 killed, does not count: its status is a consequence. Nor does that of the source, once --limit was reached",
            ),
            ("7", "--expect-bytes was not met"),
            (
                "1",
                "anything else, for instance a report that could not be saved, or a report, a hash or --progress json that could not \
                 be written",
            ),
            (
                "0",
                "every byte read was transferred to every destination, and nothing of the above happened",
            ),
        ]),
    ],
};

pub(crate) const COPY_SIGNALS: Topic = Topic {
    heading: "Signals and messages",
    contents: &[
        Paragraph(
            "A second Ctrl-C ends the program at once, without an account. (Signals that come within 200 ms of the first are the same request, \
             as those of a terminal that is closed and of whoever supervises its session.) SIGUSR1 (and SIGINFO, Ctrl-T, where there is one) \
             prints the account so far. SIGUSR1, SIGHUP, SIGINT, SIGQUIT and SIGTERM are heard also if they were blocked when we were \
             started; a command finds them blocked.",
        ),
        Paragraph(
            "Nothing is said on standard error, by us or by children, while it is an end of the copy, as in \
             `copy src - 2>&1 | ...`: see the exit code, --report-to. If standard output is one too, or is closed, what a destination's \
             command prints is discarded. The report has both (`output_discarded`, `stderr_discarded`).",
        ),
        Paragraph(
            "With several destinations the progress has a line for each: what it has got, its rate, what is queued for it, and its \
             state: behind, held (it has everything, and its end waits until all is known to be well), ending, ended, failed or \
             dropped.",
        ),
        Paragraph(
            "In JSON, a name that is no Unicode text has its bytes in base64 beside it: `address_base64`, `partial_base64`, \
             `left_base64`, and in the progress `waiting_for_base64` and `ending_base64`.",
        ),
    ],
};

pub(crate) const COPY_EXAMPLES: Topic = Topic {
    heading: "Examples",
    contents: &[Lines(&[
        "watertight copy /usr/bin/bash exec:sha256sum",
        "watertight copy big.iso file:/mnt/usb/big.iso",
        "tar cf - dir | watertight copy --rate 20M - 'exec:ssh host tar xf -'",
        "watertight copy --dead drop --slow drop exec:producer \\",
        "    log.txt,append 'exec:sh -c \"grep error >errors\"'",
        "watertight copy --idle 30s --report json --report-to account.json \\",
        "    fifo:/run/feed out.bin",
        "(watertight copy --limit 512 - header && sort) <records",
        "watertight copy --seal 'exec:pg_dump shop' - | \\",
        "    ssh host watertight copy --sealed - 'exec:./import'",
    ])],
};

pub(crate) const STREAMS: Topic = Topic {
    heading: "Streams",
    contents: &[
        Paragraph(
            "Streams that no option has to see are the command's as they are ours, with --merge too: a terminal stays one, and \
             whoever holds one when the command is over is not waited for. With --max-output, --quiet-after-exit or --after-exit its \
             outputs are pipes, passed on as they come. With --tty all three are a terminal of its own.",
        ),
        Paragraph("The addresses of --stdin, --stdout and --stderr:"),
        Terms(&[
            ("-", "ours of the same name"),
            (
                "PATH",
                "a file; outputs take options: PATH,append PATH,create=no PATH,exclusive. One that is overwritten is emptied \
                 right before the start; one that was made for a command that cannot be started is removed",
            ),
            (
                "fifo:PATH",
                "a FIFO (Unix); opening it waits for the other side, until --within",
            ),
            (
                "fd:N",
                "a descriptor the program was started with (Unix); fd:1 is ours, and so is /dev/stdout",
            ),
        ]),
        Paragraph(
            "Both outputs into one file, FIFO or descriptor are one stream, in the order in which the command writes. Streams \
             are handed to the command as they are, and so are our further descriptors (Unix). LISTEN_PID, which says whom \
             those of LISTEN_FDS are for, still names us then; `sh -c 'LISTEN_PID=$$ exec CMD'` names the command.",
        ),
    ],
};

pub(crate) const RUN_EXIT_STATUS: Topic = Topic {
    heading: "Exit status",
    contents: &[
        Paragraph(
            "The command's own (on Windows all 32 bits), if it ended by itself; 128 + N if a signal N ended it (Unix); or one of these:",
        ),
        Terms(&[
            (
                "124",
                "the deadline passed (--within), and it was ended, or whoever it had left behind was (--adopt-orphans; or they held its \
                 output: see --after-exit)",
            ),
            (
                "125",
                "wrong usage, and nothing was run; or `watertight` itself failed: a stream could not be opened, the report could \
                 not be saved, the system has no more processes; or the command ended with 0 and not all of its output got through, or \
                 whoever it left behind could not be found (--adopt-orphans), or the report could not be written",
            ),
            (
                "126",
                "the command, or what is to run it, was found and cannot be run; or no file can be found by its name (it is too \
                 long, or a circle of symbolic links)",
            ),
            (
                "127",
                "there is no such command, or what is to run it, which its first line (#!) or its header names, is not there",
            ),
            (
                "129, 130, 131, 143",
                "we were asked to end (SIGHUP, SIGINT or Ctrl-C, SIGQUIT or Ctrl-\\, SIGTERM), and ended it. In the foreground \
                 of a terminal those two keys reach the command itself while it runs, and the exit code is what it makes of that. Asked a \
                 second time, 200 ms after the first or later, we leave it no grace, and wait no longer for who takes the report. These signals \
                 are heard also if they were blocked when we were started; the command finds them blocked. Every other signal that would end us \
                 ends it, too (SIGALRM, SIGPWR, SIGUSR1, SIGXCPU, real-time signals, ...): 128 + N. One that was ignored at the start stays ignored",
            ),
        ]),
    ],
};

pub(crate) const RUN_EXAMPLES: Topic = Topic {
    heading: "Examples",
    contents: &[Lines(&[
        "watertight run --within 5m -- make -j4",
        "watertight run --within 30s --max-output 1M --merge -- ./flaky-test",
        "watertight run --quiet-after-exit 500ms -- ./start-daemon.sh",
        "watertight run --stdin in.txt --stdout out.txt --stderr log,append \\",
        "    -- ./job",
        "watertight run --tty --within 10s -- python3 <commands.txt",
        "watertight run --report json --report-to run.json -- cargo build",
    ])],
};

pub(crate) const PROGRAM_EXAMPLES: Topic = Topic {
    heading: "Examples",
    contents: &[Lines(&[
        "watertight copy big.iso /mnt/usb/big.iso exec:sha256sum",
        "watertight run --within 30s --max-output 1M -- ./flaky-test",
        "watertight man copy | man -l -",
    ])],
};

pub(crate) const ENVIRONMENT: Topic = Topic {
    heading: "Environment",
    contents: &[Terms(&[
        (
            "NO_COLOR, TERM",
            "messages about wrong usage have colours on a terminal, unless NO_COLOR is set or TERM is empty or `dumb`",
        ),
        (
            "COLUMNS",
            "how wide the help is, where standard output is no terminal",
        ),
    ])],
};

/// What the help and the page of the program itself, or of one subcommand, have beside the options.
pub(crate) fn of(subcommand: Option<&str>) -> &'static [Topic] {
    match subcommand {
        None => &[PROGRAM_EXAMPLES, ENVIRONMENT],
        Some("copy") => &[
            ADDRESSES,
            UNITS,
            COPY_EXIT_STATUS,
            COPY_SIGNALS,
            COPY_EXAMPLES,
        ],
        Some("run") => &[STREAMS, RUN_EXIT_STATUS, RUN_EXAMPLES],
        Some(_) => &[],
    }
}

/// The topics as text.
pub(crate) fn in_help(topics: &[Topic]) -> String {
    let mut paragraphs = Vec::new();
    for topic in topics {
        let mut text = format!("{}:", topic.heading);
        for content in topic.contents {
            text.push('\n');
            text += &content.in_help();
        }
        paragraphs.push(text);
    }
    paragraphs.join("\n\n")
}

/// The topics as sections of a manual page.
pub(crate) fn in_manual(topics: &[Topic], page: &mut Roff) {
    for topic in topics {
        page.control("SH", [topic.heading.to_uppercase().as_str()]);
        for content in topic.contents {
            content.in_manual(page);
        }
    }
}

impl Content {
    fn in_help(&self) -> String {
        match self {
            Lines(lines) => indented(lines.iter().copied()),
            Paragraph(text) => indented(filled(text, COLUMNS - 2).iter().map(String::as_str)),
            Terms(terms) => {
                let longest = terms.iter().map(|(term, _)| term.len()).max();
                let columns = longest.unwrap_or_default().min(TERM_COLUMNS);
                let terms = terms.iter();
                let terms = terms.map(|(term, meaning)| explained(term, meaning, columns));
                terms.collect::<Vec<_>>().join("\n")
            }
        }
    }

    fn in_manual(&self, page: &mut Roff) {
        match self {
            Lines(lines) => {
                page.control("PP", []).control("nf", []);
                for line in *lines {
                    page.text([roman(*line)]);
                }
                page.control("fi", []);
            }
            Paragraph(text) => {
                page.control("PP", []).text([roman(*text)]);
            }
            Terms(terms) => {
                for (term, meaning) in *terms {
                    let line = page.control("TP", []);
                    line.text([bold(*term)]).text([roman(*meaning)]);
                }
            }
        }
    }
}

/// A term in so many columns, and what it means beside it.
fn explained(term: &str, meaning: &str, columns: usize) -> String {
    let indent = columns + 4;
    let mut text = format!("  {term:columns$}");
    for (at, line) in filled(meaning, COLUMNS - indent).iter().enumerate() {
        if at == 0 && term.len() <= columns {
            text += "  ";
        } else {
            text.push('\n');
            text += &" ".repeat(indent);
        }
        text += line;
    }
    text
}

fn indented<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let lines = lines.map(|line| format!("  {line}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The words in lines of so many characters at most.
fn filled(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: [Option<&str>; 3] = [None, Some("copy"), Some("run")];

    #[test]
    fn no_line_of_the_help_is_too_long_and_none_ends_in_a_blank() {
        for page in PAGES {
            for line in in_help(of(page)).lines() {
                assert!(line.len() <= COLUMNS, "{line}");
                assert_eq!(line, line.trim_end(), "{line}");
            }
        }
    }

    #[test]
    fn terms_stand_in_a_column_and_their_meaning_beside_them() {
        let topic = Topic {
            heading: "Words",
            contents: &[Terms(&[("a", "first"), ("bcd", "second")]), Paragraph("x")],
        };
        assert_eq!(
            in_help(&[topic]),
            "Words:\n  a    first\n  bcd  second\n  x"
        );
    }

    #[test]
    fn the_manual_escapes_what_roff_would_take_for_its_own() {
        let topic = Topic {
            heading: "Exit status",
            contents: &[Lines(&[".a \\b", "'c"])],
        };
        let mut page = Roff::new();
        in_manual(&[topic], &mut page);
        let text = page.render();
        assert!(text.contains(".SH \"EXIT STATUS\"\n.PP\n.nf\n"), "{text}");
        assert!(text.contains("\n\\&.a \\\\b\n"), "{text}");
        assert!(
            text.ends_with("\n.fi\n") && !text.contains("\n'c"),
            "{text}"
        );
    }
}
