//! What was measured, in a document: between two marks, so that nothing there is typed by hand. The pictures are files beside
//! the document, named after it.

use super::tasks::Section;
use std::path::{Path, PathBuf};

const BEGIN: &str = "<!-- bench -->";
const END: &str = "<!-- /bench -->";

/// Puts the tables between the document's marks, and the pictures beside it.
pub(super) fn write(
    document: &Path,
    tables: &str,
    picture: impl Fn(Section) -> String,
) -> Result<(), String> {
    let explain = |error: std::io::Error| format!("{}: {error}", document.display());
    let before = std::fs::read_to_string(document).map_err(explain)?;
    let after = replaced(&before, tables)
        .ok_or_else(|| format!("{}: no {BEGIN} before a {END}", document.display()))?;
    std::fs::write(document, after).map_err(explain)?;
    for section in Section::ALL {
        let path = document.with_file_name(picture_name(document, section));
        std::fs::write(path, picture(section)).map_err(explain)?;
    }
    Ok(())
}

/// `performance-w1.svg` for `docs/performance.md`: what the document calls it.
pub(super) fn picture_name(document: &Path, section: Section) -> String {
    let name = document.file_stem().map(PathBuf::from).unwrap_or_default();
    format!("{}-{}.svg", name.display(), section.file_name())
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

    #[test]
    fn a_picture_is_named_after_its_document() {
        let name = picture_name(Path::new("docs/performance.md"), Section::Bulk);
        assert_eq!(name, "performance-w1.svg");
    }
}
