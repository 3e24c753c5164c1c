//! What is compared with what: from where to where bytes go, who carries them, and what each of them is told for that.

use super::stages::{OURS_BYTES, Stage, WIDE_BYTES, stage};

/// What the files are called in the folder of this run.
pub(super) const SOURCE: &str = "source";
pub(super) const PART: &str = "part";
pub(super) const EMPTY: &str = "empty";
pub(super) const TARGET: &str = "target";
/// How many MiB the smaller file has: for trials, and for counts, which need no more.
pub(super) const PART_MIB: u64 = 64;
/// Two of three readers have FIFOs, for a program has one standard output.
pub(super) const FIFOS: [&str; 2] = ["fifo-1", "fifo-2"];

/// From where to where.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Flow {
    /// Into a child, which is `cat`, and back.
    Child,
    FileToFile,
    FileToNull,
    FileToPipe,
    /// From a pipe to a pipe, with a hash.
    Hashed,
    OneToThree,
    PipeToFile,
    PipeToNull,
    PipeToPipe,
    /// From a pipe to a pipe, both wide for everybody.
    WidePipes,
}

/// Where bytes come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Source {
    File,
    /// The tool has them.
    Nothing,
    Pipe,
}

/// Where they go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sink {
    File,
    Null,
    Pipe,
    ThreePipes,
}

impl Flow {
    pub(super) const ALL: [Flow; 10] = [
        Flow::FileToFile,
        Flow::FileToNull,
        Flow::FileToPipe,
        Flow::PipeToFile,
        Flow::PipeToNull,
        Flow::PipeToPipe,
        Flow::WidePipes,
        Flow::OneToThree,
        Flow::Hashed,
        Flow::Child,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Flow::Child => "Into a child (`cat`) and back",
            Flow::FileToFile => "File to file",
            Flow::FileToNull => "File to /dev/null",
            Flow::FileToPipe => "File to pipe",
            Flow::Hashed => "Pipe to pipe with SHA-256",
            Flow::OneToThree => "One pipe to three",
            Flow::PipeToFile => "Pipe to file",
            Flow::PipeToNull => "Pipe to /dev/null",
            Flow::PipeToPipe => "Pipe to pipe",
            Flow::WidePipes => "Pipe to pipe, both of 1 MiB",
        }
    }

    fn source(self) -> Source {
        match self {
            Flow::FileToFile | Flow::FileToNull | Flow::FileToPipe => Source::File,
            Flow::Child
            | Flow::Hashed
            | Flow::OneToThree
            | Flow::PipeToFile
            | Flow::PipeToNull
            | Flow::PipeToPipe
            | Flow::WidePipes => Source::Pipe,
        }
    }

    fn sink(self) -> Sink {
        match self {
            Flow::FileToFile | Flow::PipeToFile => Sink::File,
            Flow::FileToNull | Flow::PipeToNull => Sink::Null,
            Flow::OneToThree => Sink::ThreePipes,
            Flow::Child | Flow::FileToPipe | Flow::Hashed | Flow::PipeToPipe | Flow::WidePipes => {
                Sink::Pipe
            }
        }
    }

    /// Whether a file is an end of it: those are smaller.
    pub(super) fn has_file(self) -> bool {
        self.source() == Source::File || self.sink() == Sink::File
    }

    /// Whether its pipes are made wide before anybody has them.
    pub(super) fn is_wide(self) -> bool {
        self == Flow::WidePipes
    }

    /// Whether a loop of splice calls can do it: one end is a pipe, and nobody looks at the bytes.
    pub(super) fn can_be_spliced(self) -> bool {
        self.tools().contains(&Tool::Splice)
    }

    /// Who takes part, ours first.
    pub(super) fn tools(self) -> &'static [Tool] {
        use Tool::{
            Cat, Cp, Dd, HashAlone, Mbuffer, Ours, OursHashed, Pv, Sha256sum, Socat, Splice,
            SpliceAlike, SpliceWide, Tee,
        };
        match self {
            Flow::Child => &[Ours, Socat],
            Flow::FileToFile => &[Ours, Cp, Cat, Dd, Pv, Socat, Mbuffer],
            Flow::FileToNull => &[Ours, Cat, Dd, Pv],
            Flow::FileToPipe | Flow::PipeToFile => {
                &[Ours, Splice, SpliceAlike, Cat, Dd, Pv, Socat, Mbuffer]
            }
            Flow::WidePipes => &[Ours, Splice, Cat, Dd, Pv, Socat, Mbuffer],
            Flow::Hashed => &[OursHashed, Ours, HashAlone, Sha256sum],
            Flow::OneToThree => &[Ours, Tee],
            Flow::PipeToNull => &[Ours, Splice, SpliceAlike, Cat, Dd, Pv],
            Flow::PipeToPipe => &[
                Ours,
                Splice,
                SpliceAlike,
                SpliceWide,
                Cat,
                Dd,
                Pv,
                Socat,
                Mbuffer,
            ],
        }
    }
}

