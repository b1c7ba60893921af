//! `bucket`: dates and times rounded down to a month or year, numbers to a step.

use bytes::{BufMut, BytesMut};

use super::Written;
use crate::masking::{Bucket, Format, types::WireType};

/// A bucket for a type.
#[derive(Clone, Debug)]
pub(in crate::masking) struct Rounding {
    to: To,
    format: Format,
}

#[derive(Clone, Copy, Debug)]
enum To {
    Step(Number, u32),
    Date(Time, Part),
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
}

#[derive(Clone, Copy, Debug)]
enum Time {
    Date,
    Timestamp,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Month,
    Year,
}

const DAY_MICROS: i64 = 86_400_000_000;
/// Days from 0000-03-01 to 2000-01-01 in the proleptic Gregorian calendar.
const DAYS_TO_2000: i64 = 730_425;

impl Rounding {
    /// `None`: the bucket does not fit the type.
    pub(super) fn bind(bucket: Bucket, of: &WireType, format: Format) -> Option<Self> {
        let number = match of {
            WireType::Int2 => Some(Number::Int2),
            WireType::Int4 => Some(Number::Int4),
            WireType::Int8 => Some(Number::Int8),
            WireType::Float4 => Some(Number::Float4),
            WireType::Float8 => Some(Number::Float8),
            WireType::Numeric => Some(Number::Numeric),
            _ => None,
        };
        let time = match of {
            WireType::Date => Some(Time::Date),
            WireType::Timestamp | WireType::Timestamptz => Some(Time::Timestamp),
            _ => None,
        };
        let to = match bucket {
            Bucket::Step(step) => To::Step(number?, step),
            Bucket::Month => To::Date(time?, Part::Month),
            Bucket::Year => To::Date(time?, Part::Year),
        };
        Some(Self { to, format })
    }

    pub(super) fn write(&self, value: &[u8], out: &mut BytesMut) -> Written {
        let at = out.len();
        let written = match (self.to, self.format) {
            (To::Step(number, step), Format::Text) => text_number(number, step, value, out),
            (To::Step(number, step), Format::Binary) => binary_number(number, step, value, out),
            (To::Date(time, part), Format::Text) => text_date(time, part, value, out),
            (To::Date(time, part), Format::Binary) => binary_date(time, part, value, out),
        };
        if written.is_some() {
            Written::Replaced
        } else {
            out.truncate(at);
            Written::Null
        }
    }
}

fn down(value: i128, step: u32) -> i128 {
    value.div_euclid(i128::from(step)) * i128::from(step)
}

fn down_float(value: f64, step: u32) -> Option<f64> {
    value
        .is_finite()
        .then(|| (value / f64::from(step)).floor() * f64::from(step))
}

/// The greatest whole number that is not above a decimal number without exponent.
fn whole(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: i128 = whole.parse().ok()?;
    let below = whole.starts_with('-') && fraction.bytes().any(|digit| digit != b'0');
    number.checked_sub(i128::from(below))
}

fn text_number(number: Number, step: u32, value: &[u8], out: &mut BytesMut) -> Option<()> {
    let text = std::str::from_utf8(value).ok()?;
    let shown = match number {
        Number::Float4 | Number::Float8 => down_float(text.parse().ok()?, step)?.to_string(),
        Number::Int2 | Number::Int4 | Number::Int8 | Number::Numeric => {
            let rounded = down(whole(text)?, step);
            match number {
                Number::Int2 => i16::try_from(rounded).map(|_| ()).ok()?,
                Number::Int4 => i32::try_from(rounded).map(|_| ()).ok()?,
                Number::Int8 => i64::try_from(rounded).map(|_| ()).ok()?,
                Number::Numeric | Number::Float4 | Number::Float8 => {}
            }
            rounded.to_string()
        }
    };
    out.extend_from_slice(shown.as_bytes());
    Some(())
}

fn binary_number(number: Number, step: u32, value: &[u8], out: &mut BytesMut) -> Option<()> {
    match number {
        Number::Int2 => {
            let plain = i16::from_be_bytes(value.try_into().ok()?);
            out.put_i16(i16::try_from(down(plain.into(), step)).ok()?);
        }
        Number::Int4 => {
            let plain = i32::from_be_bytes(value.try_into().ok()?);
            out.put_i32(i32::try_from(down(plain.into(), step)).ok()?);
        }
        Number::Int8 => {
            let plain = i64::from_be_bytes(value.try_into().ok()?);
            out.put_i64(i64::try_from(down(plain.into(), step)).ok()?);
        }
        Number::Float4 => {
            let plain = f32::from_be_bytes(value.try_into().ok()?);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "as near as the type allows"
            )]
            out.put_f32(down_float(plain.into(), step)? as f32);
        }
        Number::Float8 => {
            let plain = f64::from_be_bytes(value.try_into().ok()?);
            out.put_f64(down_float(plain, step)?);
        }
        Number::Numeric => put_numeric(down(numeric(value)?, step), out)?,
    }
    Some(())
}

