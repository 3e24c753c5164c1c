//! The lines that no test here can reach, each with its reason: `xtask/coverage-exceptions.toml`.

use std::path::Path;

/// Where the list is.
pub(super) const FILE: &str = "xtask/coverage-exceptions.toml";

/// What is allowed to stay unrun: all lines of one text, or what is not run of a function. Named so, that lines above may
/// come and go.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Exception {
    pub(super) file: String,
    pub(super) function: String,
    pub(super) text: String,
    pub(super) reason: String,
}

impl Exception {
    /// What it names, for a person.
    pub(super) fn place(&self) -> String {
        let Exception {
            file,
            function,
            text,
            ..
        } = self;
        if function.is_empty() {
            format!("{file}: `{text}`")
        } else {
            format!("{file}: fn {function}")
        }
    }
}

pub(super) fn read(root: &Path) -> Result<Vec<Exception>, String> {
    let text = std::fs::read_to_string(root.join(FILE)).map_err(|e| format!("{FILE}: {e}"))?;
    parse(&text)
}

/// Tables `[[line]]` with the keys file, function or text, and reason, each a literal string in single quotes.
fn parse(text: &str) -> Result<Vec<Exception>, String> {
    let mut found: Vec<Exception> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = |what: &str| format!("{FILE}:{}: {what}", index + 1);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line == "[[line]]" {
            found.push(Exception::default());
            continue;
        }
        let (key, value) = line
            .split_once(" = ")
            .ok_or_else(|| wrong("neither `[[line]]` nor `key = 'value'`"))?;
        let value = value
            .strip_prefix('\'')
            .and_then(|value| value.strip_suffix('\''))
            .ok_or_else(|| wrong("a value stands in single quotes"))?;
        let current = found
            .last_mut()
            .ok_or_else(|| wrong("`[[line]]` comes first"))?;
        match key {
            "function" => value.clone_into(&mut current.function),
            "file" => value.clone_into(&mut current.file),
            "text" => value.clone_into(&mut current.text),
            "reason" => value.clone_into(&mut current.reason),
            _ => return Err(wrong("the keys are file, function or text, and reason")),
        }
    }
    let is_whole = |e: &Exception| {
        let is_named = e.function.is_empty() != e.text.is_empty();
        !e.file.is_empty() && is_named && !e.reason.is_empty()
    };
    match found.iter().find(|e| !is_whole(e)) {
        Some(e) => Err(format!("{FILE}: a key is missing, or too many, in {e:?}")),
        None => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_and_wrong_ones_are_refused() {
        let good = "# why\n[[line]]\nfile = 'a.rs'\ntext = 'b == 'c''\nreason = 'd'\n";
        assert_eq!(
            parse(good),
            Ok(vec![Exception {
                file: "a.rs".to_owned(),
                function: String::new(),
                text: "b == 'c'".to_owned(),
                reason: "d".to_owned()
            }])
        );
        for wrong in [
            "file = 'a'",
            "[[line]]\nfile = 'a'",
            "[[line]]\nfile = \"a\"",
            "[[line]]\nplace = 'a'",
            "[[line]]\nfile = 'a'\nfunction = 'b'\ntext = 'c'\nreason = 'd'",
        ] {
            assert!(parse(wrong).unwrap_err().starts_with(FILE), "{wrong}");
        }
    }

    #[test]
    fn the_committed_list_is_well_formed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert!(read(root).is_ok());
    }
}
