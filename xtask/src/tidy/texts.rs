//! Words that have no place in what is committed: places on one machine, hosts of registries, marks of unfinished work.

use super::{File, Finding, Tree, finding};

const FILE_BYTES_MAX: usize = 1 << 20;

/// A text, where it is looked for, and what to do instead.
struct Ban {
    text: &'static str,
    is_looked_for_in: fn(&File) -> bool,
    instead: &'static str,
}

const PLACE: &str = "a place on one machine: make it relative to the workspace";
const HOST: &str = "a registry is a setting of a machine: keep it in that machine's configuration";
const UNFINISHED: &str = "finish it, or say in the documents what is not there";

// Spelled in pieces: this file is committed too.
const BANS: [Ban; 14] = [
    ban(concat!("/", "work/"), everywhere, PLACE),
    ban(concat!("/", "root/"), everywhere, PLACE),
    ban(
        concat!("../", "shared"),
        |file| file.path != ".ci/run",
        "only .ci/run looks beside the repository",
    ),
    ban(concat!("index.", "crates.io"), everywhere, HOST),
    ban(concat!("static.", "crates.io"), everywhere, HOST),
    ban(concat!("deb.", "debian.org"), everywhere, HOST),
    ban(concat!("files.", "pythonhosted.org"), everywhere, HOST),
    ban(concat!("registry.", "npmjs.org"), everywhere, HOST),
    ban(
        concat!("[so", "urce."),
        |file| file.path.ends_with("config.toml"),
        HOST,
    ),
    ban(
        concat!("#[ig", "nore"),
        File::is_rust,
        "an ignored test proves nothing: repair it, or delete it",
    ),
    ban(concat!("TO", "DO"), File::is_rust, UNFINISHED),
    ban(concat!("FIX", "ME"), File::is_rust, UNFINISHED),
    ban(
        concat!("fn ", "get_"),
        File::is_rust,
        "a getter has no `get_`",
    ),
    ban(
        concat!("allow(", "unsafe_code"),
        File::is_rust,
        "unsafe code lives in watertight-os",
    ),
];

const fn ban(
    text: &'static str,
    is_looked_for_in: fn(&File) -> bool,
    instead: &'static str,
) -> Ban {
    Ban {
        text,
        is_looked_for_in,
        instead,
    }
}

fn everywhere(_: &File) -> bool {
    true
}

pub(super) fn texts(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        if file.bytes > FILE_BYTES_MAX {
            let text = format!(
                "{} bytes: generate it, or make it smaller than 1 MiB",
                file.bytes
            );
            findings.push(finding(&file.path, 1, "big-file", text));
        }
        let bans: Vec<&Ban> = BANS
            .iter()
            .filter(|ban| (ban.is_looked_for_in)(file))
            .collect();
        for (at, line) in file.lines() {
            for ban in bans.iter().filter(|ban| stands_in(line, ban.text)) {
                let text = format!("`{}`: {}", ban.text, ban.instead);
                findings.push(finding(&file.path, at, "text", text));
            }
        }
    }
    findings
}

/// Whether a text stands there, and not at the end of a longer path or word.
fn stands_in(line: &str, text: &str) -> bool {
    line.match_indices(text).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '*' | '}'))
    })
}

#[cfg(test)]
mod tests {
    use super::super::probe::report;
    use super::*;

    #[test]
    fn each_text_is_found_where_it_is_looked_for() {
        for ban in &BANS {
            let text = format!("a\n {}b", ban.text);
            let path = if ban.text.contains("urce") {
                "a/config.toml"
            } else {
                "crates/a.rs"
            };
            assert!(
                report(texts, &[(path, &text)]).starts_with(&format!("{path}:2: text: ")),
                "{}",
                ban.text
            );
        }
        let big = " ".repeat(FILE_BYTES_MAX + 1);
        assert!(report(texts, &[("a.bin", &big)]).contains("a.bin:1: big-file"));
    }

    #[test]
    fn other_texts_and_other_places_are_quiet() {
        assert_eq!(
            report(
                texts,
                &[(
                    "a.yml",
                    concat!("target", "/", "work/x .github", "/", "workflows")
                )]
            ),
            ""
        );
        assert_eq!(report(texts, &[(".ci/run", concat!("../", "shared"))]), "");
        assert_eq!(report(texts, &[("docs/a.md", concat!("TO", "DO"))]), "");
    }
}
