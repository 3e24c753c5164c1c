//! Files that are written beside their place, as `NAME.partial`, and renamed when the copy was whole. Until then, and if it
//! was not, the old file is as it was.
//!
//! Everything is decided before the first byte (`how.rs`): what a new file in the old one's place would lack means in place.

use crate::address::FileMode;
use crate::created::{Created, create, open_or_create};
use crate::file_identity;
use crate::how::{Facts, How, Reason, decide, refusal};
use crate::names::{Names, folder_of, is_appended_elsewhere};
use crate::platform;
use crate::resume::{self, Beside, Prefix};
use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// A destination's file, open.
pub(crate) struct OpenedFile {
    /// What is written: the file itself, or the one beside.
    pub(crate) file: File,
    /// There was no such file before.
    pub(crate) created: Option<Created>,
    /// Written is only behind what is there.
    pub(crate) is_appended: bool,
    /// The file that the one beside is to replace.
    pub(crate) replaced: Option<File>,
    /// What the file beside has, if it was left by a copy that was cut and is taken over.
    pub(crate) prefix: Option<Prefix>,
    pub(crate) placing: Placing,
}

/// Where a destination's file is written.
pub(crate) enum Placing {
    Beside(Partial),
    InPlace {
        reason: Reason,
        /// Where its name is new.
        new_in: Option<PathBuf>,
    },
}

/// A file beside the one that it is to become. It goes when this is dropped, if it is still empty.
pub(crate) struct Partial {
    created: Created,
    names: Names,
    is_exclusive: bool,
    /// No other copy takes it over before it has its name.
    _lock: Option<File>,
}

/// What is left to do with a destination's file when the copy is over.
pub(crate) struct Closing {
    /// None: this program was started with it.
    placing: Option<Placing>,
    /// To be synced.
    file: Option<File>,
}

/// What became of a destination's file.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    /// None: nothing arrived, and nothing was left beside it.
    pub(crate) how: Option<How>,
    /// Why it was written in place.
    pub(crate) reason: Option<Reason>,
    /// The file beside that was left.
    pub(crate) partial: Option<OsString>,
    pub(crate) error: Option<String>,
}

/// Opens a destination's file, and decides how it is written. Nothing is truncated: it may turn out to be the source.
pub(crate) fn open(path: &Path, mode: FileMode) -> io::Result<OpenedFile> {
    let is_appended = mode.append || is_appended_elsewhere(path);
    let mut options = platform::open_options();
    options.append(is_appended).write(true);
    if mode.exclusive {
        // A link that leads nowhere counts, too.
        return match std::fs::symlink_metadata(path) {
            Ok(_) => Err(io::Error::new(
                ErrorKind::AlreadyExists,
                "it is there already",
            )),
            Err(_) => open_new(&options, path, mode),
        };
    }
    // By the system, and not where we follow the links: it may have rules about them.
    match options.open(path) {
        Ok(file) => open_existing(path, mode, is_appended, file),
        Err(error) if error.kind() == ErrorKind::NotFound && !mode.must_exist => {
            open_new(&options, path, mode)
        }
        Err(error) => Err(error),
    }
}

fn open_existing(
    path: &Path,
    mode: FileMode,
    is_appended: bool,
    file: File,
) -> io::Result<OpenedFile> {
    let metadata = platform::known(&file)?;
    let names = if metadata.as_ref().is_some_and(Metadata::is_file) {
        Names::of(path)?
    } else {
        None
    };
    let left = left_beside(mode, names.as_ref());
    let beside = match (
        decide(&facts(&file, metadata.as_ref(), mode, names.as_ref())),
        names.zip(metadata),
    ) {
        (Some(reason), _) => Err(reason),
        (None, None) => Err(Reason::Descriptor),
        (None, Some((names, metadata))) => make_beside(&file, &metadata, names, mode)?,
    };
    Ok(match beside {
        Ok(opened) => OpenedFile {
            replaced: Some(file),
            ..opened
        },
        Err(reason) => {
            refuse_in_place(left.as_deref(), reason)?;
            OpenedFile {
                file,
                created: None,
                is_appended,
                replaced: None,
                prefix: None,
                placing: Placing::InPlace {
                    reason,
                    new_in: None,
                },
            }
        }
    })
}