/// Who carries the bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tool {
    Cat,
    Cp,
    Dd,
    /// SHA-256 of as many bytes that are in memory, by the crate that ours uses.
    HashAlone,
    Mbuffer,
    Ours,
    OursHashed,
    Pv,
    Sha256sum,
    Socat,
    /// A loop of splice calls and nothing else; the pipes stay as they are.
    Splice,
    /// As `Splice`, after making the pipes as large as ours does.
    SpliceAlike,
    /// As `Splice`, after making both pipes wide.
    SpliceWide,
    Tee,
}

impl Tool {
    pub(super) fn name(self) -> &'static str {
        match self {
            Tool::Cat => "cat",
            Tool::Cp => "cp",
            Tool::Dd => "dd bs=64k",
            Tool::HashAlone => "the hash alone, in memory",
            Tool::Mbuffer => "mbuffer",
            Tool::Ours => "watertight copy",
            Tool::OursHashed => "watertight copy --hash",
            Tool::Pv => "pv",
            Tool::Sha256sum => "sha256sum",
            Tool::Socat => "socat",
            Tool::Splice => "raw splice",
            Tool::SpliceAlike => "raw splice, pipes made 256 KiB",
            Tool::SpliceWide => "raw splice, pipes made 1 MiB",
            Tool::Tee => "tee",
        }
    }

    /// What it is called in `PATH`, if it is not built here.
    pub(super) fn program_name(self) -> Option<&'static str> {
        match self {
            Tool::Cat => Some("cat"),
            Tool::Cp => Some("cp"),
            Tool::Dd => Some("dd"),
            Tool::Mbuffer => Some("mbuffer"),
            Tool::Pv => Some("pv"),
            Tool::Sha256sum => Some("sha256sum"),
            Tool::Socat => Some("socat"),
            Tool::Tee => Some("tee"),
            Tool::HashAlone
            | Tool::Ours
            | Tool::OursHashed
            | Tool::Splice
            | Tool::SpliceAlike
            | Tool::SpliceWide => None,
        }
    }

    pub(super) fn is_ours(self) -> bool {
        matches!(self, Tool::Ours | Tool::OursHashed)
    }

    pub(super) fn is_raw(self) -> bool {
        matches!(self, Tool::Splice | Tool::SpliceAlike | Tool::SpliceWide)
    }

    /// Where it has its bytes from in that flow.
    pub(super) fn source(self, flow: Flow) -> Source {
        if self == Tool::HashAlone {
            Source::Nothing
        } else {
            flow.source()
        }
    }

    /// Where they go. A hash is no copy.
    pub(super) fn sink(self, flow: Flow) -> Sink {
        if matches!(self, Tool::HashAlone | Tool::Sha256sum) {
            Sink::Null
        } else {
            flow.sink()
        }
    }

    /// Whether it opens a source file by itself; else that is its standard input.
    pub(super) fn opens_source(self) -> bool {
        matches!(self, Tool::Cat | Tool::Pv) || self.opens_target()
    }

    /// Whether it opens a target file by itself; else that is its standard output.
    pub(super) fn opens_target(self) -> bool {
        let is_told = matches!(self, Tool::Cp | Tool::Dd | Tool::Mbuffer | Tool::Socat);
        is_told || self.is_ours()
    }

    /// What it is told, in the folder of this run.
    pub(super) fn arguments(self, flow: Flow, mib: u64) -> Vec<String> {
        let from = (flow.source() == Source::File).then(|| source_name(mib));
        let to = (flow.sink() == Sink::File).then_some(TARGET);
        let behind = |word: &str, name: Option<&str>| name.map(|name| format!("{word}{name}"));
        let flag = |word: &'static str, name: Option<&'static str>| {
            name.map_or_else(Vec::new, |name| vec![word, name])
        };
        match self {
            Tool::Cat => words(from),
            Tool::Cp => words(from.into_iter().chain(to)),
            Tool::Dd => {
                let files = [behind("if=", from), behind("of=", to)];
                let fixed = words(["bs=64k", "status=none"]);
                fixed
                    .into_iter()
                    .chain(files.into_iter().flatten())
                    .collect()
            }
            Tool::HashAlone => stage(Stage::Hash, mib),
            Tool::Mbuffer => words([vec!["-q"], flag("-i", from), flag("-o", to)].concat()),
            Tool::Ours => words([vec!["copy", from.unwrap_or("-")], destinations(flow)].concat()),
            Tool::OursHashed => words(
                [
                    vec!["copy", "--hash", from.unwrap_or("-")],
                    destinations(flow),
                ]
                .concat(),
            ),
            Tool::Pv => words(["-q"].into_iter().chain(from)),
            Tool::Sha256sum => Vec::new(),
            // The time is how long it waits for the child's last bytes.
            Tool::Socat if flow == Flow::Child => words(["-t", "60", "-", "EXEC:cat"]),
            Tool::Socat => vec![
                "-u".to_owned(),
                behind("OPEN:", from).unwrap_or_else(|| "STDIN".to_owned()),
                behind("CREATE:", to).unwrap_or_else(|| "STDOUT".to_owned()),
            ],
            Tool::Splice => stage(Stage::Splice, mib),
            Tool::SpliceAlike => splice_in(OURS_BYTES, mib),
            Tool::SpliceWide => splice_in(WIDE_BYTES, mib),
            Tool::Tee => words(FIFOS),
        }
    }
}