/// The greatest whole number that is not above a numeric: number of digits (base 10,000), weight
/// of the first, sign, scale, digits.
fn numeric(value: &[u8]) -> Option<i128> {
    let mut words = value.chunks_exact(2).map(|word| {
        let word: [u8; 2] = word.try_into().unwrap_or_default();
        i16::from_be_bytes(word)
    });
    let count = usize::try_from(words.next()?).ok()?;
    let weight = words.next()?;
    let negative = match words.next()? {
        0 => false,
        0x4000 => true,
        // NaN and the infinities.
        _ => return None,
    };
    words.next()?;
    if value.len() != 8 + count * 2 || weight > 8 {
        return None;
    }
    let mut number = 0_i128;
    let mut fraction = false;
    let mut place = weight;
    for digit in words {
        if place >= 0 {
            number += i128::from(digit) * 10_000_i128.pow(u32::try_from(place).ok()?);
        } else {
            fraction |= digit != 0;
        }
        place -= 1;
    }
    Some(if negative {
        -number - i128::from(fraction)
    } else {
        number
    })
}

fn put_numeric(number: i128, out: &mut BytesMut) -> Option<()> {
    let mut digits = Vec::new();
    let mut rest = number.unsigned_abs();
    while rest > 0 {
        digits.push(i16::try_from(rest % 10_000).ok()?);
        rest /= 10_000;
    }
    let count = i16::try_from(digits.len()).ok()?;
    out.put_i16(count);
    out.put_i16((count - 1).max(0));
    out.put_i16(if number < 0 { 0x4000 } else { 0 });
    out.put_i16(0);
    for digit in digits.into_iter().rev() {
        out.put_i16(digit);
    }
    Some(())
}

