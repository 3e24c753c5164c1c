//! Sizes, rates and durations as people write them, and as they are shown.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::time::Duration;

/// The suffixes of sizes: without `i` powers of 1000, with it powers of 1024.
const SCALES: [(&str, u64); 9] = [
    ("", 1),
    ("k", 1_000),
    ("m", 1_000_000),
    ("g", 1_000_000_000),
    ("t", 1_000_000_000_000),
    ("ki", 1 << 10),
    ("mi", 1 << 20),
    ("gi", 1 << 30),
    ("ti", 1 << 40),
];

/// The units of durations, in nanoseconds.
const UNITS: [(&str, u64); 7] = [
    ("", 1_000_000_000),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A number of bytes, 0 included: `500`, `64k`, `1.5M`, `10MB`, `1GiB`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let scaled = lower.strip_suffix('b').unwrap_or(&lower);
    scale(scaled, &SCALES).ok_or_else(|| {
        "not a size; write it like 65536, 64k, 1.5M (k, M, G, T: powers of 1000) or 64Ki, 1MiB (Ki, Mi, Gi, Ti: powers of 1024)"
            .to_owned()
    })
}

/// A number of bytes that is more than 0.
pub(crate) fn some_bytes(text: &str) -> Result<u64, String> {
    match bytes(text)? {
        0 => {
            Err("0 would let nothing through; leave the option out, or give at least 1".to_owned())
        }
        some => Ok(some),
    }
}

/// Bytes per second, more than 0; a trailing `/s` is welcome.
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    some_bytes(text.trim().strip_suffix("/s").unwrap_or(text))
}

/// A duration, 0 included: `500ms`, `1.5s`, `2m`, `1h`; a bare number means seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let lower = text.trim().to_ascii_lowercase();
    scale(&lower, &UNITS)
        .map(Duration::from_nanos)
        .ok_or_else(|| "not a duration; write it like 500ms, 1.5s, 2m or 1h".to_owned())
}

/// A duration that is more than 0.
pub(crate) fn some_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err(
            "0 would end everything at once; leave the option out, or give more than 0".to_owned(),
        ),
        some => Ok(some),
    }
}

/// A share in percent, from 1 to 100; the `%` may be left out.
pub(crate) fn percent(text: &str) -> Result<u8, String> {
    let text = text.trim();
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    let share = number.parse::<u8>().ok();
    let share = share.filter(|share| (1..=100).contains(share));
    share.ok_or_else(|| "not a share; write it in percent, from 1% to 100%, as in 80%".to_owned())
}

/// A decimal number and one of the suffixes, without rounding errors. `None` if it is neither, or too large.
fn scale(text: &str, suffixes: &[(&str, u64)]) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (_, factor) = suffixes.iter().find(|(known, _)| *known == suffix.trim())?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // Eighteen digits after the point: finer than a byte of a terabyte, and no overflow below.
    let digits = u32::try_from(fraction.len())
        .ok()
        .filter(|digits| (1..=18).contains(digits))?;
    let part = fraction.parse::<u128>().ok()? * u128::from(*factor) / 10_u128.pow(digits);
    let sum = u128::from(whole.parse::<u64>().ok()?) * u128::from(*factor) + part;
    u64::try_from(sum).ok()
}

/// A size for a person: `1.4 MB`. Powers of 1000, as the options have it.
pub(crate) fn shown_bytes(bytes: u64) -> String {
    const SHOWN: [(u64, &str); 4] = [
        (1_000_000_000_000, "TB"),
        (1_000_000_000, "GB"),
        (1_000_000, "MB"),
        (1_000, "kB"),
    ];
    match SHOWN.iter().find(|(scale, _)| bytes >= *scale) {
        Some((scale, unit)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(*scale);
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

/// A duration for a person: `250ms`, `1.5s`.
pub(crate) fn shown_duration(duration: Duration) -> String {
    format!("{duration:?}")
}

/// A text as part of one line: what would end the line, move the cursor or turn the direction around is escaped.
pub(crate) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        let turns = matches!(char, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if char.is_control() || turns {
            safe.extend(char.escape_default());
        } else {
            safe.push(char);
        }
    }
    safe
}

/// How many columns a text takes at most on a terminal. (A mark that takes none is counted too.)
pub(crate) fn columns_of(text: &str) -> usize {
    text.chars().map(columns_of_char).sum()
}

/// Blocks with wide characters are taken whole: rather too many columns than too few.
fn columns_of_char(char: char) -> usize {
    let is_wide = matches!(
        char,
        '\u{1100}'..='\u{115f}'
            | '\u{231a}'..='\u{23ff}'
            | '\u{25fd}'..='\u{25fe}'
            | '\u{2600}'..='\u{27bf}'
            | '\u{2b00}'..='\u{2bff}'
            | '\u{2e80}'..='\u{a4cf}'
            | '\u{a960}'..='\u{a97f}'
            | '\u{ac00}'..='\u{d7ff}'
            | '\u{f900}'..='\u{faff}'
            | '\u{fe10}'..='\u{fe6f}'
            | '\u{ff00}'..='\u{ff60}'
            | '\u{ffe0}'..='\u{ffe6}'
            | '\u{16fe0}'..='\u{3ffff}'
    );
    if is_wide { 2 } else { 1 }
}

/// A text that takes so many columns at most; what does not fit is cut off at its end.
pub(crate) fn shortened(text: &str, columns: usize) -> String {
    const CUT: &str = "...";
    if columns_of(text) <= columns {
        return text.to_owned();
    }
    let cut = &CUT[..CUT.len().min(columns)];
    let room = columns - cut.len();
    let mut taken = 0;
    let beginning = text.chars().take_while(|char| {
        taken += columns_of_char(*char);
        taken <= room
    });
    beginning.chain(cut.chars()).collect()
}

/// Bytes per second, of so many in this time. A millisecond is the least that is told apart.
pub(crate) fn per_second(bytes: u64, time: Duration) -> u64 {
    let milliseconds = time.as_millis().max(1);
    u64::try_from(u128::from(bytes) * 1000 / milliseconds).unwrap_or(u64::MAX)
}

/// Two digits for each byte.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing into a String does not fail");
        text
    })
}

