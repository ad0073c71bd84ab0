//! Durations as people type them.

use std::time::Duration;

/// A text that is no duration, and what to write instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDuration {
    /// It has no unit that is known.
    #[error("give a whole number and a unit: 250ms, 5s, 2m, 1h or 1d")]
    Unit,
    /// It is longer than any duration may be.
    #[error("it must be at most 31d")]
    TooLong,
    /// It is out of the range of what it is for.
    #[error("it must be {0} to {1}")]
    Range(&'static str, &'static str),
    /// Its number is none.
    #[error("it must be a whole number, and at most 31d")]
    Number,
}

/// Reads a duration like `250ms`, `5s`, `2m` or `1h`.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ if text == "0" => 1,
        _ => return Err(InvalidDuration::Unit),
    };

    let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms));
    let max = ratequeue_limiter::caps::DURATION_MS_MAX;
    match ms {
        Some(ms) if ms <= max => Ok(Duration::from_millis(ms)),
        Some(_) => Err(InvalidDuration::TooLong),
        None => Err(InvalidDuration::Number),
    }
}

/// Writes milliseconds as [`parse`] reads them, in the largest unit that is exact.
pub fn show(ms: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let unit = UNITS.into_iter().find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{ms}ms"), |(unit, name)| format!("{}{name}", ms / unit))
}

/// Writes a measured time for people: whole seconds from ten on.
pub fn about(ms: u64) -> String {
    if ms < 10_000 { format!("{ms}ms") } else { format!("{}s", ms / 1_000) }
}

/// Whole milliseconds of a duration that [`parse`] made.
pub fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_back() {
        for (ms, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (1_500, "1500ms"),
            (90_000, "90s"),
            (3_600_000, "1h"),
            (172_800_000, "2d"),
        ] {
            assert_eq!(show(ms), text);
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)));
        }
    }

    #[test]
    fn units_are_needed_and_known() {
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(parse("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse("31d"), Ok(Duration::from_secs(31 * 86_400)));
        assert_eq!(parse("0"), Ok(Duration::ZERO));
        for bad in ["", "5", "s", "-1s", "1.5s", "5x", "32d", "99999999999999999999s"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
