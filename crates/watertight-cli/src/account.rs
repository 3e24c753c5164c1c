//! The account so far, for whoever asks for it with a signal while the copy runs.

use crate::units::{printable, shown_bytes};
use watertight::Ledger;

/// What is said before there is an account.
pub(crate) const NOT_BEGUN: &str =
    "watertight: nothing is copied yet: addresses are still being opened\n";

/// A line for every end.
pub(crate) fn so_far<'a>(
    source: &str,
    bytes_read: u64,
    destinations: impl Iterator<Item = (&'a str, Ledger)>,
) -> String {
    let shown = shown_bytes(bytes_read);
    let source = printable(source);
    let mut text = format!("watertight: so far {bytes_read} bytes ({shown}) read from {source}\n");
    for (address, ledger) in destinations {
        text += &format!(
            "  transferred  {} bytes of {} accepted, to {}\n",
            ledger.transferred(),
            ledger.accepted(),
            printable(address)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_its_line() {
        let destinations = [("b", Ledger::default()), ("c\nd", Ledger::default())];
        let text = so_far("a\n", 5, destinations.into_iter());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[0], "watertight: so far 5 bytes (5 B) read from a\\n");
        assert_eq!(lines[2], "  transferred  0 bytes of 0 accepted, to c\\nd");
    }
}
