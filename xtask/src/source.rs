//! Rust source as tidy sees it: code without comments and literals, comments without code, functions, tests.
//!
//! Not a parser: it knows how tokens end and how brackets match, and no grammar beyond that.

use std::ops::Range;

/// A function with a body.
pub(crate) struct Function {
    pub(crate) name: String,
    /// Where the keyword `fn` stands.
    pub(crate) start: usize,
    /// From the opening brace to after the closing one.
    pub(crate) body: Range<usize>,
}

/// One file. Every string in it has the file's length, so that an offset means the same in all of them.
pub(crate) struct Source {
    /// Relative to the workspace, with `/` on every system.
    pub(crate) path: String,
    /// The code; comments and literals are blank.
    pub(crate) code: String,
    /// The comments; everything else is blank.
    pub(crate) comments: String,
    pub(crate) functions: Vec<Function>,
    line_starts: Vec<usize>,
    /// All of it is compiled for tests only.
    pub(crate) is_test_file: bool,
    tests: Vec<Range<usize>>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        let (code, comments) = split(text);
        let mut line_starts = vec![0];
        line_starts.extend(text.match_indices('\n').map(|(at, _)| at + 1));
        Source {
            path: path.to_owned(),
            functions: functions(&code),
            is_test_file: format!("/{path}").contains("/tests/"),
            tests: test_regions(&code),
            code,
            comments,
            line_starts,
        }
    }

    /// The line an offset is on, counted from 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    pub(crate) fn line_count(&self) -> usize {
        self.line_starts.len() - usize::from(self.line_starts.last() == Some(&self.code.len()))
    }

    /// Whether this offset is compiled for tests only.
    pub(crate) fn is_test(&self, offset: usize) -> bool {
        self.is_test_file || self.tests.iter().any(|region| region.contains(&offset))
    }

    /// `watertight-core` for `crates/watertight-core/src/lib.rs`; `xtask` for its own files.
    pub(crate) fn package(&self) -> &str {
        self.path
            .strip_prefix("crates/")
            .unwrap_or(&self.path)
            .split('/')
            .next()
            .unwrap_or_default()
    }

    /// The files that `mod name;` items for tests stand for.
    pub(crate) fn test_module_files(&self) -> Vec<String> {
        let (folder, file) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let base = match file {
            "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
            _ => format!("{folder}/{}", file.trim_end_matches(".rs")),
        };
        occurrences(&self.code, "mod")
            .filter(|at| self.is_test(*at))
            .filter_map(|at| identifier(&self.code, at + "mod".len()))
            .filter(|(_, end)| self.code[*end..].trim_start().starts_with(';'))
            .flat_map(|(name, _)| [format!("{base}/{name}.rs"), format!("{base}/{name}/mod.rs")])
            .collect()
    }
}

/// Where `pattern` stands in `text`, as a whole word where it begins or ends with a letter.
pub(crate) fn occurrences<'a>(
    text: &'a str,
    pattern: &'a str,
) -> impl Iterator<Item = usize> + use<'a> {
    text.match_indices(pattern).filter_map(move |(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + pattern.len()..].chars().next();
        let glued = |edge: Option<char>, neighbour: Option<char>| {
            edge.is_some_and(is_word) && neighbour.is_some_and(is_word)
        };
        let inside =
            glued(pattern.chars().next(), before) || glued(pattern.chars().next_back(), after);
        (!inside).then_some(at)
    })
}

pub(crate) fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The identifier after `from` and blanks, and where it ends.
pub(crate) fn identifier(code: &str, from: usize) -> Option<(&str, usize)> {
    let rest = &code[from..];
    let start = from + (rest.len() - rest.trim_start().len());
    let length = code[start..]
        .find(|c| !is_word(c))
        .unwrap_or(code.len() - start);
    let name = &code[start..start + length];
    let starts_well = name.chars().next().is_some_and(|c| !c.is_numeric());
    starts_well.then_some((name, start + length))
}

/// The attributes of some code, as the ranges of `#[…]` and `#![…]`.
pub(crate) fn attributes(code: &str) -> impl Iterator<Item = Range<usize>> + use<'_> {
    code.match_indices('#').filter_map(|(at, _)| {
        let rest = code[at + 1..].strip_prefix('!').unwrap_or(&code[at + 1..]);
        let open = code.len() - rest.len();
        rest.starts_with('[').then(|| at..closing(code, open))
    })
}

/// The offset after the bracket that closes the one at `open`; the end of the text if none does.
pub(crate) fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// What stands first after `from`, outside round and square brackets: `{`, `}` or `;`.
fn item_edge(code: &str, from: usize) -> Option<(usize, u8)> {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'{' | b'}' | b';' if depth == 0 => return Some((at, byte)),
            _ => {}
        }
    }
    None
}

fn functions(code: &str) -> Vec<Function> {
    occurrences(code, "fn")
        .filter_map(|start| {
            let (name, end) = identifier(code, start + "fn".len())?;
            let (open, edge) = item_edge(code, end)?;
            (edge == b'{').then(|| Function {
                name: name.to_owned(),
                start,
                body: open..closing(code, open),
            })
        })
        .collect()
}

