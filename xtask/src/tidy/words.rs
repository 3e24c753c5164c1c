//! One word per idea (style, "Words"), where users read them: public names and documentation.

use super::{Finding, Tree};
use crate::source::{Source, identifier, is_word, occurrences};

/// The rooms whose words users see.
const ROOMS: [&str; 2] = ["watertight", "watertight-core"];

const SENT: &str =
    "`sent` names nothing here: say accepted, queued, in flight, transferred or discarded";

pub(super) fn words(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        if source.path.ends_with("/utils.rs") {
            let text = "a room is named for its job: name the file for what it holds";
            findings.push(Finding::new(&source.path, 1, "words", text));
        }
        if ROOMS.contains(&source.package()) {
            findings.extend(documentation(source));
            findings.extend(public_names(source));
        }
    }
    findings
}

fn documentation(source: &Source) -> impl Iterator<Item = Finding> {
    let lower = source.comments.to_ascii_lowercase();
    let places: Vec<usize> = occurrences(&lower, "sent").collect();
    places
        .into_iter()
        .filter(|at| is_documentation(&source.comments, *at) && !source.is_test(*at))
        .map(|at| Finding::new(&source.path, source.line(at), "words", SENT))
}

fn is_documentation(comments: &str, at: usize) -> bool {
    let start = comments[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = comments[start..].trim_start();
    line.starts_with("//!") || (line.starts_with("///") && !line.starts_with("////"))
}

fn public_names(source: &Source) -> impl Iterator<Item = Finding> {
    occurrences(&source.code, "pub").filter_map(|at| {
        let (name, is_function) = declared(&source.code, at + "pub".len())?;
        let text = if source.is_test(at) {
            return None;
        } else if is_function && name.starts_with("get_") {
            format!(
                "`{name}`: a getter has no `get_`, call it `{}`",
                &name["get_".len()..]
            )
        } else if name.contains("Manager") {
            format!("`{name}`: name what it holds or decides; everything manages")
        } else if name.split('_').any(|word| word == "sent") {
            format!("`{name}`: {SENT}")
        } else {
            return None;
        };
        Some(Finding::new(&source.path, source.line(at), "words", text))
    })
}

/// The name that a `pub` declares, and whether it is a function's. Nothing for `pub(crate)` and `pub use`.
fn declared(code: &str, from: usize) -> Option<(&str, bool)> {
    const QUALIFIERS: [&str; 12] = [
        "async", "const", "enum", "extern", "fn", "mod", "mut", "static", "struct", "trait",
        "type", "unsafe",
    ];
    let mut at = from;
    let mut is_function = false;
    loop {
        let (word, end) = identifier(code, at)?;
        match word {
            "use" => return None,
            _ if QUALIFIERS.contains(&word) => {
                is_function |= word == "fn";
                // An ABI after `extern` is a blank by now.
                at = end;
            }
            _ => return word.starts_with(is_word).then_some((word, is_function)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::probe::report;
    use super::*;

    const LIB: &str = "crates/watertight/src/lib.rs";

    #[test]
    fn words_we_do_not_use_are_found() {
        let found = |text| report(words, &[(LIB, text)]);
        assert!(found("\n/// Bytes sent so far.").contains(":2: words: `sent` names nothing"));
        assert!(found("pub fn bytes_sent() {}").contains("`bytes_sent`"));
        assert!(found("struct A { pub sent: u64 }").contains("`sent`"));
        assert!(found("pub const fn get_room() {}").contains("call it `room`"));
        assert!(found("pub struct PipeManager;").contains("everything manages"));
        let file = report(words, &[("crates/watertight-cli/src/utils.rs", "")]);
        assert!(file.contains("utils.rs:1: words: a room is named"));
    }

    #[test]
    fn our_words_private_names_and_other_rooms_are_quiet() {
        let text = "/// Takes the unsent bytes, as presented.\npub fn into_unsent() {}\n// sent, says this plain comment\n\
                    fn get_own() {}\npub(crate) fn get_near() {}\npub use a::Manager;\npub fn budget_max() {}";
        assert_eq!(report(words, &[(LIB, text)]), "");
        let other = (
            "crates/watertight-cli/src/a.rs",
            "/// sent\npub fn get_a() {}",
        );
        assert_eq!(report(words, &[other]), "");
    }
}
