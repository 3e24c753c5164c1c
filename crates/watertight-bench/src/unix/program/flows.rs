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
/// What this program is called in that folder, where a relay starts it as a child of its own, which reads.
pub(super) const READER: &str = "reader";
/// How it is started.
const READS: &str = "./reader program-probe consume 0";
/// The same as a destination of ours, with an armed input and with a pipe.
const INTO_READER: &str = "exec:./reader program-probe consume 0";
const INTO_READER_BY_PIPE: &str = "exec:./reader program-probe consume 0,pipe";

/// From where to where.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Flow {
    /// Into a child, which is `cat`, and back.
    Child,
    /// Into a child of the relay's own, which counts what comes.
    FileToChild,
    FileToFile,
    FileToNull,
    FileToPipe,
    /// From a pipe to a pipe, with a hash.
    Hashed,
    OneToThree,
    /// As `FileToChild`.
    PipeToChild,
    PipeToFile,
    /// From a pipe to a file on a memory file system, so that no disk has a part in what it costs.
    PipeToMemory,
    PipeToNull,
    PipeToPipe,
    /// From a pipe that is filled by vmsplice to an ordinary one.
    Vmspliced,
    /// As `Vmspliced`, both pipes wide for everybody.
    VmsplicedWide,
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
    /// The relay starts who reads, and that one says on the relay's standard output what came.
    Child,
    File,
    Null,
    Pipe,
    ThreePipes,
}