/// Base64 with padding (RFC 4648, section 4).
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| group.get(at).copied().map_or(0, usize::from);
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for at in 0..4 {
            // So many bytes fill one digit more.
            if at <= group.len() {
                let digit = (bits >> (18 - 6 * at)) & 63;
                text.push(char::from(DIGITS[digit]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// The bytes of a name that is no text: what is shown of it loses some.
pub(crate) fn bytes_unless_text(name: &OsStr) -> Option<&[u8]> {
    match name.to_str() {
        Some(_) => None,
        None => Some(name.as_encoded_bytes()),
    }
}

/// Likewise, in base64.
pub(crate) fn base64_unless_text(name: &OsStr) -> Option<String> {
    bytes_unless_text(name).map(base64)
}

/// A name as it is shown.
pub(crate) fn shown_name(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}

/// Names as they are shown.
pub(crate) fn shown_names(names: &[OsString]) -> Vec<String> {
    names.iter().map(|name| shown_name(name)).collect()
}

/// The bytes of every name in base64, if one of them is no text.
pub(crate) fn base64_unless_texts(names: &[OsString]) -> Option<Vec<String>> {
    let is_lossy = names.iter().any(|name| bytes_unless_text(name).is_some());
    let bytes = names.iter().map(|name| base64(name.as_encoded_bytes()));
    is_lossy.then(|| bytes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_has_two_digits_a_byte() {
        assert_eq!(hexadecimal(&[0, 10, 255]), "000aff");
    }

    /// The vectors of RFC 4648, section 10; and the last digits, which are not in them.
    #[test]
    fn base64_is_that_of_the_standard() {
        for (bytes, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), expected);
        }
        assert_eq!(base64(&[0xfb, 0xef, 0xff]), "++//");
        assert_eq!(base64_unless_text(OsStr::new("é")), None);
        assert_eq!(base64_unless_texts(&["a".into(), "é".into()]), None);
    }

    #[test]
    fn a_rate_has_no_division_by_nothing() {
        assert_eq!(per_second(10, Duration::ZERO), 10_000);
        assert_eq!(per_second(10, Duration::from_secs(2)), 5);
        assert_eq!(per_second(u64::MAX, Duration::from_millis(1)), u64::MAX);
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        assert_eq!(shortened("sha256sum", 9), "sha256sum");
        assert_eq!(shortened("sha256sum", 8), "sha25...");
        assert_eq!(shortened("sha256sum", 2), "..");
        assert_eq!(shortened("sha256sum", 0), "");
        // Two columns each, so that no line of a terminal is broken.
        assert_eq!(shortened("\u{6f22}\u{5b57}", 4), "\u{6f22}\u{5b57}");
        assert_eq!(shortened("\u{6f22}\u{5b57}x", 4), "...");
        assert_eq!(shortened("\u{6f22}\u{5b57}xx", 5), "\u{6f22}...");
    }

    #[test]
    fn sizes_are_powers_of_1000_unless_they_say_i() {
        for (text, expected) in [
            ("0", 0),
            ("65536", 65_536),
            ("64k", 64_000),
            ("64K", 64_000),
            ("64kB", 64_000),
            ("64Ki", 65_536),
            ("1.5M", 1_500_000),
            ("10 MB", 10_000_000),
            ("1GiB", 1 << 30),
            ("0.5Ki", 512),
            ("12b", 12),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "k",
            "1x",
            "-1",
            "1.2.3",
            "1.",
            "99999999999G",
            "1e3",
            "0x10",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn zero_is_refused_with_a_way_out() {
        assert!(rate("0").unwrap_err().contains("leave the option out"));
        assert!(some_bytes("0.1").unwrap_err().contains("at least 1"));
        assert!(
            some_duration("0s")
                .unwrap_err()
                .contains("leave the option out")
        );
        assert_eq!(some_duration("1ms"), Ok(Duration::from_millis(1)));
        assert_eq!(rate("10M/s"), Ok(10_000_000));
    }

    #[test]
    fn durations_have_units_and_default_to_seconds() {
        for (text, milliseconds) in [
            ("0", 0),
            ("500ms", 500),
            ("1.5s", 1_500),
            ("2", 2_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(
                duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        assert!(duration("soon").is_err() && some_duration("soon").is_err());
    }

    #[test]
    fn a_share_is_a_percentage() {
        for (text, expected) in [("1%", 1), ("80%", 80), (" 100 % ", 100), ("7", 7)] {
            assert_eq!(percent(text), Ok(expected), "{text}");
        }
        for text in ["", "%", "0%", "101%", "1.5%", "-1%", "half", "80%%"] {
            assert!(percent(text).unwrap_err().contains("as in 80%"), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit_that_fits() {
        assert_eq!(shown_bytes(999), "999 B");
        assert_eq!(shown_bytes(1_396_520), "1.3 MB");
        assert_eq!(shown_bytes(u64::MAX), "18446744.0 TB");
    }

    #[test]
    fn a_text_stays_on_its_line() {
        assert_eq!(
            printable("a\nb\u{1b}[2J\u{202e}"),
            "a\\nb\\u{1b}[2J\\u{202e}"
        );
        assert_eq!(printable("C:\\x 'é' \""), "C:\\x 'é' \"");
    }
}
