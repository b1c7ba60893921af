//! Sizes as people write them: `512KiB`, `1MiB`, `10GiB`.

/// Bytes in a written size.
pub(crate) fn parse(written: &str) -> Result<u64, String> {
    let written = written.trim();
    let digits = written
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(written.len());
    let (number, unit) = written.split_at(digits);
    let factor = match unit.trim() {
        "" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        "TiB" => Some(1 << 40),
        _ => None,
    };
    factor
        .zip(number.parse::<u64>().ok())
        .and_then(|(factor, number): (u64, u64)| number.checked_mul(factor))
        .ok_or_else(|| {
            format!(
                "`{written}` is no size; write a number and KiB, MiB, GiB or TiB, for example 1MiB"
            )
        })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes_are_numbers_with_binary_units() {
        assert_eq!(parse("0"), Ok(0));
        assert_eq!(parse("1MiB"), Ok(1 << 20));
        assert_eq!(parse("10 GiB"), Ok(10 << 30));
        for wrong in ["", "MiB", "1MB", "-1", "1.5MiB", "99999999999TiB"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