impl Flow {
    pub(super) const ALL: [Flow; 15] = [
        Flow::FileToFile,
        Flow::FileToNull,
        Flow::FileToPipe,
        Flow::PipeToFile,
        Flow::PipeToMemory,
        Flow::PipeToNull,
        Flow::PipeToPipe,
        Flow::WidePipes,
        Flow::Vmspliced,
        Flow::VmsplicedWide,
        Flow::OneToThree,
        Flow::Hashed,
        Flow::Child,
        Flow::FileToChild,
        Flow::PipeToChild,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Flow::Child => "Into a child (`cat`) and back",
            Flow::FileToChild => "File into a child",
            Flow::FileToFile => "File to file",
            Flow::FileToNull => "File to /dev/null",
            Flow::FileToPipe => "File to pipe",
            Flow::Hashed => "Pipe to pipe with SHA-256",
            Flow::OneToThree => "One pipe to three",
            Flow::PipeToChild => "Pipe into a child",
            Flow::PipeToFile => "Pipe to file",
            Flow::PipeToMemory => "Pipe to file in memory",
            Flow::PipeToNull => "Pipe to /dev/null",
            Flow::PipeToPipe => "Pipe to pipe",
            Flow::Vmspliced => "Pipe to pipe, vmsplice producer",
            Flow::VmsplicedWide => "Pipe to pipe, both of 1 MiB, vmsplice producer",
            Flow::WidePipes => "Pipe to pipe, both of 1 MiB",
        }
    }

    fn source(self) -> Source {
        match self {
            Flow::FileToChild | Flow::FileToFile | Flow::FileToNull | Flow::FileToPipe => {
                Source::File
            }
            Flow::Child
            | Flow::Hashed
            | Flow::OneToThree
            | Flow::PipeToChild
            | Flow::PipeToFile
            | Flow::PipeToMemory
            | Flow::PipeToNull
            | Flow::PipeToPipe
            | Flow::Vmspliced
            | Flow::VmsplicedWide
            | Flow::WidePipes => Source::Pipe,
        }
    }

    fn sink(self) -> Sink {
        match self {
            Flow::FileToChild | Flow::PipeToChild => Sink::Child,
            Flow::FileToFile | Flow::PipeToFile | Flow::PipeToMemory => Sink::File,
            Flow::FileToNull | Flow::PipeToNull => Sink::Null,
            Flow::OneToThree => Sink::ThreePipes,
            Flow::Child
            | Flow::FileToPipe
            | Flow::Hashed
            | Flow::PipeToPipe
            | Flow::Vmspliced
            | Flow::VmsplicedWide
            | Flow::WidePipes => Sink::Pipe,
        }
    }

    /// How often everybody is measured in one round. With three readers it is a matter of chance which of five processes share a core,
    /// and the relay's processor time in single samples differs by half.
    pub(super) fn turns(self) -> usize {
        if self == Self::OneToThree { 4 } else { 1 }
    }

    /// Whether a file is an end of it: those are smaller.
    pub(super) fn has_file(self) -> bool {
        self.source() == Source::File || self.sink() == Sink::File
    }

    /// Whether the relay has a child.
    pub(super) fn has_child(self) -> bool {
        self == Flow::Child || self.sink() == Sink::Child
    }

    /// Whether its pipes are made wide before anybody has them.
    pub(super) fn is_wide(self) -> bool {
        matches!(self, Flow::VmsplicedWide | Flow::WidePipes)
    }

    /// Whether its producer fills the pipe by vmsplice.
    pub(super) fn is_vmspliced(self) -> bool {
        matches!(self, Flow::Vmspliced | Flow::VmsplicedWide)
    }

    /// Whether a loop of splice calls, or of tee and splice calls, can do it: one end is a pipe, and nobody looks at the bytes.
    pub(super) fn can_be_spliced(self) -> bool {
        self.tools().contains(&Tool::Splice)
    }

    /// Who takes part, ours first.
    pub(super) fn tools(self) -> Vec<Tool> {
        use Tool::{
            Cat, CatPiped, Cp, Dd, HashAlone, Mbuffer, MbufferTuned, Ours, OursHashed, OursPiped,
            Polled, PolledAlike, PolledWide, Pv, PvPiped, Sha256sum, Socat, SocatTuned, Splice,
            SpliceAlike, SpliceWide, Tee,
        };
        let raw = [Splice, SpliceAlike, Polled, PolledAlike];
        let raw_wide = [SpliceWide, PolledWide];
        let peers = [Cat, Dd, Pv];
        let buffered = [Socat, SocatTuned, Mbuffer, MbufferTuned];
        match self {
            Flow::Child => vec![Ours, Socat],
            Flow::FileToChild | Flow::PipeToChild => vec![Ours, OursPiped, CatPiped, PvPiped],
            Flow::FileToFile => [&[Ours, Cp][..], &peers[..], &buffered[..]].concat(),
            Flow::FileToNull => [&[Ours][..], &peers[..]].concat(),
            Flow::FileToPipe | Flow::PipeToFile => {
                [&[Ours][..], &raw[..], &peers[..], &buffered[..]].concat()
            }
            Flow::Hashed => vec![OursHashed, Ours, HashAlone, Sha256sum],
            Flow::OneToThree => [&[Ours][..], &raw[..], &[Tee][..]].concat(),
            Flow::PipeToMemory | Flow::PipeToNull => [&[Ours][..], &raw[..], &peers[..]].concat(),
            Flow::PipeToPipe => [
                &[Ours][..],
                &raw[..],
                &raw_wide[..],
                &peers[..],
                &buffered[..],
            ]
            .concat(),
            Flow::Vmspliced => [&[Ours][..], &raw[..], &raw_wide[..], &[Cat, Pv][..]].concat(),
            Flow::VmsplicedWide => vec![Ours, Splice, Polled, Cat, Pv],
            Flow::WidePipes => [&[Ours, Splice, Polled][..], &peers[..], &buffered[..]].concat(),
        }
    }
}

