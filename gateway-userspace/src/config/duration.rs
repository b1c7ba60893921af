//! Durations as people write them: `30s`, `1h30m`, `2d`.

use std::time::Duration;

/// Parses one or more `number unit` pairs, units `ms`, `s`, `m`, `h`, `d`, in falling order.
pub(crate) fn parse(written: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "`{written}` is not a duration; write a number with a unit, for example `30s`, `10m`, `1h30m`"
        )
    };
    let mut rest = written.trim();
    let mut total = Duration::ZERO;
    let mut last_unit = u64::MAX;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        if millis >= last_unit {
            return Err(wrong());
        }
        last_unit = millis;
        let part = number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(millis))
            .ok_or_else(wrong)?;
        total = total
            .checked_add(Duration::from_millis(part))
            .ok_or_else(wrong)?;
        rest = after;
    }
    Ok(total)
}
