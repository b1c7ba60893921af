//! What a COPY sends: its options, and the statement that returns the same.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, Token};

use super::inner;

/// The options by name, each with its value as text. `None`: one is of an unknown kind.
pub(super) fn options(options: &[Node]) -> Option<Vec<(String, String)>> {
    options
        .iter()
        .map(|option| {
            let Some(NodeEnum::DefElem(option)) = inner(Some(option)) else {
                return None;
            };
            let value = match inner(option.arg.as_deref()) {
                None => String::new(),
                Some(NodeEnum::String(text)) => text.sval.clone(),
                Some(NodeEnum::Integer(number)) => number.ival.to_string(),
                Some(NodeEnum::Boolean(value)) => value.boolval.to_string(),
                Some(NodeEnum::AStar(_)) => "*".to_owned(),
                // Of columns.
                Some(NodeEnum::List(_)) => "list".to_owned(),
                Some(_) => return None,
            };
            Some((option.defname.clone(), value))
        })
        .collect()
}

/// The query between the parentheses of `COPY (query) TO`, by the lexer's own tokens.
pub(super) fn query(text: &str) -> Option<String> {
    let scanned = pg_query::scan(text).ok()?;
    let mut depth = 0_usize;
    let mut from = 0;
    for token in &scanned.tokens {
        match Token::try_from(token.token).ok()? {
            Token::Ascii40 => {
                if depth == 0 {
                    from = usize::try_from(token.end).ok()?;
                }
                depth += 1;
            }
            Token::Ascii41 => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    let to = usize::try_from(token.start).ok()?;
                    return text.get(from..to).map(str::to_owned);
                }
            }
            _ => {}
        }
    }
    None
}

/// The query that reads these columns of a table, as COPY does: without its children.
pub(super) fn table<'n>(
    schema: &str,
    name: &str,
    columns: impl Iterator<Item = &'n str>,
) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let columns: Vec<String> = columns.map(quoted).collect();
    format!(
        "SELECT {} FROM ONLY {}.{}",
        columns.join(", "),
        quoted(schema),
        quoted(name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_what_stands_between_the_outer_parentheses() {
        assert_eq!(
            query("copy /* ( */ (select ')', (1), $$)$$ -- )\n from t) to stdout (format csv)")
                .as_deref(),
            Some("select ')', (1), $$)$$ -- )\n from t")
        );
    }

    #[test]
    fn the_query_of_a_table_quotes_every_name() {
        assert_eq!(
            table("Odd\"s", "t", ["a", "b c"].into_iter()),
            "SELECT \"a\", \"b c\" FROM ONLY \"Odd\"\"s\".\"t\""
        );
    }
}