/// Dates in ISO style only: in others day and month cannot be told apart.
fn text_date(time: Time, part: Part, value: &[u8], out: &mut BytesMut) -> Option<()> {
    let text = std::str::from_utf8(value).ok()?;
    let (text, era) = match text.strip_suffix(" BC") {
        Some(text) => (text, " BC"),
        None => (text, ""),
    };
    let (date, clock) = match time {
        Time::Date => (text, None),
        Time::Timestamp => text
            .split_once(' ')
            .map(|(date, clock)| (date, Some(clock)))?,
    };
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = |text: &str, least: usize, most: usize| {
        (least..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if parts.next().is_some() || !digits(year, 4, 6) || !digits(month, 2, 2) || !digits(day, 2, 2) {
        return None;
    }
    let month = match part {
        Part::Month => month,
        Part::Year => "01",
    };
    out.extend_from_slice(format!("{year}-{month}-01").as_bytes());
    if let Some(clock) = clock {
        let zone = clock.find(['+', '-']).and_then(|at| clock.get(at..));
        out.extend_from_slice(b" 00:00:00");
        out.extend_from_slice(zone.unwrap_or_default().as_bytes());
    }
    out.extend_from_slice(era.as_bytes());
    Some(())
}

fn binary_date(time: Time, part: Part, value: &[u8], out: &mut BytesMut) -> Option<()> {
    match time {
        Time::Date => {
            let days = i32::from_be_bytes(value.try_into().ok()?);
            if matches!(days, i32::MIN | i32::MAX) {
                return None;
            }
            out.put_i32(i32::try_from(first_day(days.into(), part)).ok()?);
        }
        Time::Timestamp => {
            let micros = i64::from_be_bytes(value.try_into().ok()?);
            if matches!(micros, i64::MIN | i64::MAX) {
                return None;
            }
            let days = first_day(micros.div_euclid(DAY_MICROS), part);
            out.put_i64(days.checked_mul(DAY_MICROS)?);
        }
    }
    Some(())
}

/// The first day of the month or year of a day, both counted from 2000-01-01.
fn first_day(days: i64, part: Part) -> i64 {
    // Years here begin in March, so that the leap day is the last.
    let days = days + DAYS_TO_2000;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let first = match part {
        Part::Month => (153 * month + 2) / 5,
        // January is the eleventh month of the year before.
        Part::Year if month >= 10 => 306,
        Part::Year => {
            let previous = days - day_of_year - 1;
            return first_day(previous - DAYS_TO_2000, part);
        }
    };
    era * 146_097 + 365 * year_of_era + year_of_era / 4 - year_of_era / 100 + first - DAYS_TO_2000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::masking::MaskKind;

    fn shown(bucket: &str, of: &WireType, value: &str) -> Option<String> {
        let mut out = BytesMut::new();
        let Ok(MaskKind::Bucket(bucket)) = MaskKind::parse(&format!("bucket {bucket}")) else {
            panic!("a bucket")
        };
        let rounding = Rounding::bind(bucket, of, Format::Text)?;
        (rounding.write(value.as_bytes(), &mut out) == Written::Replaced)
            .then(|| String::from_utf8(out.to_vec()).unwrap())
    }

    #[test]
    fn numbers_are_rounded_down_to_the_step() {
        for (of, value, expected) in [
            (WireType::Int4, "1299", Some("1200")),
            (WireType::Int4, "-1", Some("-100")),
            (WireType::Int2, "-32768", None),
            (WireType::Int8, "100", Some("100")),
            (WireType::Numeric, "1299.99", Some("1200")),
            (WireType::Numeric, "-0.5", Some("-100")),
            (WireType::Numeric, "-100.00", Some("-100")),
            (WireType::Numeric, "NaN", None),
            (WireType::Numeric, "Infinity", None),
            (WireType::Float8, "1299.99", Some("1200")),
            (WireType::Float8, "1.5e+20", Some("150000000000000000000")),
            (WireType::Float8, "NaN", None),
            (WireType::Text, "100", None),
            (WireType::Date, "2024-01-01", None),
        ] {
            assert_eq!(shown("100", &of, value).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn dates_are_rounded_down_to_the_month_or_year() {
        for (bucket, of, value, expected) in [
            ("month", WireType::Date, "1984-05-17", Some("1984-05-01")),
            ("year", WireType::Date, "1984-05-17", Some("1984-01-01")),
            (
                "year",
                WireType::Date,
                "0044-03-15 BC",
                Some("0044-01-01 BC"),
            ),
            (
                "month",
                WireType::Timestamp,
                "1984-05-17 12:34:56.789",
                Some("1984-05-01 00:00:00"),
            ),
            (
                "month",
                WireType::Timestamptz,
                "1984-05-17 12:34:56+05:30",
                Some("1984-05-01 00:00:00+05:30"),
            ),
            ("month", WireType::Date, "infinity", None),
            ("month", WireType::Date, "05/17/1984", None),
            ("month", WireType::Date, "17-05-1984", None),
            ("month", WireType::Int4, "17", None),
        ] {
            assert_eq!(shown(bucket, &of, value).as_deref(), expected, "{value}");
        }
    }

    fn binary(bucket: &str, of: &WireType, value: &[u8]) -> Option<Vec<u8>> {
        let mut out = BytesMut::new();
        let Ok(MaskKind::Bucket(bucket)) = MaskKind::parse(&format!("bucket {bucket}")) else {
            panic!("a bucket")
        };
        let rounding = Rounding::bind(bucket, of, Format::Binary)?;
        (rounding.write(value, &mut out) == Written::Replaced).then(|| out.to_vec())
    }

    #[test]
    fn binary_dates_agree_with_the_calendar() {
        // Days from 2000-01-01 of 1984-05-17, 2000-02-29, 1999-12-31, 1900-03-01, 2024-12-31.
        for (day, month, year) in [
            (-5707, -5723, -5844),
            (59, 31, 0),
            (-1, -31, -365),
            (-36_465, -36_465, -36_524),
            (9131, 9101, 8766),
        ] {
            let round = |bucket| {
                binary(bucket, &WireType::Date, &i32::to_be_bytes(day))
                    .map(|bytes| i32::from_be_bytes(bytes.try_into().unwrap()))
            };
            assert_eq!(
                (round("month"), round("year")),
                (Some(month), Some(year)),
                "{day}"
            );
        }
        let before = (-DAY_MICROS - 1_i64).to_be_bytes();
        assert_eq!(
            binary("month", &WireType::Timestamp, &before),
            Some((-31 * DAY_MICROS).to_be_bytes().to_vec())
        );
        assert_eq!(
            binary("month", &WireType::Date, &i32::MAX.to_be_bytes()),
            None
        );
        assert_eq!(binary("month", &WireType::Date, b"123"), None);
    }

    #[test]
    fn binary_numbers_are_rounded_as_texts_are() {
        let numeric = |words: &[i16]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_be_bytes()).collect()
        };
        // 12345.67, -0.5, 0, 100000000
        for (plain, expected) in [
            (
                numeric(&[3, 1, 0, 2, 1, 2345, 6700]),
                numeric(&[2, 1, 0, 0, 1, 2300]),
            ),
            (
                numeric(&[1, -1, 0x4000, 1, 5000]),
                numeric(&[1, 0, 0x4000, 0, 100]),
            ),
            (numeric(&[0, 0, 0, 0]), numeric(&[0, 0, 0, 0])),
            (numeric(&[1, 2, 0, 0, 1]), numeric(&[3, 2, 0, 0, 1, 0, 0])),
        ] {
            assert_eq!(binary("100", &WireType::Numeric, &plain), Some(expected));
        }
        assert_eq!(
            binary("100", &WireType::Numeric, &numeric(&[0, 0, -0x4000, 0])),
            None
        );
        assert_eq!(
            binary("100", &WireType::Numeric, &numeric(&[9, 0, 0, 0])),
            None
        );
        assert_eq!(
            binary("100", &WireType::Int4, &1299_i32.to_be_bytes()),
            Some(1200_i32.to_be_bytes().to_vec())
        );
        assert_eq!(
            binary("100", &WireType::Float4, &1299.5_f32.to_be_bytes()),
            Some(1200_f32.to_be_bytes().to_vec())
        );
        assert_eq!(
            binary("100", &WireType::Int2, &i16::MIN.to_be_bytes()),
            None
        );
    }
}
