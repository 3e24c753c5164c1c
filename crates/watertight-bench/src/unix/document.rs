//! What was measured, in a document: between two marks, so that nothing there is typed by hand. The pictures are files beside
//! the document, named after it.

use super::tasks::Section;
use std::path::{Path, PathBuf};

/// The marks of what `library` measures.
pub(super) const LIBRARY: Marks = Marks {
    begin: "<!-- bench -->",
    end: "<!-- /bench -->",
};
/// The marks of what `children` measures.
pub(super) const CHILDREN: Marks = Marks {
    begin: "<!-- bench children -->",
    end: "<!-- /bench children -->",
};

/// The marks of what `program` measures.
pub(super) const PROGRAM: Marks = Marks {
    begin: "<!-- bench program -->",
    end: "<!-- /bench program -->",
};

/// Where one command's tables begin and end.
#[derive(Clone, Copy)]
pub(super) struct Marks {
    begin: &'static str,
    end: &'static str,
}

/// Puts the tables between these marks of the document.
pub(super) fn replace(document: &Path, marks: Marks, tables: &str) -> Result<(), String> {
    let explain = explained(document);
    let before = std::fs::read_to_string(document).map_err(&explain)?;
    let after = replaced(&before, marks, tables).ok_or_else(|| {
        let Marks { begin, end } = marks;
        format!("{}: no {begin} before a {end}", document.display())
    })?;
    std::fs::write(document, after).map_err(explain)
}

/// Puts the pictures beside the document.
pub(super) fn draw(document: &Path, picture: impl Fn(Section) -> String) -> Result<(), String> {
    for section in Section::ALL {
        let path = document.with_file_name(picture_name(document, section));
        std::fs::write(path, picture(section)).map_err(explained(document))?;
    }
    Ok(())
}

fn explained(document: &Path) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{}: {error}", document.display())
}

/// `performance-w1.svg` for `docs/performance.md`: what the document calls it.
pub(super) fn picture_name(document: &Path, section: Section) -> String {
    let name = document.file_stem().map(PathBuf::from).unwrap_or_default();
    format!("{}-{}.svg", name.display(), section.file_name())
}

fn replaced(before: &str, marks: Marks, tables: &str) -> Option<String> {
    let Marks { begin, end } = marks;
    let (head, rest) = before.split_once(begin)?;
    let (_, tail) = rest.split_once(end)?;
    Some(format!("{head}{begin}\n\n{tables}\n{end}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let before = "a\n<!-- bench -->\nold\n<!-- /bench -->\nb\n";
        let after = replaced(before, LIBRARY, "new").unwrap();
        assert_eq!(after, "a\n<!-- bench -->\n\nnew\n<!-- /bench -->\nb\n");
        let wrong_order = "<!-- /bench --> <!-- bench -->";
        assert_eq!(replaced(wrong_order, LIBRARY, "new"), None);
    }

    #[test]
    fn each_command_has_marks_of_its_own() {
        let before =
            "<!-- bench -->\n<!-- /bench -->\n<!-- bench children -->\n<!-- /bench children -->\n";
        let after = replaced(before, CHILDREN, "new").unwrap();
        assert!(after.starts_with("<!-- bench -->\n<!-- /bench -->\n"));
        assert!(after.ends_with("<!-- bench children -->\n\nnew\n<!-- /bench children -->\n"));
        let after = replaced(before, LIBRARY, "new").unwrap();
        assert!(after.starts_with("<!-- bench -->\n\nnew\n<!-- /bench -->\n<!-- bench children"));
    }

    #[test]
    fn a_picture_is_named_after_its_document() {
        let name = picture_name(Path::new("docs/performance.md"), Section::Bulk);
        assert_eq!(name, "performance-w1.svg");
    }
}
