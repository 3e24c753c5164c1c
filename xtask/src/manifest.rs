//! As much of a `Cargo.toml` as the rules need: its tables, their keys, and the line each stands on.
//!
//! No TOML parser: values are kept as text, and a value that spans lines is kept joined.

/// Which of a package's dependencies these are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Build,
    Development,
    Normal,
}

/// One dependency, under the name of the package it stands for.
#[derive(Debug)]
pub(crate) struct Dependency {
    pub(crate) kind: Kind,
    pub(crate) line: usize,
    pub(crate) package: String,
}

/// One `key = value`.
struct Entry {
    table: String,
    key: String,
    value: String,
    line: usize,
}

/// A manifest's entries.
pub(crate) struct Manifest {
    entries: Vec<Entry>,
}

impl Manifest {
    pub(crate) fn new(text: &str) -> Manifest {
        let mut entries: Vec<Entry> = Vec::new();
        let mut table = String::new();
        let mut depth = 0;
        for (index, line) in text.lines().enumerate() {
            let line = without_comment(line).trim();
            if depth > 0 {
                let entry = entries
                    .last_mut()
                    .expect("an open value belongs to an entry");
                entry.value.push_str(line);
            } else if let Some(header) = line.strip_prefix('[') {
                table = header.trim_matches(['[', ']', ' ']).to_owned();
                continue;
            } else if let Some((key, value)) = line.split_once('=') {
                entries.push(Entry {
                    table: table.clone(),
                    key: key.trim().to_owned(),
                    value: value.trim().to_owned(),
                    line: index + 1,
                });
            }
            depth = entries
                .last()
                .map_or(0, |entry| open_brackets(&entry.value));
        }
        Manifest { entries }
    }

    /// A value as written, without quotes.
    pub(crate) fn value(&self, table: &str, key: &str) -> Option<&str> {
        self.entries
            .iter()
            .find(|entry| entry.table == table && entry.key == key)
            .map(|entry| entry.value.trim_matches('"'))
    }

    /// The values of a key in all tables of this name, without quotes.
    pub(crate) fn values<'a>(
        &'a self,
        table: &'a str,
        key: &'a str,
    ) -> impl Iterator<Item = &'a str> {
        self.entries
            .iter()
            .filter(move |entry| entry.table == table && entry.key == key)
            .map(|entry| entry.value.trim_matches('"'))
    }

    /// The keys of a table.
    pub(crate) fn keys(&self, table: &str) -> impl Iterator<Item = &str> {
        self.entries
            .iter()
            .filter(move |entry| entry.table == table)
            .map(|entry| entry.key.as_str())
    }

    /// Every dependency on every platform, in every spelling of the tables.
    pub(crate) fn dependencies(&self) -> Vec<Dependency> {
        let mut found = Vec::new();
        let mut table_done = "";
        for entry in &self.entries {
            let Some((kind, single)) = dependency_table(&entry.table) else {
                continue;
            };
            // `[dependencies.a]` renames by a key of its own, `a = { package = "b" }` inside its value.
            let package = match single {
                Some(_) if entry.table == table_done => continue,
                Some(name) => self.value(&entry.table, "package").unwrap_or(name),
                None => inline_package(&entry.value)
                    .or_else(|| entry.key.split('.').next())
                    .unwrap_or_default(),
            };
            table_done = &entry.table;
            found.push(Dependency {
                kind,
                line: entry.line,
                package: package.trim_matches(['"', '\'']).to_owned(),
            });
        }
        found
    }
}

/// The kind of a dependency table, and the dependency's name when the table is about a single one.
fn dependency_table(table: &str) -> Option<(Kind, Option<&str>)> {
    if table.starts_with("workspace.") {
        return None;
    }
    let kinds = [
        ("build-dependencies", Kind::Build),
        ("dev-dependencies", Kind::Development),
        ("dependencies", Kind::Normal),
    ];
    for (word, kind) in kinds {
        let Some(at) = table.find(word) else { continue };
        let starts = at == 0 || table[..at].ends_with('.');
        match table[at + word.len()..].strip_prefix('.') {
            _ if !starts => {}
            Some(name) => return Some((kind, Some(name))),
            None => return Some((kind, None)),
        }
    }
    None
}

fn inline_package(value: &str) -> Option<&str> {
    let (_, rest) = value.split_once("package")?;
    rest.trim_start().strip_prefix('=')?.split('"').nth(1)
}

fn without_comment(line: &str) -> &str {
    let mut quote = None;
    for (at, letter) in line.char_indices() {
        match (quote, letter) {
            (None, '#') => return &line[..at],
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            _ => {}
        }
    }
    line
}

fn open_brackets(value: &str) -> usize {
    let count = |letters: [char; 2]| value.matches(letters).count();
    count(['[', '{']).saturating_sub(count([']', '}']))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
[package]
name = "a" # a comment
rust-version = "1.88"
[features]
tokio = ["dep:tokio"]
[dependencies]
bytes.workspace = true
core = { package = "watertight-core", version = "1" }
[target.'cfg(windows)'.dependencies]
windows-sys = { version = "0.61", features = [
    "A", # one
    "B",
] }
[dependencies.other]
version = "1"
package = "real"
[dev-dependencies]
tokio = "1"
[build-dependencies]
cc = "1"
[workspace.dependencies]
ignored = "1"
"#;

    #[test]
    fn dependencies_are_found_in_every_spelling() {
        let found: Vec<(Kind, String, usize)> = Manifest::new(TEXT)
            .dependencies()
            .into_iter()
            .map(|d| (d.kind, d.package, d.line))
            .collect();
        let expected = [
            (Kind::Normal, "bytes", 8),
            (Kind::Normal, "watertight-core", 9),
            (Kind::Normal, "windows-sys", 11),
            (Kind::Normal, "real", 16),
            (Kind::Development, "tokio", 19),
            (Kind::Build, "cc", 21),
        ];
        assert_eq!(found, expected.map(|(k, p, l)| (k, p.to_owned(), l)));
    }

    #[test]
    fn values_and_keys_are_read() {
        let manifest = Manifest::new(TEXT);
        assert_eq!(manifest.value("package", "rust-version"), Some("1.88"));
        assert_eq!(manifest.keys("features").collect::<Vec<_>>(), ["tokio"]);
        let twice = Manifest::new("[[bin]]\nname = \"a\"\n[[bin]]\nname = \"b\"\n");
        assert_eq!(twice.values("bin", "name").collect::<Vec<_>>(), ["a", "b"]);
    }
}
