//! Addresses: what a user writes for one end of a copy, taken apart. Nothing is opened here; only links are read, to know a descriptor's name.

use crate::platform::{self, CommandLine};
use crate::units::{base64, bytes_unless_text, printable};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

/// The schemes of this version, for error messages.
const KNOWN: &str = "`-`, `file:PATH`, `fifo:PATH`, `fd:N`, `exec:COMMAND`, or just PATH";

/// Schemes that later versions will have.
const RESERVED: [&str; 5] = ["listen", "npipe", "pipe", "tcp", "unix"];

/// One end of a copy, as the user wrote it and as it is meant.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) text: String,
    /// Its bytes, if they are no text: `text` has lost some of them.
    pub(crate) bytes: Option<Vec<u8>>,
    pub(crate) place: Place,
    /// What the options say of a command.
    pub(crate) exec: ExecOptions,
}

/// How a command is run and what its exit code means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ExecOptions {
    /// The exit codes that mean well.
    pub(crate) ok: Vec<i32>,
    /// Its input is a plain pipe.
    pub(crate) plain_pipe: bool,
}

impl Default for ExecOptions {
    fn default() -> Self {
        Self {
            ok: vec![0],
            plain_pipe: false,
        }
    }
}

/// Where bytes come from or go to.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Exec(CommandLine),
    /// A descriptor this process was started with; `-` is 0 or 1.
    Fd(u32),
    Fifo(PathBuf),
    File(PathBuf, FileMode),
}

/// How a destination file is opened.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct FileMode {
    pub(crate) append: bool,
    /// It must exist.
    pub(crate) must_exist: bool,
    /// It must not exist.
    pub(crate) exclusive: bool,
    /// It is written where it is, and not beside until it is whole.
    pub(crate) in_place: bool,
    /// What a cut copy left beside is taken over.
    pub(crate) resume: bool,
}

impl FileMode {
    /// Two options that cannot both be meant.
    fn contradiction(self) -> Option<String> {
        if self.exclusive && self.must_exist {
            return Some("`exclusive` (it must not exist) and `create=no` (it must exist) exclude each other".to_owned());
        }
        let others = [
            (self.append, "append"),
            (self.exclusive, "exclusive"),
            (self.in_place, "inplace"),
        ];
        let mut others = others.into_iter().filter(|_| self.resume);
        let (_, other) = others.find(|(is_on, _)| *is_on)?;
        Some(format!(
            "`resume` (go on with PATH.partial) and `{other}` exclude each other; leave one of them out"
        ))
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    Destination,
    Source,
}

impl Address {
    /// The address of a source.
    pub(crate) fn source(argument: &OsStr) -> Result<Self, String> {
        Self::parse(argument, Role::Source).map_err(|text| printable(&text))
    }

    /// The address of a destination.
    pub(crate) fn destination(argument: &OsStr) -> Result<Self, String> {
        Self::parse(argument, Role::Destination).map_err(|text| printable(&text))
    }

    /// The address of one of the three streams of a command that is run, by its number.
    pub(crate) fn stream(argument: &OsStr, number: u32) -> Result<Self, String> {
        let address = match number {
            0 => Self::source(argument),
            _ => Self::destination(argument),
        }?;
        if matches!(address.place, Place::Exec(_)) {
            return Err(
                "`exec:` is no stream of one command; join two by the shell's pipe, as in `watertight run -- a | b`, or by `watertight copy`"
                    .to_owned(),
            );
        }
        let place = match address.place {
            Place::File(_, FileMode { resume: true, .. }) => {
                return Err(
                    "`resume` is an option of `watertight copy` only: nobody knows what a command will write"
                        .to_owned(),
                );
            }
            // There it is our stream of the same name.
            _ if address.text == "-" => Place::Fd(number),
            // The command writes it, and nobody knows when it is whole.
            Place::File(path, mode) => Place::File(
                path,
                FileMode {
                    in_place: true,
                    ..mode
                },
            ),
            other @ (Place::Exec(_) | Place::Fd(_) | Place::Fifo(_)) => other,
        };
        Ok(Self { place, ..address })
    }

