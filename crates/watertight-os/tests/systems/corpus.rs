//! What the fuzzer found worth keeping about codes, on a compiler that cannot fuzz; and every code up to where they end.
#![allow(clippy::unwrap_used, reason = "a test names what it expects")]

use crate::codes;
use crate::turn::take_turn;
use std::path::Path;

#[test]
fn every_file_of_the_corpus_holds() {
    take_turn();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/classify");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().flatten().collect();
    assert!(!files.is_empty(), "an empty corpus proves nothing");
    for file in files {
        println!("{}", file.path().display());
        codes::check(&std::fs::read(file.path()).unwrap());
    }
}

#[test]
fn every_small_code_holds_for_every_call() {
    for call in 0..17 {
        for code in 0..5_000_u32 {
            let [a, b, c, d] = code.to_le_bytes();
            for len in [0, 3] {
                codes::check(&[call, a, b, c, d, 0, len, len, 9]);
                codes::check(&[call, a, b, c, d, 6, len, len, 0]);
            }
        }
    }
}