/// A raw loop that makes its pipes so large.
fn splice_in(capacity: usize, mib: u64) -> Vec<String> {
    let mut arguments = stage(Stage::Splice, mib);
    arguments.push(format!("--capacity={capacity}"));
    arguments
}

/// The file that has so many MiB.
pub(super) fn source_name(mib: u64) -> &'static str {
    match mib {
        0 => EMPTY,
        PART_MIB => PART,
        _ => SOURCE,
    }
}

/// What ours calls the places where bytes go in that flow.
fn destinations(flow: Flow) -> Vec<&'static str> {
    match flow {
        Flow::Child => vec!["exec:cat"],
        Flow::OneToThree => vec!["fifo:fifo-1", "fifo:fifo-2", "-"],
        Flow::FileToFile | Flow::PipeToFile => vec![TARGET],
        Flow::FileToNull
        | Flow::FileToPipe
        | Flow::Hashed
        | Flow::PipeToNull
        | Flow::PipeToPipe
        | Flow::WidePipes => vec!["-"],
    }
}

fn words(words: impl IntoIterator<Item = &'static str>) -> Vec<String> {
    words.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(tool: Tool, flow: Flow, mib: u64) -> String {
        tool.arguments(flow, mib).join(" ")
    }

    #[test]
    fn everybody_is_told_the_same_in_its_own_way() {
        let flow = Flow::FileToFile;
        assert_eq!(line(Tool::Ours, flow, 1), "copy source target");
        assert_eq!(line(Tool::Cp, flow, 0), "empty target");
        let dd = "bs=64k status=none if=source of=target";
        assert_eq!(line(Tool::Dd, flow, 1), dd);
        assert_eq!(line(Tool::Pv, flow, 1), "-q source");
        assert_eq!(line(Tool::Socat, flow, 1), "-u OPEN:source CREATE:target");
        assert_eq!(line(Tool::Mbuffer, flow, 1), "-q -i source -o target");
    }

    #[test]
    fn pipes_are_standard_streams() {
        let flow = Flow::PipeToPipe;
        assert_eq!(line(Tool::Ours, flow, 1), "copy - -");
        assert_eq!(line(Tool::Cat, flow, 1), "");
        assert_eq!(line(Tool::Dd, flow, 1), "bs=64k status=none");
        assert_eq!(line(Tool::Socat, flow, 1), "-u STDIN STDOUT");
        assert_eq!(
            line(Tool::SpliceWide, flow, 1),
            "program-probe splice 1 --capacity=1048576"
        );
        let hashed = line(Tool::OursHashed, Flow::Hashed, 1);
        assert_eq!(hashed, "copy --hash - -");
    }

    #[test]
    fn three_readers_and_a_child_have_names() {
        let three = format!("copy - fifo:{} fifo:{} -", FIFOS[0], FIFOS[1]);
        assert_eq!(line(Tool::Ours, Flow::OneToThree, 1), three);
        assert_eq!(line(Tool::Tee, Flow::OneToThree, 1), "fifo-1 fifo-2");
        assert_eq!(line(Tool::Ours, Flow::Child, 1), "copy - exec:cat");
    }

    #[test]
    fn ours_is_in_every_flow_and_nobody_is_there_twice() {
        for flow in Flow::ALL {
            let tools = flow.tools();
            assert!(tools.contains(&Tool::Ours), "{flow:?}");
            for (index, tool) in tools.iter().enumerate() {
                assert!(!tools[..index].contains(tool), "{flow:?} {tool:?}");
            }
        }
    }
}
