//! The recipes for the shell in docs/cookbook.md, as they stand there. Programs that are not on every machine have stand-ins.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::terminal::{Session, path, until};
use crate::harness::{is_installed, partial, pattern};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const COOKBOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cookbook.md");
/// How the section begins that has them.
const SECTION: &str = "\n## At the shell: ";

/// Shows that a recipe does what stands there.
type Trial = fn(&str);

/// What tries each of them, by a word of the recipe.
const TRIALS: [(&str, Trial); 6] = [
    ("pg_dump", only_a_whole_dump_is_committed),
    ("--expect-bytes", only_so_many_bytes_are_a_backup),
    ("grep", nothing_found_is_no_failure),
    ("tcpdump", a_capture_that_a_key_ends_is_whole),
    ("sqlite3", a_program_opens_its_input_again),
    (",resume", a_cut_copy_goes_on),
];

#[test]
fn the_recipes_for_the_shell_do_what_stands_there() {
    let mut trials = TRIALS.to_vec();
    for recipe in recipes() {
        let known = trials.iter().position(|(word, _)| recipe.contains(*word));
        let at = known.unwrap_or_else(|| panic!("nothing here tries {recipe}"));
        let (_, trial) = trials.remove(at);
        trial(&recipe);
    }
    let left = trials.first().map(|(word, _)| *word);
    assert_eq!(left, None, "no recipe has this word");
}

/// The lines of the section's blocks, without their comments.
fn recipes() -> Vec<String> {
    let text = fs::read_to_string(COOKBOOK).unwrap();
    let (_, behind) = text.split_once(SECTION).unwrap();
    let (section, _) = behind.split_once("\n## ").unwrap_or((behind, ""));
    let blocks = section.split("```sh\n").skip(1);
    let lines = blocks.flat_map(|block| block.split_once("```").unwrap().0.lines());
    let recipes = lines.map(|line| line.split("  #").next().unwrap().trim_end());
    recipes.map(str::to_owned).collect()
}

/// A folder in which recipes are tried. The stand-ins in it are found before other programs.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        Self { folder }
    }

    /// With a stand-in that does this.
    fn with(program: &str, script: &str) -> Self {
        let place = Self::new();
        let program = place.path("bin").join(program);
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(program, Permissions::from_mode(0o755)).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.path(name)).ok()
    }

    /// What a shell in the folder has to do.
    fn script(recipe: &str) -> String {
        format!("PATH=$PWD/bin:$PATH; {recipe}")
    }

    /// Follows the recipe, without a terminal.
    #[track_caller]
    fn expect(&self, recipe: &str, code: i32) {
        let output = Command::new("sh")
            .args(["-c", &Self::script(recipe)])
            .env("PATH", path())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{recipe}: {output:?}");
    }
}

fn only_a_whole_dump_is_committed(recipe: &str) {
    let place = Place::with("pg_dump", "echo \"all of $1\"; test -e whole");
    place.expect(recipe, 8);
    assert_eq!(place.read("shop.sql"), None);
    place.write("whole", b"");
    place.expect(recipe, 0);
    let committed = place.read("shop.sql");
    assert_eq!(committed.as_deref(), Some(&b"all of shop\n"[..]));
}

fn only_so_many_bytes_are_a_backup(recipe: &str) {
    let recipe = format!("{recipe} <input");
    let place = Place::new();
    let bytes = pattern(1 << 20);
    place.write("input", &bytes[1..]);
    place.expect(&recipe, 7);
    assert_eq!(place.read("backup.bin"), None);
    fs::remove_file(partial(&place.path("backup.bin"))).unwrap();
    place.write("input", &bytes);
    place.expect(&recipe, 0);
    assert!(place.read("backup.bin").unwrap() == bytes);
}

fn nothing_found_is_no_failure(recipe: &str) {
    let place = Place::new();
    // There is no log: grep ends with 2.
    place.expect(recipe, 8);
    assert_eq!(place.read("count.txt"), None);
    place.write("log", b"all is well\n");
    place.expect(recipe, 0);
    assert_eq!(place.read("count.txt").as_deref(), Some(&b"0\n"[..]));
}

/// Ctrl-C reaches all of them: who captures is ended by it, and who writes the file is not.
fn a_capture_that_a_key_ends_is_whole(recipe: &str) {
    if !is_installed("gzip") {
        println!("skipped {recipe}: there is no gzip");
        return;
    }
    // The first lot is more than has room on its way: gzip is there when that has gone.
    let captures = "head -c 5000000 /dev/zero && : >began
while :; do echo packet; sleep .1; done";
    let place = Place::with("tcpdump", captures);
    let script = format!("trap : INT; {}; echo \"status=$?\"", Place::script(recipe));
    let session = Session::start("sh", place.folder.path(), &script, "");
    until("the capture to begin", || place.path("began").exists());
    session.types(b"\x03");
    session.shows("status=");
    let status = session.shows("\r\n");
    // The key ends the command too: its end may be seen before the key is heard.
    assert!(["130", "8"].contains(&status.trim_end()), "{status}");
    assert_eq!(session.code(), Some(0));
    let mut gzip = Command::new("gzip");
    gzip.args(["-dc", "capture.gz"])
        .current_dir(place.folder.path());
    let output = gzip.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(output.stdout.len() > 1_000_000, "{}", output.stdout.len());
}

/// So does the stand-in, which could not do that with a socket.
fn a_program_opens_its_input_again(recipe: &str) {
    let place = Place::with("sqlite3", "cat \"${2#.read }\" >\"$1\"");
    place.write("dump.sql", b"select 1;\n");
    place.expect(recipe, 0);
    let made = place.read("shop.db");
    assert_eq!(made.as_deref(), Some(&b"select 1;\n"[..]));
}

fn a_cut_copy_goes_on(recipe: &str) {
    let place = Place::new();
    let bytes = pattern(100_000);
    fs::create_dir(place.path("backup")).unwrap();
    place.write("big.iso", &bytes);
    place.write("backup/big.iso.partial", &bytes[..60_000]);
    place.expect(recipe, 0);
    assert!(place.read("backup/big.iso").unwrap() == bytes);
    assert_eq!(place.read("backup/big.iso.partial"), None);
}