fn facts(file: &File, metadata: Option<&Metadata>, mode: FileMode, names: Option<&Names>) -> Facts {
    let is_its_name = |names: &Names| file_identity::is_at(file, &names.target());
    Facts {
        is_append: mode.append,
        is_in_place_asked: mode.in_place,
        is_file: metadata.is_some_and(Metadata::is_file),
        is_descriptor: !names.is_some_and(is_its_name),
        links: metadata.map_or(1, |known| platform::links(file, known)),
        is_on_other_mount: names
            .is_some_and(|names| platform::is_on_other_mount(file, names.folder())),
        is_folder_frozen: names.is_some_and(|names| platform::is_frozen(names.folder())),
    }
}

/// Makes the file beside one that is there, with all that the old one has. A reason: that cannot be.
fn make_beside(
    file: &File,
    metadata: &Metadata,
    names: Names,
    mode: FileMode,
) -> io::Result<Result<OpenedFile, Reason>> {
    let options = platform::private_options(metadata);
    let made = match make(&options, &names, mode) {
        Ok(made) => made,
        Err(error) => return refusal(error.kind()).map(Err).ok_or(error),
    };
    let Err(reason) = platform::take_over(file, &made.file) else {
        return Ok(Ok(beside(made, names, mode)));
    };
    // What was made goes: it would be in the next copy's way.
    let Beside { file, created, .. } = made;
    drop(file);
    created.remove().map(|()| Err(reason))
}

/// Makes the file beside, or takes over the one that a cut copy left there, if that is wanted.
fn make(options: &OpenOptions, names: &Names, mode: FileMode) -> io::Result<Beside> {
    let (file, created) = match create(options, names.partial()) {
        Ok(made) => made,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return if mode.resume {
                resume::take_over(&names.partial())
            } else {
                Err(occupied(names))
            };
        }
        Err(error) => return Err(error),
    };
    // Where a file system has no locks, nobody takes a file over.
    if platform::lock(&file).is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
        created.keep();
        return Err(occupied(names));
    }
    let lock = platform::lock_holder(&file)?;
    Ok(Beside {
        file,
        created,
        lock,
        prefix: None,
    })
}

fn beside(made: Beside, names: Names, mode: FileMode) -> OpenedFile {
    let partial = Partial {
        created: made.created,
        names,
        is_exclusive: mode.exclusive,
        _lock: made.lock,
    };
    OpenedFile {
        file: made.file,
        created: None,
        is_appended: false,
        replaced: None,
        prefix: made.prefix,
        placing: Placing::Beside(partial),
    }
}

/// The name beside, if what is there was to be taken over.
fn left_beside(mode: FileMode, names: Option<&Names>) -> Option<PathBuf> {
    names.filter(|_| mode.resume).map(Names::partial)
}

/// In place nothing is taken over: what a cut copy left would be of no use, although it was asked for.
fn refuse_in_place(left: Option<&Path>, reason: Reason) -> io::Result<()> {
    match left.filter(|left| std::fs::symlink_metadata(left).is_ok()) {
        None => Ok(()),
        Some(left) => Err(io::Error::other(format!(
            "cannot go on with {}: the file can only be written in place ({}); leave `resume` out for that",
            left.display(),
            reason.text()
        ))),
    }
}

/// Opens a file that is not there yet. Its name is made at the end, unless it has to be made in place.
fn open_new(options: &OpenOptions, path: &Path, mode: FileMode) -> io::Result<OpenedFile> {
    let names = Names::of(path)?;
    let left = left_beside(mode, names.as_ref());
    let is_frozen = |names: &Names| platform::is_frozen(names.folder());
    let reason = match names {
        _ if mode.append => Reason::Append,
        _ if mode.in_place => Reason::Asked,
        None => Reason::Descriptor,
        Some(names) if is_frozen(&names) => Reason::Folder,
        Some(names) => match make(options, &names, mode) {
            Ok(made) => return Ok(beside(made, names, mode)),
            Err(error) if error.kind() == ErrorKind::InvalidFilename => Reason::Name,
            Err(error) => return Err(error),
        },
    };
    refuse_in_place(left.as_deref(), reason)?;
    let (file, created) = open_or_create(options, path, mode.exclusive)?;
    let new_in = created.as_ref().map(|created| folder_of(created.path()));
    let new_in = new_in.map(Path::to_owned);
    Ok(OpenedFile {
        file,
        created,
        is_appended: mode.append,
        replaced: None,
        prefix: None,
        placing: Placing::InPlace { reason, new_in },
    })
}

