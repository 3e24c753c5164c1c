//! What the fuzzer found worth keeping about what users write, on a compiler that cannot fuzz.
#![allow(clippy::unwrap_used, reason = "a test names what it expects")]

use crate::{address_checks, units_checks};
use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let files: Vec<_> = std::fs::read_dir(corpus.join(target))
        .unwrap()
        .flatten()
        .collect();
    assert!(!files.is_empty(), "an empty corpus proves nothing");
    for file in files {
        println!("{}", file.path().display());
        check(&std::fs::read(file.path()).unwrap());
    }
}

#[test]
fn every_file_of_the_corpora_holds() {
    replay("address", address_checks::check);
    replay("units", units_checks::check);
}
