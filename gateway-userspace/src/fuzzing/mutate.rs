//! Changes statements word by word, so that most of them still parse: bytes turned over at random
//! hardly ever get past the grammar.

use super::sql_seeds;

/// Words that change what a statement means.
const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "JOIN",
    "LEFT JOIN",
    "NATURAL JOIN",
    "USING (id)",
    "ON true",
    "LATERAL",
    "UNION",
    "UNION ALL",
    "INTERSECT",
    "EXCEPT",
    "GROUP BY",
    "HAVING",
    "ORDER BY",
    "LIMIT 1",
    "DISTINCT",
    "DISTINCT ON (id)",
    "WITH",
    "RECURSIVE",
    "AS",
    "AS MATERIALIZED",
    "ONLY",
    "TABLE",
    "VALUES (1)",
    "INTO",
    "RETURNING *",
    "SET",
    "INSERT INTO",
    "UPDATE",
    "DELETE FROM",
    "MERGE INTO",
    "ON CONFLICT DO NOTHING",
    "ON CONFLICT (id) DO UPDATE SET",
    "FOR UPDATE",
    "FILTER (WHERE true)",
    "OVER ()",
    "WITHIN GROUP (ORDER BY 1)",
    "WITH ORDINALITY",
    "TABLESAMPLE SYSTEM (1)",
    "ROWS FROM (",
    "CASE WHEN",
    "THEN",
    "ELSE",
    "END",
    "NULL",
    "IS NULL",
    "NOT",
    "AND",
    "OR",
    "IN",
    "BETWEEN",
    "LIKE",
    "EXISTS",
    "ANY",
    "ALL",
    "ARRAY[",
    "ROW(",
    "CAST(",
    "::text",
    "::regclass",
    "COLLATE \"C\"",
    "AT TIME ZONE 'UTC'",
    "EXTRACT(year FROM",
    "COALESCE(",
    "GREATEST(",
    "count(*)",
    "row_to_json(",
    "generate_series(1, 2)",
    "nextval('invoice_number')",
    "current_user",
    "(",
    ")",
    ",",
    ".",
    "*",
    "[1]",
    "[1:2]",
    ".*",
    "=",
    "<>",
    "<",
    "||",
    "->",
    "->>",
    "@>",
    "~",
    "+",
    "-",
    "OPERATOR(pg_catalog.+)",
    "$1",
    "'a'",
    "E'\\''",
    "$$x$$",
    "U&'\\0041'",
    "\"Order\"",
    "--\n",
    "/* */",
    "/* /* */",
    ";",
    "public.",
    "pg_catalog.",
    "orders",
    "order_items",
    "customers",
    "customers_archive",
    "secrets",
    "customer_contacts",
    "order_overview",
    "pg_class",
    "information_schema.columns",
    "id",
    "email",
    "ssn",
    "name",
    "note",
    "status",
    "total",
    "value",
    "customer_id",
    "o",
    "c",
    "ctid",
    "tableoid",
    "xmin",
];

/// Ways to stand around a whole statement.
const FRAMES: &[(&str, &str)] = &[
    ("SELECT * FROM (", ") AS q"),
    ("SELECT (", ")"),
    ("SELECT ARRAY(", ")"),
    ("SELECT 1 WHERE EXISTS (", ")"),
    ("SELECT 1 FROM orders o, LATERAL (", ") AS l"),
    ("WITH w AS (", ") SELECT * FROM w"),
    ("WITH RECURSIVE w AS (", " UNION SELECT * FROM w) TABLE w"),
    ("EXPLAIN ", ""),
    ("EXPLAIN (ANALYZE, VERBOSE) ", ""),
    ("PREPARE p AS ", ""),
    ("DECLARE c CURSOR FOR ", ""),
    ("COPY (", ") TO STDOUT"),
    ("CREATE TEMP TABLE made AS ", ""),
    ("CREATE VIEW made AS ", ""),
    ("INSERT INTO order_notes (body) ", ""),
    ("SELECT 1; ", ""),
    ("", "; SELECT 1"),
    ("", " UNION ALL SELECT 1"),
    ("", " FOR UPDATE"),
    ("(", ")"),
];

/// A small generator: what it gives follows from the seed alone.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % end).unwrap_or(0)
    }

    fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> Option<&'a T> {
        all.get(self.below(all.len())).copied()
    }
}

/// Changes a statement in one to four places.
pub fn mutate_sql(text: &str, seed: u64) -> String {
    let mut dice = Dice::new(seed);
    let mut words: Vec<String> = words(text).into_iter().map(str::to_owned).collect();
    for _ in 0..=dice.below(4) {
        change(&mut words, &mut dice);
    }
    words.concat()
}

fn change(words: &mut Vec<String>, dice: &mut Dice) {
    let at = dice.below(words.len() + 1);
    let len = 1 + dice.below(6);
    let end = (at + len).min(words.len());
    match dice.below(9) {
        0 => drop(words.drain(at..end)),
        1 => {
            let copy: Vec<String> = words.get(at..end).unwrap_or_default().to_vec();
            let to = dice.below(words.len() + 1);
            words.splice(to..to, copy);
        }
        2 => {
            let other = dice.below(words.len());
            if at < words.len() && other < words.len() {
                words.swap(at, other);
            }
        }
        3 | 4 => {
            if let (Some(word), Some(place)) = (dice.pick(WORDS), words.get_mut(at)) {
                *place = format!(" {word} ");
            }
        }
        5 => {
            if let Some(word) = dice.pick(WORDS) {
                words.insert(at, format!(" {word} "));
            }
        }
        6 => {
            // A part of another statement.
            let seeds: Vec<&str> = sql_seeds().collect();
            let other = self::words(dice.pick(&seeds).unwrap_or_default());
            let from = dice.below(other.len());
            let until = (from + len * 3).min(other.len());
            let part = other.get(from..until).unwrap_or_default();
            words.splice(at..at, part.iter().map(|word| (*word).to_owned()));
        }
        7 => {
            if let Some((before, after)) = FRAMES.get(dice.below(FRAMES.len())) {
                words.insert(0, (*before).to_owned());
                words.push((*after).to_owned());
            }
        }
        _ => {
            // The same, many times over: deep, long or wide.
            let part: String = words.get(at..end).unwrap_or_default().concat();
            let times = 2 << dice.below(9);
            if part.len() * times < 64 * 1024 {
                words.splice(at..end, [part.repeat(times)]);
            }
        }
    }
}

/// Cuts a text into words, numbers, quoted texts, blanks and single signs. Not PostgreSQL's lexer,
/// and need not be.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '\'' | '"' => rest
                .char_indices()
                .skip(1)
                .find(|(_, c)| *c == first)
                .map_or(rest.len(), |(at, c)| at + c.len_utf8()),
            _ if first.is_alphanumeric() || first == '_' => rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_'))
                .unwrap_or(rest.len()),
            _ if first.is_whitespace() => rest
                .find(|c: char| !c.is_whitespace())
                .unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (word, after) = rest.split_at(len);
        words.push(word);
        rest = after;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_words_make_up_the_text_again() {
        for text in sql_seeds() {
            assert_eq!(words(text).concat(), text);
        }
    }

    #[test]
    fn a_mutation_follows_from_its_seed() {
        for seed in 0..100 {
            let text = "SELECT o.id, 'it''s' FROM orders AS o WHERE o.id = 7";
            assert_eq!(mutate_sql(text, seed), mutate_sql(text, seed));
        }
    }
}