/// Who carries the bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tool {
    Cat,
    /// A shell's pipeline of cat and who reads.
    CatPiped,
    Cp,
    Dd,
    /// SHA-256 of as many bytes that are in memory, by the crate that ours uses.
    HashAlone,
    Mbuffer,
    /// mbuffer with large blocks, in a buffer that is not a part of the machine's memory.
    MbufferTuned,
    Ours,
    OursHashed,
    /// Into a child whose input is a plain pipe.
    OursPiped,
    /// As `Splice`, and it can be stopped: it waits in ppoll.
    Polled,
    /// As `Polled`, after making the pipes as large as ours does.
    PolledAlike,
    /// As `Polled`, after making both pipes wide.
    PolledWide,
    Pv,
    /// A shell's pipeline of pv and who reads.
    PvPiped,
    Sha256sum,
    Socat,
    /// socat with a large buffer.
    SocatTuned,
    /// A loop of splice calls, to three of tee and splice calls, and nothing else; the pipes stay as they are.
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
            Tool::CatPiped => "cat, in a pipeline of sh",
            Tool::Cp => "cp",
            Tool::Dd => "dd bs=64k",
            Tool::HashAlone => "the hash alone, in memory",
            Tool::Mbuffer => "mbuffer",
            Tool::MbufferTuned => "mbuffer -m 64M -s 1M",
            Tool::Ours => "watertight copy",
            Tool::OursHashed => "watertight copy --hash",
            Tool::OursPiped => "watertight copy, `,pipe`",
            Tool::Polled => "raw loop with poll",
            Tool::PolledAlike => "raw loop with poll, pipes made 256 KiB",
            Tool::PolledWide => "raw loop with poll, pipes made 1 MiB",
            Tool::Pv => "pv",
            Tool::PvPiped => "pv, in a pipeline of sh",
            Tool::Sha256sum => "sha256sum",
            Tool::Socat => "socat",
            Tool::SocatTuned => "socat -b 1048576",
            Tool::Splice => "raw loop",
            Tool::SpliceAlike => "raw loop, pipes made 256 KiB",
            Tool::SpliceWide => "raw loop, pipes made 1 MiB",
            Tool::Tee => "tee",
        }
    }

    /// What it is called in `PATH`, if it is not built here.
    pub(super) fn program_name(self) -> Option<&'static str> {
        match self {
            Tool::Cat => Some("cat"),
            Tool::CatPiped | Tool::PvPiped => Some("sh"),
            Tool::Cp => Some("cp"),
            Tool::Dd => Some("dd"),
            Tool::Mbuffer | Tool::MbufferTuned => Some("mbuffer"),
            Tool::Pv => Some("pv"),
            Tool::Sha256sum => Some("sha256sum"),
            Tool::Socat | Tool::SocatTuned => Some("socat"),
            Tool::Tee => Some("tee"),
            Tool::HashAlone
            | Tool::Ours
            | Tool::OursHashed
            | Tool::OursPiped
            | Tool::Polled
            | Tool::PolledAlike
            | Tool::PolledWide
            | Tool::Splice
            | Tool::SpliceAlike
            | Tool::SpliceWide => None,
        }
    }

    pub(super) fn is_ours(self) -> bool {
        matches!(self, Tool::Ours | Tool::OursHashed | Tool::OursPiped)
    }

    pub(super) fn is_raw(self) -> bool {
        let is_inside = matches!(self, Tool::Splice | Tool::SpliceAlike | Tool::SpliceWide);
        is_inside || self.is_polled()
    }

    fn is_polled(self) -> bool {
        matches!(self, Tool::Polled | Tool::PolledAlike | Tool::PolledWide)
    }

    /// Whether something is said of its calls beside another's: those are counted several times.
    pub(super) fn is_compared_by_calls(self) -> bool {
        matches!(self, Tool::Ours | Tool::Polled | Tool::Splice)
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
        let is_told = matches!(self, Tool::Cat | Tool::CatPiped | Tool::Pv | Tool::PvPiped);
        is_told || self.opens_target()
    }

    /// Whether it opens a target file by itself; else that is its standard output.
    pub(super) fn opens_target(self) -> bool {
        let is_told = matches!(
            self,
            Tool::Cp
                | Tool::Dd
                | Tool::Mbuffer
                | Tool::MbufferTuned
                | Tool::Socat
                | Tool::SocatTuned
        );
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
        let tuning = words(self.tuning().iter().copied());
        match self {
            Tool::Cat => words(from),
            Tool::CatPiped => into_reader("cat", from),
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
            Tool::Mbuffer | Tool::MbufferTuned => {
                let files = words([vec!["-q"], flag("-i", from), flag("-o", to)].concat());
                [tuning, files].concat()
            }
            Tool::Ours => words([vec!["copy", from.unwrap_or("-")], destinations(flow)].concat()),
            Tool::OursHashed => words(
                [
                    vec!["copy", "--hash", from.unwrap_or("-")],
                    destinations(flow),
                ]
                .concat(),
            ),
            Tool::OursPiped => words(["copy", from.unwrap_or("-"), INTO_READER_BY_PIPE]),
            Tool::Pv => words(["-q"].into_iter().chain(from)),
            Tool::PvPiped => into_reader("pv -q", from),
            Tool::Sha256sum => Vec::new(),
            // The time is how long it waits for the child's last bytes.
            Tool::Socat if flow == Flow::Child => words(["-t", "60", "-", "EXEC:cat"]),
            Tool::Socat | Tool::SocatTuned => {
                let from = behind("OPEN:", from).unwrap_or_else(|| "STDIN".to_owned());
                let to = behind("CREATE:", to).unwrap_or_else(|| "STDOUT".to_owned());
                [tuning, vec!["-u".to_owned(), from, to]].concat()
            }
            Tool::Polled
            | Tool::PolledAlike
            | Tool::PolledWide
            | Tool::Splice
            | Tool::SpliceAlike
            | Tool::SpliceWide => self.raw_loop(flow, mib),
            Tool::Tee => words(FIFOS),
        }
    }

    /// What it is told to be fast.
    fn tuning(self) -> &'static [&'static str] {
        if self == Tool::MbufferTuned {
            &["-m", "64M", "-s", "1M"]
        } else if self == Tool::SocatTuned {
            // It knows no M.
            &["-b", "1048576"]
        } else {
            &[]
        }
    }

    fn raw_loop(self, flow: Flow, mib: u64) -> Vec<String> {
        let mut arguments = stage(Stage::Splice, mib);
        if flow.sink() == Sink::ThreePipes {
            arguments.extend(FIFOS.map(|name| format!("--into={name}")));
        }
        if matches!(self, Tool::PolledAlike | Tool::SpliceAlike) {
            arguments.push(format!("--capacity={OURS_BYTES}"));
        }
        if matches!(self, Tool::PolledWide | Tool::SpliceWide) {
            arguments.push(format!("--capacity={WIDE_BYTES}"));
        }
        if self.is_polled() {
            arguments.push("--polled".to_owned());
        }
        arguments
    }
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
        Flow::FileToChild | Flow::PipeToChild => vec![INTO_READER],
        Flow::OneToThree => vec!["fifo:fifo-1", "fifo:fifo-2", "-"],
        Flow::FileToFile | Flow::PipeToFile | Flow::PipeToMemory => vec![TARGET],
        Flow::FileToNull
        | Flow::FileToPipe
        | Flow::Hashed
        | Flow::PipeToNull
        | Flow::PipeToPipe
        | Flow::Vmspliced
        | Flow::VmsplicedWide
        | Flow::WidePipes => vec!["-"],
    }
}

