//! This test binary, run again for one of its tests.

/// The name by which the harness knows a test. `module` is the `module_path!()` of the place where the test stands.
pub(crate) fn test_name(module: &str, test: &str) -> String {
    // The harness leaves the crate out.
    match module.split_once("::") {
        Some((_, within)) => format!("{within}::{test}"),
        None => test.to_owned(),
    }
}
