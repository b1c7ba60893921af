//! Times, sizes and counts as people write them.

use std::{fmt::Write as _, time::Duration};

/// `500ms`, `90s`, `15m`, `1h30m`, `2d`: numbers with units, in falling order.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut last = u64::MAX;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = digits(rest)?;
        let unit = after
            .find(|c: char| !c.is_ascii_lowercase())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit)?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        if millis >= last {
            return None;
        }
        last = millis;
        total = total.checked_add(number.checked_mul(millis)?)?;
        rest = after;
    }
    Some(Duration::from_millis(total))
}

/// A time as people write it, in the form that [`duration`] reads.
pub(super) fn written(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut text = String::new();
    for (unit, millis) in [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ] {
        if rest >= millis {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{}{unit}", rest / millis);
            rest %= millis;
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

/// `1000000`, `64MiB`, `10GB`: bytes, with or without a unit.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = digits(text)?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// `1000000`: digits alone.
pub(super) fn count(text: &str) -> Option<u64> {
    match digits(text)? {
        (number, "") => Some(number),
        _ => None,
    }
}

fn digits(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_in_falling_order() {
        for (text, millis) in [
            ("500ms", 500),
            ("90s", 90_000),
            ("15m", 900_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("1m0s", 60_000),
        ] {
            assert_eq!(
                duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in [
            "",
            "15",
            "m",
            "15 m",
            "1.5h",
            "30m1h",
            "1m1m",
            "-1s",
            "+1s",
            "1w",
            "1H",
            "15m ",
            "99999999999999999999s",
            "18446744073709551615d",
            "1s\u{7f}",
            "1é",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_written_time_reads_as_itself() {
        for text in ["500ms", "1m30s", "15m", "1h30m", "2d", "1s500ms"] {
            assert_eq!(duration(text).map(written).as_deref(), Some(text));
        }
        assert_eq!(written(Duration::ZERO), "0s");
        assert_eq!(written(Duration::from_secs(90)), "1m30s");
    }

    #[test]
    fn sizes_have_at_most_one_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("1000000", 1_000_000),
            ("64MiB", 64 << 20),
            ("64MB", 64_000_000),
            ("1kB", 1_000),
            ("1KiB", 1_024),
            ("7B", 7),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "MiB",
            "64 MiB",
            "64mib",
            "64M",
            "1.5GiB",
            "-1",
            "16777216TiB",
            "1_000",
        ] {
            assert_eq!(size(text), None, "{text}");
        }
        assert_eq!(count("1000000"), Some(1_000_000));
        for text in [
            "",
            "1k",
            "1_000",
            "1e6",
            "0x10",
            "-1",
            "18446744073709551616",
        ] {
            assert_eq!(count(text), None, "{text}");
        }
    }
}
