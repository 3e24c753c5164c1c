//! The committed corpus of the fuzz target `sim`, on stable: every file is a run that has to end well.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use std::path::Path;
use watertight_sim::{draw, run};

#[test]
fn every_run_of_the_corpus_ends_well() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/sim");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
    assert!(!files.is_empty(), "an empty corpus proves nothing");
    for file in files {
        let path = file.unwrap().path();
        let (scenario, plan) = draw::draw_from(&std::fs::read(&path).unwrap());
        let ran = run::run(&scenario, &plan);
        assert!(ran.is_ok(), "{}: {ran:?}", path.display());
    }
}