/// What a shell is told to have that command's output read by a child of the shell's.
fn into_reader(command: &str, from: Option<&str>) -> Vec<String> {
    let from = from.map_or_else(String::new, |name| format!(" {name}"));
    vec!["-c".to_owned(), format!("{command}{from} | {READS}")]
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
        let mbuffer = "-m 64M -s 1M -q -i source -o target";
        assert_eq!(line(Tool::MbufferTuned, flow, 1), mbuffer);
        let socat = "-b 1048576 -u OPEN:source CREATE:target";
        assert_eq!(line(Tool::SocatTuned, flow, 1), socat);
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
        assert_eq!(
            line(Tool::PolledAlike, flow, 1),
            "program-probe splice 1 --capacity=262144 --polled"
        );
        let hashed = line(Tool::OursHashed, Flow::Hashed, 1);
        assert_eq!(hashed, "copy --hash - -");
    }

    #[test]
    fn three_readers_and_a_child_have_names() {
        let three = format!("copy - fifo:{} fifo:{} -", FIFOS[0], FIFOS[1]);
        assert_eq!(line(Tool::Ours, Flow::OneToThree, 1), three);
        assert_eq!(line(Tool::Tee, Flow::OneToThree, 1), "fifo-1 fifo-2");
        let raw = "program-probe splice 1 --into=fifo-1 --into=fifo-2";
        assert_eq!(line(Tool::Splice, Flow::OneToThree, 1), raw);
        assert_eq!(line(Tool::Ours, Flow::Child, 1), "copy - exec:cat");
    }

    #[test]
    fn a_child_that_reads_is_the_same_for_everybody() {
        let reads = format!("./{READER} {}", stage(Stage::Consume, 0).join(" "));
        assert_eq!(READS, reads);
        for (flow, from, name) in [
            (Flow::FileToChild, "source", " source"),
            (Flow::PipeToChild, "-", ""),
        ] {
            assert!(flow.has_child() && !flow.can_be_spliced());
            let ours = format!("copy {from} exec:{reads}");
            assert_eq!(line(Tool::Ours, flow, 1), ours);
            assert_eq!(line(Tool::OursPiped, flow, 1), format!("{ours},pipe"));
            let cat = format!("-c cat{name} | {reads}");
            assert_eq!(line(Tool::CatPiped, flow, 1), cat);
            let pv = format!("-c pv -q{name} | {reads}");
            assert_eq!(line(Tool::PvPiped, flow, 1), pv);
        }
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
