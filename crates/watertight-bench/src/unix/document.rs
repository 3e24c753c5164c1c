//! What was measured, in a document: between two marks, so that nothing there is typed by hand.

use std::path::Path;

const BEGIN: &str = "<!-- bench -->";
const END: &str = "<!-- /bench -->";

/// Puts the tables between the document's marks, and the picture beside it.
pub(super) fn write(document: &Path, tables: &str, picture: &str) -> Result<(), String> {
    let explain = |error: std::io::Error| format!("{}: {error}", document.display());
    let before = std::fs::read_to_string(document).map_err(explain)?;
    let after = replaced(&before, tables)
        .ok_or_else(|| format!("{}: no {BEGIN} before a {END}", document.display()))?;
    std::fs::write(document, after).map_err(explain)?;
    std::fs::write(document.with_extension("svg"), picture).map_err(explain)
}

fn replaced(before: &str, tables: &str) -> Option<String> {
    let (head, rest) = before.split_once(BEGIN)?;
    let (_, tail) = rest.split_once(END)?;
    Some(format!("{head}{BEGIN}\n\n{tables}\n{END}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let before = "a\n<!-- bench -->\nold\n<!-- /bench -->\nb\n";
        let after = replaced(before, "new").unwrap();
        assert_eq!(after, "a\n<!-- bench -->\n\nnew\n<!-- /bench -->\nb\n");
        assert_eq!(replaced("<!-- /bench --> <!-- bench -->", "new"), None);
    }
}
