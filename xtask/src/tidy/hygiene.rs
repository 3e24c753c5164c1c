//! What must not be committed, and settings that must not drift apart.

use super::{Finding, Tree};

const BINARY_BYTES_MAX: usize = 1 << 20;
/// A file with a zero byte this early is binary; git decides the same way.
const BINARY_LOOK: usize = 8000;

/// Places on somebody's machine. Spelled in pieces: this file is committed too.
const MACHINE_PATHS: [&str; 2] = [concat!("/", "work/"), concat!("/", "root/")];
/// A neighbour of one checkout, which only the file that looks for it may name.
const NEIGHBOUR: &str = concat!("../", "shared");
const NEIGHBOUR_USER: &str = ".ci/run";

/// Where package managers fetch from: a name in a file is a setting of some machine.
const REGISTRY_HOSTS: [&str; 8] = [
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("deb.", "debian.org"),
    concat!("archive.", "ubuntu.com"),
    concat!("files.", "pythonhosted.org"),
    concat!("proxy.", "golang.org"),
    concat!("pypi", ".org"),
    concat!("registry.", "npmjs.org"),
];
/// What cargo calls its default registry in every lock file.
const DEFAULT_REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(super) fn machine_paths(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, number, line) in committed_lines(tree) {
        let hits = MACHINE_PATHS.iter().filter(|place| names_path(line, place));
        findings.extend(hits.map(|place| {
            let text =
                format!("`{place}` is a place on one machine: make it relative to the workspace");
            Finding::new(path, number, "machine-path", text)
        }));
        if line.contains(NEIGHBOUR) && path != NEIGHBOUR_USER {
            let text = format!(
                "`{NEIGHBOUR}` is outside the repository: only {NEIGHBOUR_USER} looks there"
            );
            findings.push(Finding::new(path, number, "machine-path", text));
        }
    }
    findings
}

/// Whether an absolute path begins here; `some/work/` of a relative path does not.
fn names_path(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before
            .is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '*' | '}'))
    })
}

pub(super) fn registries(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, number, line) in committed_lines(tree) {
        let mut add = |what: &str| {
            let text = format!(
                "{what}: a registry is a setting of a machine, keep it in that machine's cargo home"
            );
            findings.push(Finding::new(path, number, "registry-host", text));
        };
        for host in REGISTRY_HOSTS {
            if line.contains(host) {
                add(host);
            }
        }
        let is_lock = path.ends_with("Cargo.lock");
        if is_lock && line.starts_with("source = ") && !line.contains(DEFAULT_REGISTRY) {
            add("a source that is not the default registry");
        }
        let is_setting = path.ends_with(".cargo/config.toml");
        if is_setting && (line.starts_with("[source") || line.starts_with("[registr")) {
            add("a registry table");
        }
    }
    findings
}

pub(super) fn big_binaries(tree: &Tree) -> Vec<Finding> {
    let files = tree.files.iter().filter(|file| {
        let head = &file.bytes[..file.bytes.len().min(BINARY_LOOK)];
        tree.from_git && file.bytes.len() > BINARY_BYTES_MAX && head.contains(&0)
    });
    let finding = |path: &str, bytes: usize| {
        let text = format!(
            "{bytes} bytes of binary: generate it, fetch it, or make it smaller than 1 MiB"
        );
        Finding::new(path, 1, "big-binary", text)
    };
    files
        .map(|file| finding(&file.path, file.bytes.len()))
        .collect()
}

/// A crate's own clippy.toml replaces the workspace's, so it must repeat it.
pub(super) fn clippy_settings(tree: &Tree) -> Vec<Finding> {
    let root = tree.text("clippy.toml").unwrap_or_default();
    let settings = |text| {
        str::lines(text)
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
    };
    let mut findings = Vec::new();
    let local = tree
        .files
        .iter()
        .filter(|file| file.path.starts_with("crates/") && file.path.ends_with("/clippy.toml"));
    for file in local {
        for setting in settings(root) {
            if !settings(file.text()).any(|line| line == setting) {
                let text = format!(
                    "`{setting}` of the root's clippy.toml is missing, and this file replaces that one: repeat it"
                );
                findings.push(Finding::new(&file.path, 1, "clippy-settings", text));
            }
        }
    }
    findings
}

/// Every line of every committed text, with its file and number.
fn committed_lines(tree: &Tree) -> impl Iterator<Item = (&str, usize, &str)> {
    let files = tree.files.iter().filter(|_| tree.from_git);
    files.flat_map(|file| {
        let lines = file.text().lines().enumerate();
        lines.map(|(index, line)| (file.path.as_str(), index + 1, line))
    })
}

#[cfg(test)]
mod tests {
    use super::super::probe::{report, tree};
    use super::*;

    #[test]
    fn a_place_on_one_machine_is_found() {
        let text = format!("a\nsee {}main", MACHINE_PATHS[0]);
        assert!(
            report(machine_paths, &[("README.md", &text)]).contains("README.md:2: machine-path")
        );
        let text = format!("\"{}x\"", MACHINE_PATHS[1]);
        assert!(report(machine_paths, &[("a.rs", &text)]).contains("machine-path"));
        let found = report(machine_paths, &[("xtask/a.rs", NEIGHBOUR)]);
        assert!(found.contains("only .ci/run looks there"));
    }

    #[test]
    fn relative_paths_are_quiet() {
        let text = concat!("target", "/", "work/x .github", "/", "workflows");
        assert_eq!(
            report(machine_paths, &[("a.yml", text), (".ci/run", NEIGHBOUR)]),
            ""
        );
        let mut unknown = tree(&[("a.md", MACHINE_PATHS[0])]);
        unknown.from_git = false;
        assert!(
            machine_paths(&unknown).is_empty(),
            "nobody knows what is committed"
        );
    }

    #[test]
    fn a_registry_of_a_machine_is_found() {
        let found = |path, text| report(registries, &[(path, text)]);
        assert!(found("a.sh", REGISTRY_HOSTS[0]).contains("a.sh:1: registry-host"));
        assert!(
            found("Cargo.lock", "source = \"registry+https://mirror/\"").contains("registry-host")
        );
        assert!(found(".cargo/config.toml", "[source.mirror]").contains("registry-host"));
    }

    #[test]
    fn the_default_registry_is_quiet() {
        let lock = format!("source = \"{DEFAULT_REGISTRY}\"");
        let readme = ("README.md", "https://crates.io/crates/watertight");
        let config = (".cargo/config.toml", "[alias]");
        assert_eq!(
            report(registries, &[("Cargo.lock", &lock), readme, config]),
            ""
        );
    }

    #[test]
    fn a_big_binary_is_found_and_a_big_text_is_not() {
        let big = "\0".repeat(BINARY_BYTES_MAX + 1);
        assert!(report(big_binaries, &[("a.bin", &big)]).contains("a.bin:1: big-binary"));
        let text = "a".repeat(BINARY_BYTES_MAX + 1);
        assert_eq!(
            report(big_binaries, &[("a.txt", &text), ("b.bin", "\0")]),
            ""
        );
    }

    #[test]
    fn a_local_clippy_file_repeats_the_roots() {
        let root = ("clippy.toml", "# Why.\na = true\nb = false\n");
        let local = "crates/watertight-core/clippy.toml";
        let found = report(clippy_settings, &[root, (local, "a = true\nc = [\n]\n")]);
        assert!(
            found.starts_with("crates/watertight-core/clippy.toml:1: clippy-settings: `b = false`")
        );
        assert_eq!(
            report(clippy_settings, &[root, (local, "b = false\na = true")]),
            ""
        );
    }
}