/// Whatever has the name beside is not ours to touch.
fn occupied(names: &Names) -> io::Error {
    let partial = names.partial();
    io::Error::other(format!(
        "it would be written as {} until it is whole, and that is there already, perhaps left by a copy that was cut; add `,resume` to the address to go on with it, or `,inplace`, or look at it and move or remove it",
        partial.display()
    ))
}

impl Closing {
    /// `is_synced`: the file is to be on the disk before success is claimed.
    pub(crate) fn new(
        placing: Placing,
        file: &File,
        metadata: Option<&Metadata>,
        is_synced: bool,
    ) -> io::Result<Self> {
        let keeps = metadata
            .is_some_and(|known| known.is_file() || platform::block_device(known).is_some());
        let file = (is_synced && keeps).then(|| file.try_clone()).transpose()?;
        let placing = Some(placing);
        Ok(Self { placing, file })
    }

    /// Of what this program was started with, and is to be on the disk.
    pub(crate) fn of_inherited(file: &File) -> io::Result<Self> {
        let file = platform::to_sync(file)?;
        Ok(Self {
            placing: None,
            file,
        })
    }

    /// The copy is over. `is_whole`: the verdict was good, and this file has every byte.
    pub(crate) fn close(self, is_whole: bool) -> Placed {
        // Of what is not whole nothing is claimed.
        let file = self.file.filter(|_| is_whole);
        let synced = file.as_ref().map_or(Ok(()), File::sync_all);
        let synced = synced.map_err(|error| format!("cannot sync the file: {error}"));
        match self.placing {
            None => Placed {
                error: synced.err(),
                ..Placed::default()
            },
            Some(Placing::Beside(partial)) if is_whole => partial.finish(synced, file.as_ref()),
            Some(Placing::Beside(partial)) => partial.leave(),
            Some(Placing::InPlace { reason, new_in }) => {
                let folder = new_in.filter(|_| file.is_some());
                let of_name = |folder: PathBuf| synced_name(&folder, platform::sync_folder);
                let result = synced.and_then(|()| folder.map_or(Ok(()), of_name));
                Placed {
                    how: Some(How::InPlace),
                    reason: Some(reason),
                    partial: None,
                    error: result.err(),
                }
            }
        }
    }
}

impl Partial {
    /// Every byte arrived: gives it its name. `file`: itself, if that is to be on the disk, too.
    fn finish(self, synced: Result<(), String>, file: Option<&File>) -> Placed {
        let folder = self.names.folder().to_owned();
        let beside = self.names.partial();
        let partial = beside.display();
        if let Err(text) = synced {
            return Placed {
                error: Some(text),
                ..self.leave()
            };
        }
        let named = match self.created.look() {
            Ok(true) => self.rename(),
            Ok(false) => {
                let text = format!(
                    "{partial} was replaced or removed by somebody else while it was written"
                );
                return Placed {
                    error: Some(text),
                    ..Placed::default()
                };
            }
            Err(error) => {
                self.created.keep();
                Err(format!(
                    "cannot look at {partial}: {error}; if nobody has replaced it, it has every byte: rename it yourself"
                ))
            }
        };
        if let Err(text) = named {
            return Placed {
                how: Some(How::Partial),
                partial: Some(beside.into_os_string()),
                error: Some(text),
                ..Placed::default()
            };
        }
        let sync = |file| synced_name(&folder, |folder| platform::sync_renamed(file, folder));
        let synced = file.map_or(Ok(()), sync);
        Placed {
            how: Some(How::Renamed),
            error: synced.err(),
            ..Placed::default()
        }
    }

    fn rename(self) -> Result<(), String> {
        let (from, to) = (self.names.partial(), self.names.target());
        // Lets go of it before it is renamed, and has it stay if that fails.
        self.created.keep();
        let renamed = if self.is_exclusive {
            platform::rename_new(&from, &to)
        } else {
            platform::rename(&from, &to)
        };
        renamed.map_err(|error| {
            let (from, to) = (from.display(), to.display());
            format!(
                "cannot rename {from} to {to}: {error}; {from} has every byte: rename it yourself"
            )
        })
    }

