//! Puts values in the place of a statement's parameters.

use pg_query::protobuf::Token;

/// The text with every `$n` replaced by a literal of its value; `None` inside is NULL. The result
/// is for the parser: nothing that is not parsed and looked at again may be made of it.
///
/// `None` if the text has a parameter without a value, or is not understood.
pub fn with_literals(text: &str, values: &[Option<&str>]) -> Option<String> {
    let scanned = pg_query::scan(text).ok()?;
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for token in &scanned.tokens {
        if Token::try_from(token.token).ok()? != Token::Param {
            continue;
        }
        let (start, end) = (
            usize::try_from(token.start).ok()?,
            usize::try_from(token.end).ok()?,
        );
        let number: usize = text.get(start..end)?.strip_prefix('$')?.parse().ok()?;
        let value = values.get(number.checked_sub(1)?)?;
        out.push_str(text.get(done..start)?);
        put_literal(&mut out, *value);
        done = end;
    }
    out.push_str(text.get(done..)?);
    Some(out)
}

/// A literal that reads the same under every setting of `standard_conforming_strings`.
fn put_literal(out: &mut String, value: Option<&str>) {
    let Some(value) = value else {
        out.push_str(" NULL ");
        return;
    };
    out.push_str(" E'");
    for letter in value.chars() {
        match letter {
            '\'' => out.push_str("\\'"),
            '\\' => out.push_str("\\\\"),
            other => out.push(other),
        }
    }
    out.push_str("' ");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_literals_and_nothing_else_does() {
        let values = [Some("1"), None, Some("it's \\ $1")];
        assert_eq!(
            with_literals(
                "DELETE FROM t WHERE a=$1 AND b = $2 -- $3\n AND c = '$3' AND \"$1\" = $3",
                &values
            )
            .unwrap(),
            "DELETE FROM t WHERE a= E'1'  AND b =  NULL  -- $3\n AND c = '$3' AND \"$1\" =  E'it\\'s \\\\ $1' "
        );
        assert_eq!(with_literals("SELECT $4", &values), None);
        assert_eq!(with_literals("SELECT $0", &values), None);
    }

    #[test]
    fn no_value_gets_out_of_its_literal() {
        for value in [
            "'; DROP TABLE orders; --",
            "\\'; DROP TABLE orders; --",
            "\\\\'; DROP TABLE orders; --",
            "$$; DROP TABLE orders; $$",
            "\\",
            "'",
            "",
            "\n--\n/*",
        ] {
            let text = with_literals("SELECT $1::text, 2", &[Some(value)]).unwrap();
            assert_eq!(crate::sql::split(&text).unwrap().len(), 1, "{text}");
            let normal = pg_query::normalize(&text).unwrap();
            assert_eq!(normal.replace(' ', ""), "SELECT$1::text,$2", "{text}");
        }
    }
}