fn test_regions(code: &str) -> Vec<Range<usize>> {
    attributes(code)
        .filter(|attribute| is_test_attribute(&code[attribute.clone()]))
        .map(|attribute| {
            if code[attribute.start..].starts_with("#!") {
                return 0..code.len();
            }
            let end = match item_edge(code, attribute.end) {
                Some((open, b'{')) => closing(code, open),
                Some((at, _)) => at + 1,
                None => code.len(),
            };
            attribute.start..end
        })
        .collect()
}

/// `#[test]`, `#[tokio::test(…)]`, `#[cfg(test)]`, `#[cfg(all(test, loom))]`; not `#[cfg(not(test))]`.
fn is_test_attribute(attribute: &str) -> bool {
    let dense: String = attribute.chars().filter(|c| !c.is_whitespace()).collect();
    let inner = dense.trim_start_matches(['#', '!', '[']);
    let path = inner.split(['(', ']']).next().unwrap_or_default();
    match path {
        "cfg" => occurrences(inner, "test").any(|at| !inner[..at].ends_with("not(")),
        _ => path == "test" || path.ends_with("::test"),
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Token {
    Code,
    Comment,
    Literal,
}

/// Splits a text into its code and its comments, each with everything else blank.
fn split(text: &str) -> (String, String) {
    let mut code = Vec::with_capacity(text.len());
    let mut comments = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let (kind, length) = token(text, at);
        for byte in text[at..at + length].bytes() {
            let blank = if byte == b'\n' { b'\n' } else { b' ' };
            code.push(if kind == Token::Code { byte } else { blank });
            comments.push(if kind == Token::Comment { byte } else { blank });
        }
        at += length;
    }
    let text = |bytes| String::from_utf8(bytes).expect("whole tokens are kept or blanked");
    (text(code), text(comments))
}

/// What begins at `at`, and its length in bytes.
fn token(text: &str, at: usize) -> (Token, usize) {
    let rest = &text[at..];
    let first = rest.chars().next().expect("the caller stops at the end");
    if rest.starts_with("//") {
        return (Token::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Token::Comment, block_comment(rest));
    }
    match first {
        '"' => (Token::Literal, quoted(rest, '"')),
        '\'' => match character(rest) {
            Some(length) => (Token::Literal, length),
            None => (Token::Code, 1),
        },
        _ if is_word(first) => {
            let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let raw = matches!(&rest[..word], "r" | "br" | "cr");
            match raw_string(&rest[word..]).filter(|_| raw) {
                Some(length) => (Token::Literal, word + length),
                None => (Token::Code, word),
            }
        }
        _ => (Token::Code, first.len_utf8()),
    }
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// The length of a literal that begins with `quote` and may hold escapes.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a character literal; nothing for a lifetime, which has no second quote.
fn character(rest: &str) -> Option<usize> {
    let mut letters = rest.char_indices().skip(1);
    let (_, first) = letters.next()?;
    if first == '\\' {
        return Some(quoted(rest, '\''));
    }
    let (at, second) = letters.next()?;
    (second == '\'').then_some(at + 1)
}

/// The length of `#"…"#` with any number of hashes; nothing for a raw identifier.
fn raw_string(rest: &str) -> Option<usize> {
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let inside = rest[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
    Some(hashes + 1 + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRICKY: &str = r####"
// a brace in a comment {
/* nested /* { */ { */
fn tricky<'a>(text: &'a str) -> char {
    let _ = ("}", '}', '\'', b'}', "\"}", r#"}"}"#, br"}", 'é', r#fn);
    '{'
}
fn after() {}
"####;

    #[test]
    fn literals_and_comments_do_not_open_or_close_anything() {
        let source = Source::new("crates/a/src/lib.rs", TRICKY);
        let names: Vec<&str> = source.functions.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["tricky", "after"]);
        assert_eq!(source.line(source.functions[0].start), 4);
        assert_eq!(source.line(source.functions[0].body.end - 1), 7);
        assert_eq!(source.code.len(), TRICKY.len());
        assert!(source.comments.contains("a brace in a comment {"));
        assert!(!source.code.contains("comment"));
    }

    #[test]
    fn a_function_without_a_body_is_not_one() {
        let source = Source::new(
            "a.rs",
            "trait T { fn a(x: [u8; 3]); fn b() {} } type F = fn(u8);",
        );
        assert_eq!(source.functions.len(), 1);
        assert_eq!(source.functions[0].name, "b");
    }

    #[test]
    fn tests_are_told_from_code() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }\n#[tokio::test(x = 1)]\nasync fn c() {}\n\
                    #[cfg(not(test))]\nfn d() {}\n#[cfg(all(test, loom))]\nmod models;\nfn e() {}";
        let source = Source::new("crates/x/src/driver.rs", text);
        let test = |name: &str| source.is_test(text.find(name).unwrap());
        assert!(!test("a()") && test("b()") && test("c()") && !test("d()") && !test("e()"));
        assert_eq!(
            source.test_module_files(),
            [
                "crates/x/src/driver/models.rs",
                "crates/x/src/driver/models/mod.rs"
            ]
        );
        assert!(Source::new("crates/x/tests/t.rs", "fn a() {}").is_test(0));
        assert!(Source::new("a.rs", "fn a() {}\n#![cfg(test)]").is_test(0));
    }

    #[test]
    fn words_are_whole() {
        let found =
            |pattern| occurrences("unsent sent sent_at println! eprintln!", pattern).count();
        assert_eq!(found("sent"), 1);
        assert_eq!(found("println!"), 1);
    }
}