    /// The copy was not whole: what arrived stays beside. Of nothing, nothing stays.
    fn leave(self) -> Placed {
        let Self { created, names, .. } = self;
        // What cannot be looked at is named all the same.
        let is_ours = created.look().unwrap_or(true);
        drop(created);
        let partial = names.partial();
        let found = std::fs::symlink_metadata(&partial);
        let is_gone = found.is_err_and(|error| error.kind() == ErrorKind::NotFound);
        if !is_ours || is_gone {
            return Placed::default();
        }
        Placed {
            how: Some(How::Partial),
            partial: Some(partial.into_os_string()),
            ..Placed::default()
        }
    }
}

/// A name in this folder is on the disk, if `sync` says so.
fn synced_name(folder: &Path, sync: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), String> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    sync(folder).map_err(|error| format!("cannot sync the folder {}: {error}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn written(path: &Path, mode: FileMode, text: &str) -> Closing {
        let mut opened = open(path, mode).unwrap();
        opened.file.write_all(text.as_bytes()).unwrap();
        if let Some(created) = opened.created {
            created.keep();
        }
        let metadata = opened.file.metadata().unwrap();
        Closing::new(opened.placing, &opened.file, Some(&metadata), true).unwrap()
    }

    #[test]
    fn a_new_file_has_its_name_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (path, beside) = (folder.path().join("a"), folder.path().join("a.partial"));
        let closing = written(&path, FileMode::default(), "new");
        assert!(!path.exists() && beside.exists());
        let placed = closing.close(true);
        assert_eq!(placed.how, Some(How::Renamed), "{placed:?}");
        assert_eq!(placed.error, None);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(!beside.exists());
    }

    #[test]
    fn what_is_not_whole_stays_beside_unless_it_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (path, beside) = (folder.path().join("a"), folder.path().join("a.partial"));
        let placed = written(&path, FileMode::default(), "").close(false);
        assert!(placed.how.is_none() && placed.partial.is_none());
        assert!(!path.exists() && !beside.exists());
        let placed = written(&path, FileMode::default(), "cut").close(false);
        assert_eq!(placed.how, Some(How::Partial));
        assert_eq!(placed.partial, Some(beside.clone().into_os_string()));
        assert!(!path.exists());
        // It is nobody's to touch now.
        let error = open(&path, FileMode::default()).err().unwrap();
        assert!(error.to_string().contains("there already"), "{error}");
        assert_eq!(fs::read(&beside).unwrap(), b"cut");
    }

    #[test]
    fn an_exclusive_file_replaces_nothing_that_appears_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let (path, beside) = (folder.path().join("a"), folder.path().join("a.partial"));
        let mode = FileMode {
            exclusive: true,
            ..FileMode::default()
        };
        let closing = written(&path, mode, "new");
        fs::write(&path, "theirs").unwrap();
        let placed = closing.close(true);
        assert_eq!(placed.how, Some(How::Partial));
        assert!(placed.error.unwrap().contains("cannot rename"));
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        assert_eq!(fs::read(&beside).unwrap(), b"new");
        let error = open(&path, mode).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(error.to_string().contains("there already"), "{error}");
    }

    #[test]
    #[cfg(unix)]
    fn a_partial_that_somebody_replaced_is_not_renamed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, beside) = (folder.path().join("a"), folder.path().join("a.partial"));
        let closing = written(&path, FileMode::default(), "new");
        fs::rename(&beside, folder.path().join("taken")).unwrap();
        fs::write(&beside, "theirs").unwrap();
        let placed = closing.close(true);
        assert!(placed.error.unwrap().contains("somebody else"));
        assert!(!path.exists());
        assert_eq!(fs::read(&beside).unwrap(), b"theirs");
    }

    #[test]
    fn in_place_is_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let in_place = FileMode {
            in_place: true,
            ..FileMode::default()
        };
        let append = FileMode {
            append: true,
            ..FileMode::default()
        };
        for (mode, reason) in [(in_place, Reason::Asked), (append, Reason::Append)] {
            let placed = written(&path, mode, "x").close(true);
            assert_eq!(placed.how, Some(How::InPlace));
            assert_eq!(placed.reason, Some(reason));
            assert_eq!(placed.error, None);
        }
        assert_eq!(fs::read(&path).unwrap(), b"xx");
    }
}
