//! The options of COPY TO.

use std::collections::HashSet;

/// How the rows of a COPY TO are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyFormat {
    /// The default.
    Text(TextFormat),
    /// `FORMAT csv`
    Csv(CsvFormat),
    /// `FORMAT binary`
    Binary,
}

/// `FORMAT text`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFormat {
    /// Between fields.
    pub delimiter: u8,
    /// What stands for NULL.
    pub null: Vec<u8>,
    /// The first line has the columns' names.
    pub header: bool,
}

/// `FORMAT csv`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvFormat {
    /// Between fields.
    pub delimiter: u8,
    /// What stands for NULL, without quotes.
    pub null: Vec<u8>,
    /// The first line has the columns' names.
    pub header: bool,
    /// Around fields that need it.
    pub quote: u8,
    /// Before a quote or itself inside quotes.
    pub escape: u8,
}

/// The options are not known, or the server will not accept them: what it sends cannot be masked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the options of this COPY are not understood")]
pub struct UnknownFormat;

impl CopyFormat {
    /// True if the first line has the columns' names.
    pub fn has_header(&self) -> bool {
        match self {
            Self::Text(format) => format.header,
            Self::Csv(format) => format.header,
            Self::Binary => false,
        }
    }

    /// Reads options, each a name with its value as text.
    ///
    /// # Errors
    /// If one is not known, is given twice, or has a value that the server would not accept.
    pub fn parse(options: Option<&[(String, String)]>) -> Result<Self, UnknownFormat> {
        let mut format = "text";
        let (mut delimiter, mut null, mut quote, mut escape) = (None, None, None, None);
        let mut header = false;
        let mut seen = HashSet::new();
        for (name, value) in options.ok_or(UnknownFormat)? {
            if !seen.insert(name) {
                return Err(UnknownFormat);
            }
            match name.as_str() {
                "format" => format = value,
                "delimiter" => delimiter = Some(byte(value)?),
                "null" => null = Some(value.as_bytes().to_vec()),
                "quote" => quote = Some(byte(value)?),
                "escape" => escape = Some(byte(value)?),
                "header" => header = boolean(value)?,
                // What needs no quotes may have them.
                "force_quote" => {}
                "encoding"
                    if ["utf8", "utf-8"]
                        .iter()
                        .any(|known| value.eq_ignore_ascii_case(known)) => {}
                // FREEZE, FORCE_NULL and FORCE_NOT_NULL are for COPY FROM.
                _ => return Err(UnknownFormat),
            }
        }
        let unfit = |null: &Vec<u8>| null.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
        if null.as_ref().is_some_and(unfit) {
            return Err(UnknownFormat);
        }
        match format {
            "text"
                if quote.is_none()
                    && escape.is_none()
                    && !seen.contains(&"force_quote".to_owned()) =>
            {
                Ok(Self::Text(TextFormat {
                    delimiter: delimiter.unwrap_or(b'\t'),
                    null: null.unwrap_or_else(|| b"\\N".to_vec()),
                    header,
                }))
            }
            "csv" => {
                let quote = quote.unwrap_or(b'"');
                let delimiter = delimiter.unwrap_or(b',');
                if quote == delimiter {
                    return Err(UnknownFormat);
                }
                Ok(Self::Csv(CsvFormat {
                    delimiter,
                    null: null.unwrap_or_default(),
                    header,
                    quote,
                    escape: escape.unwrap_or(quote),
                }))
            }
            "binary"
                if seen.len() == 1
                    || (seen.len() == 2 && seen.contains(&"encoding".to_owned())) =>
            {
                Ok(Self::Binary)
            }
            _ => Err(UnknownFormat),
        }
    }
}

fn byte(text: &str) -> Result<u8, UnknownFormat> {
    match text.as_bytes() {
        [byte] if !matches!(byte, b'\n' | b'\r' | 0) => Ok(*byte),
        _ => Err(UnknownFormat),
    }
}

fn boolean(text: &str) -> Result<bool, UnknownFormat> {
    let is = |words: [&str; 3]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if text.is_empty() || is(["true", "on", "1"]) {
        Ok(true)
    } else if is(["false", "off", "0"]) {
        Ok(false)
    } else {
        Err(UnknownFormat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<CopyFormat, UnknownFormat> {
        let options: Vec<(String, String)> = options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        CopyFormat::parse(Some(&options))
    }

    #[test]
    fn each_format_has_its_defaults() {
        assert_eq!(
            parse(&[]),
            Ok(CopyFormat::Text(TextFormat {
                delimiter: b'\t',
                null: b"\\N".to_vec(),
                header: false
            }))
        );
        assert_eq!(
            parse(&[
                ("format", "csv"),
                ("header", ""),
                ("quote", "'"),
                ("force_quote", "*")
            ]),
            Ok(CopyFormat::Csv(CsvFormat {
                delimiter: b',',
                null: Vec::new(),
                header: true,
                quote: b'\'',
                escape: b'\''
            }))
        );
        assert_eq!(parse(&[("format", "binary")]), Ok(CopyFormat::Binary));
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        for options in [
            &[("format", "parquet")][..],
            &[("encoding", "latin1")],
            &[("delimiter", "ab")],
            &[("delimiter", "ä")],
            &[("null", "a\nb")],
            &[("header", "match")],
            &[("quote", "'")],
            &[("format", "binary"), ("header", "")],
            &[("freeze", "")],
            &[("later", "1")],
            &[("null", "a"), ("null", "b")],
            &[("format", "csv"), ("delimiter", "\"")],
        ] {
            assert_eq!(parse(options), Err(UnknownFormat), "{options:?}");
        }
        assert_eq!(CopyFormat::parse(None), Err(UnknownFormat));
    }
}
