//! What the fuzzer found worth keeping about both halves, on a compiler that cannot fuzz.
#![allow(clippy::unwrap_used, reason = "a test names what it expects")]

use crate::model;
use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let files: Vec<_> = std::fs::read_dir(corpus.join(target))
        .unwrap()
        .flatten()
        .collect();
    assert!(!files.is_empty(), "an empty corpus proves nothing");
    for file in files {
        println!("{}", file.path().display());
        run(&std::fs::read(file.path()).unwrap());
    }
}

#[test]
fn every_file_of_the_corpora_holds() {
    replay("read_half", model::read::run);
    replay("write_half", model::write::run);
}
