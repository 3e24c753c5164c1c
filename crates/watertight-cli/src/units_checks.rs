//! What must hold for every size, rate and duration anybody can write, and for the pace a rate becomes. A fuzz target
//! includes this file.
#![allow(clippy::unwrap_used, reason = "a test names what it expects")]

use crate::rate::Pace;
use crate::units::{
    bytes, duration, printable, rate, shown_bytes, shown_duration, some_bytes, some_duration,
};
use std::time::{Duration, Instant};

pub(crate) fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let size = bytes(&text);
    if let Ok(size) = size {
        sized(&text, size);
    }
    assert_eq!(some_bytes(&text).ok(), size.ok().filter(|size| *size > 0));
    if let Ok(rate) = rate(&text) {
        assert!(rate > 0);
        assert_eq!(crate::units::rate(&format!("{rate}/s")), Ok(rate));
        paced(rate, data);
    }
    let time = duration(&text);
    if let Ok(time) = time {
        lasting(&text, time);
    }
    assert_eq!(
        some_duration(&text).ok(),
        time.ok().filter(|time| !time.is_zero())
    );
    let safe = printable(&text);
    assert!(!safe.chars().any(char::is_control));
    assert_eq!(printable(&safe), safe, "escaped once is enough");
    if let Some(number) = data.first_chunk() {
        shown(u64::from_le_bytes(*number));
    }
}

/// The number in front, as the standard library reads it, and what follows it.
fn taken_apart(text: &str) -> (f64, String) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.trim_start().to_ascii_lowercase();
    (number.parse().unwrap(), unit)
}

/// Whether both are the same but for what a whole number and a `f64` lose.
fn is_near(exact: f64, whole: f64) -> bool {
    (exact - whole).abs() <= 1.0 + exact * 1e-12
}

fn sized(text: &str, size: u64) {
    assert_eq!(bytes(&size.to_string()), Ok(size));
    assert_eq!(bytes(&format!(" {size}B ")), Ok(size));
    let (number, unit) = taken_apart(text);
    let power = |letter| match letter {
        'k' => 1,
        'm' => 2,
        'g' => 3,
        't' => 4,
        other => panic!("`{other}` is no unit, and `{text}` was accepted"),
    };
    let unit = unit.strip_suffix('b').unwrap_or(&unit).trim_end();
    let factor = match (unit.strip_suffix('i'), unit) {
        (_, "") => 1.0,
        (Some(letter), _) => 1024_f64.powi(power(letter.parse().unwrap())),
        (None, letter) => 1000_f64.powi(power(letter.parse().unwrap())),
    };
    assert!(is_near(number * factor, size as f64), "{text} is {size}");
}

fn lasting(text: &str, told: Duration) {
    let (number, unit) = taken_apart(text);
    let nanoseconds = match unit.as_str() {
        "us" => 1e3,
        "ms" => 1e6,
        "" | "s" => 1e9,
        "m" | "min" => 60e9,
        "h" => 3600e9,
        other => panic!("`{other}` is no unit, and `{text}` was accepted"),
    };
    assert!(is_near(number * nanoseconds, told.as_nanos() as f64));
    let shown = shown_duration(told).replace("µs", "us");
    // Nobody waits for nanoseconds, so there is no way to write them.
    if !shown.ends_with("ns") {
        assert_eq!(duration(&shown), Ok(told), "{shown}");
    }
}

fn shown(number: u64) {
    let text = shown_bytes(number);
    let back = bytes(&text).unwrap();
    // Cut off after one digit, never rounded up: what is shown is there.
    assert!(back <= number && number - back <= number / 9, "{text}");
}

/// However fast or slow the bytes come: no more than the rate, and never a step back in time.
fn paced(rate: u64, data: &[u8]) {
    let start = Instant::now();
    let mut pace = Pace::new(rate, start);
    let portion = pace.portion() as u64;
    assert!(portion >= 1 && portion <= (rate / 10).max(1));
    let mut now = start;
    let mut spent = 0_u64;
    for byte in data {
        now = now.max(pace.due()) + Duration::from_millis(u64::from(*byte));
        let before = pace.due();
        // Never more than is allowed at once.
        let bytes = portion.min(u64::from(*byte) << 8 | 1);
        pace.spend(bytes, now);
        spent += bytes;
        assert!(pace.due() >= before, "a step back");
        // What is caught up is at most a portion's time, and a nanosecond is lost to each division.
        let least = spent as f64 / rate as f64 - 0.1 - 1e-9 * data.len() as f64;
        assert!((pace.due() - start).as_secs_f64() >= least, "too fast");
    }
}