    fn parse(argument: &OsStr, role: Role) -> Result<Self, String> {
        let (value, options) = split_options(argument.as_encoded_bytes());
        let (scheme, rest) = split_scheme(&value);
        let options = Options::parse(&options)?;
        let place = match scheme.as_deref() {
            None if rest.is_empty() => return Err(format!("an empty address; write {KNOWN}")),
            None if rest == b"-" => Place::Fd(standard_stream(role)),
            None | Some("file") => Place::File(path(rest)?, options.file_mode(role)?),
            Some("fifo") => Place::Fifo(path(rest)?),
            Some("fd") => Place::Fd(descriptor(rest)?),
            Some("exec") => Place::Exec(platform::command_line(os_string(rest)?)?),
            Some(other) => return Err(not_a_scheme(other, &argument.to_string_lossy())),
        };
        options.fit(&place, role)?;
        let place = descriptor_of(place)?;
        Ok(Self {
            text: argument.to_string_lossy().into_owned(),
            bytes: bytes_unless_text(argument).map(<[u8]>::to_vec),
            place,
            exec: options.exec,
        })
    }

    /// Its bytes in base64, if they are no text.
    pub(crate) fn base64(&self) -> Option<String> {
        self.bytes.as_deref().map(base64)
    }

    /// The path, if this address names something in the file system.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Fifo(path) | Place::File(path, _) => Some(path),
            Place::Exec(_) | Place::Fd(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A file whose name is that of a descriptor of ours is that descriptor. It is written as it was opened: so much is `append` and `inplace`.
fn descriptor_of(place: Place) -> Result<Place, String> {
    let number = match &place {
        Place::File(path, _) => platform::own_descriptor(path),
        Place::Exec(_) | Place::Fd(_) | Place::Fifo(_) => None,
    };
    match (number, place) {
        (Some(number), Place::File(path, mode)) if mode.exclusive || mode.resume => {
            let option = if mode.exclusive {
                "exclusive"
            } else {
                "resume"
            };
            Err(format!(
                "`{option}` is for files, and {} is descriptor {number} of this program; leave it out",
                path.display()
            ))
        }
        (Some(number), _) => Ok(Place::Fd(number)),
        (None, place) => Ok(place),
    }
}

/// The options after the commas.
#[derive(Default)]
struct Options {
    mode: FileMode,
    exec: ExecOptions,
    /// The first that files have.
    of_files: Option<String>,
    /// The first that commands have.
    of_commands: Option<String>,
}

impl Options {
    fn parse(texts: &[Vec<u8>]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut given: Vec<String> = Vec::new();
        let mut is_list = false;
        for text in texts {
            let text = String::from_utf8_lossy(text);
            let code = |text: &str| text.parse::<i32>().ok();
            let was_list = std::mem::take(&mut is_list);
            let listed = code(&text).filter(|_| was_list);
            match &*text {
                "append" => options.mode.append = true,
                "create=no" => options.mode.must_exist = true,
                "create=yes" => options.mode.must_exist = false,
                "exclusive" => options.mode.exclusive = true,
                "inplace" => options.mode.in_place = true,
                "pipe" => options.exec.plain_pipe = true,
                "resume" => options.mode.resume = true,
                _ if listed.is_some() => {
                    options.exec.ok.extend(listed);
                    is_list = true;
                }
                other if other.starts_with("ok=") => {
                    let first = code(&other["ok=".len()..]).ok_or_else(|| {
                        format!("`{other}` names no exit codes; write them with commas: `ok=0,1`")
                    })?;
                    options.exec.ok = vec![first];
                    is_list = true;
                }
                _ => {
                    return Err(format!(
                        "`{text}` after a comma is no option (files have append, create=no, exclusive, inplace, resume, commands pipe and ok=CODES); a comma that belongs to the name or command is written twice: `,,`"
                    ));
                }
            }
            if listed.is_none() {
                note_given(&mut given, &text)?;
            }
            let is_of_commands = is_list || text == "pipe";
            let first = if is_of_commands {
                &mut options.of_commands
            } else {
                &mut options.of_files
            };
            first.get_or_insert_with(|| text.into_owned());
        }
        match options.mode.contradiction() {
            Some(contradiction) => Err(contradiction),
            None => Ok(options),
        }
    }

    fn file_mode(&self, role: Role) -> Result<FileMode, String> {
        match (role, &self.of_files) {
            (Role::Source, Some(option)) => Err(format!(
                "`{option}` is for destinations: a source is only read; a comma that belongs to the name is written `,,`"
            )),
            (Role::Source | Role::Destination, _) => Ok(self.mode),
        }
    }

    /// Whether every option is one of what the address names.
    fn fit(&self, place: &Place, role: Role) -> Result<(), String> {
        let is_file = matches!(place, Place::File(..));
        let is_command = matches!(place, Place::Exec(_));
        let literal = "a comma that belongs to a name or command is written `,,`";
        match (&self.of_files, &self.of_commands) {
            (Some(option), _) if !is_file => {
                Err(format!("`{option}` is an option of files only; {literal}"))
            }
            (_, Some(option)) if !is_command => Err(format!(
                "`{option}` is an option of commands (exec:) only; {literal}"
            )),
            _ if self.exec.plain_pipe && role == Role::Source => Err(format!(
                "`pipe` is for destinations: what a source writes to is always a pipe; {literal}"
            )),
            _ => Ok(()),
        }
    }
}

/// Notes that an option is given. A second one would win silently, or say the contrary.
fn note_given(given: &mut Vec<String>, option: &str) -> Result<(), String> {
    let name = option.split_once('=').map_or(option, |(name, _)| name);
    if given.iter().all(|known| known != name) {
        given.push(name.to_owned());
        return Ok(());
    }
    Err(match name {
        "ok" => "`ok` is given twice; write all exit codes in one list, as in `ok=0,1`".to_owned(),
        _ => format!("`{name}` is given twice; leave one of them out"),
    })
}

/// The value and its options; `,,` is a comma of the value.
fn split_options(argument: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut parts = vec![Vec::new()];
    let mut bytes = argument.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b',' && bytes.next_if_eq(&b',').is_none() {
            parts.push(Vec::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(byte);
        }
    }
    let options = parts.split_off(1);
    (parts.concat(), options)
}

/// `scheme:rest`. A name with a dot, slash or blank before the colon is a path; on Windows a single letter is a drive.
fn split_scheme(value: &[u8]) -> (Option<String>, &[u8]) {
    let Some(colon) = value.iter().position(|byte| *byte == b':') else {
        return (None, value);
    };
    let name = &value[..colon];
    let is_scheme = name.first().is_some_and(u8::is_ascii_alphabetic)
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    if !is_scheme || (platform::HAS_DRIVES && name.len() == 1) {
        return (None, value);
    }
    (
        Some(String::from_utf8_lossy(name).into_owned()),
        &value[colon + 1..],
    )
}

fn not_a_scheme(scheme: &str, whole: &str) -> String {
    if RESERVED.contains(&scheme) {
        return format!(
            "`{scheme}:` is not in this version (it is reserved for a later one); there are {KNOWN}; a file of this name is `file:{whole}`"
        );
    }
    format!("unknown scheme `{scheme}:`; there are {KNOWN}; a file of this name is `file:{whole}`")
}

fn standard_stream(role: Role) -> u32 {
    match role {
        Role::Destination => 1,
        Role::Source => 0,
    }
}

fn path(bytes: &[u8]) -> Result<PathBuf, String> {
    if bytes.is_empty() {
        return Err(
            "the path is empty; write it after the colon, as in `file:notes.txt`".to_owned(),
        );
    }
    os_string(bytes).map(PathBuf::from)
}

fn os_string(bytes: &[u8]) -> Result<OsString, String> {
    platform::os_string(bytes).ok_or_else(|| "the name is not valid Unicode".to_owned())
}

fn descriptor(bytes: &[u8]) -> Result<u32, String> {
    if !platform::HAS_DESCRIPTORS {
        return Err(
            "there are no descriptor numbers on this system; use `-` for standard input or output"
                .to_owned(),
        );
    }
    let number = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.parse().ok());
    match number.filter(|number| i32::try_from(*number).is_ok()) {
        None => Err("`fd:` takes the number of an open descriptor, as in `fd:3`".to_owned()),
        Some(number) => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Result<Place, String> {
        Address::source(OsStr::new(text)).map(|address| address.place)
    }

    fn destination(text: &str) -> Result<Place, String> {
        Address::destination(OsStr::new(text)).map(|address| address.place)
    }

    fn file(text: &str) -> (String, FileMode) {
        match destination(text).unwrap() {
            Place::File(path, mode) => (path.to_string_lossy().into_owned(), mode),
            other @ (Place::Exec(_) | Place::Fd(_) | Place::Fifo(_)) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_dash_is_the_standard_stream_of_its_role() {
        assert!(matches!(source("-"), Ok(Place::Fd(0))));
        assert!(matches!(destination("-"), Ok(Place::Fd(1))));
        assert_eq!(file("file:-").0, "-");
    }

    #[test]
    fn a_dash_is_a_commands_stream_of_the_same_name_and_a_command_is_none() {
        let stream = |text: &str, number| {
            let address = Address::stream(OsStr::new(text), number);
            address.map(|address| address.place)
        };
        for number in 0..3 {
            assert!(matches!(stream("-", number), Ok(Place::Fd(known)) if known == number));
            assert!(stream("exec:cat", number).unwrap_err().contains("pipe"));
        }
        assert!(matches!(stream("a,append", 2), Ok(Place::File(..))));
        assert!(stream("a,append", 0).unwrap_err().contains("destinations"));
        assert!(stream("a,resume", 1).unwrap_err().contains("copy"));
    }

    #[test]
    fn a_bare_path_is_a_file_whatever_else_it_looks_like() {
        for text in ["a", "./a:b", "2024-01-01T10:00", "a.b:c", "dir/x:y"] {
            assert_eq!(file(text).0, text);
        }
        assert_eq!(file("file:unix:x").0, "unix:x");
    }

    #[test]
    fn options_follow_after_commas_and_a_literal_comma_is_doubled() {
        let (path, mode) = file("file:a,,b,append,create=no");
        assert_eq!(path, "a,b");
        assert!(mode.append && mode.must_exist && !mode.exclusive);
        assert_eq!(
            file("a,,append"),
            ("a,append".to_owned(), FileMode::default())
        );
        assert!(file("a,exclusive").1.exclusive);
        assert!(file("a,inplace").1.in_place && !file("a").1.in_place);
        assert!(file("a,resume,create=no").1.resume && !file("a").1.resume);
        for wrong in [
            "a,appendix",
            "a,",
            "a,exclusive,create=no",
            "a,resume,append",
            "a,exclusive,resume",
            "a,resume,inplace",
            "-,append",
            "fifo:x,append",
        ] {
            assert!(destination(wrong).unwrap_err().contains('`'), "{wrong}");
        }
        assert!(source("a,append").unwrap_err().contains("for destinations"));
        assert!(source("a,resume").unwrap_err().contains("for destinations"));
    }

    #[test]
    fn an_option_that_is_given_twice_is_refused() {
        for twice in [
            "a,append,append",
            "a,create=no,create=yes",
            "a,create=yes,inplace,create=yes",
            "exec:a,ok=1,ok=0",
            "exec:a,ok=0,1,pipe,ok=2",
            "exec:a,pipe,pipe",
        ] {
            let told = destination(twice).unwrap_err();
            assert!(told.contains("is given twice"), "{twice}: {told}");
        }
        let listed = Address::source(OsStr::new("exec:a,ok=0,1,2")).unwrap();
        assert_eq!(listed.exec.ok, [0, 1, 2]);
        // A number is an exit code behind one only.
        assert!(source("exec:a,ok=0,pipe,1").is_err());
        let told = source("exec:a,ok=1,ok=0").unwrap_err();
        assert!(told.contains("`ok=0,1`"), "{told}");
    }

    #[test]
    #[cfg(unix)]
    fn a_descriptors_name_is_the_descriptor() {
        assert!(matches!(source("/dev/stdin"), Ok(Place::Fd(0))));
        for text in [
            "/dev/fd/7",
            "file:/dev/fd/7",
            "/dev/fd/7,append",
            "/dev/fd/7,create=no,inplace",
        ] {
            assert!(matches!(destination(text), Ok(Place::Fd(7))), "{text}");
        }
        for text in ["/dev/fd/7,exclusive", "/dev/stdout,resume"] {
            assert!(
                destination(text).unwrap_err().contains("for files"),
                "{text}"
            );
        }
        let address = Address::stream(OsStr::new("/dev/stdout"), 1).unwrap();
        assert!(matches!(address.place, Place::Fd(1)));
        // Who names a FIFO has it opened.
        assert!(matches!(destination("fifo:/dev/fd/7"), Ok(Place::Fifo(_))));
    }

    #[test]
    fn an_unknown_scheme_is_refused_and_the_way_out_named() {
        let error = source("foo:bar").unwrap_err();
        assert!(
            error.contains("`exec:COMMAND`") && error.contains("`file:foo:bar`"),
            "{error}"
        );
        for scheme in RESERVED {
            let error = source(&format!("{scheme}:x")).unwrap_err();
            assert!(error.contains("not in this version"), "{error}");
        }
    }

    #[test]
    fn empty_and_senseless_addresses_are_refused() {
        for text in [
            "", ",append", "file:", "fifo:", "exec:", "exec:  ", "fd:", "fd:x", "fd:-1",
        ] {
            assert!(destination(text).is_err(), "{text}");
        }
    }
}
