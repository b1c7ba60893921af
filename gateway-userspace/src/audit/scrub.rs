//! Blots passwords out of command lines: they are secrets, and secrets are never evidence.

use std::borrow::Cow;

const BLOT: &str = "***";
/// Words whose value is a secret, in lower case; what follows the word is `=`, `:` or a space.
const WORDS: [&str; 6] = ["password", "passwd", "secret", "token", "api_key", "apikey"];

/// The command line with the passwords of URLs (`://user:password@`) and the values of
/// `password=...`, `--token ...` and their like replaced by `***`.
pub fn scrub_command_line(line: &str) -> Cow<'_, str> {
    let urls = scrub_urls(line);
    match scrub_words(&urls) {
        Some(scrubbed) => Cow::Owned(scrubbed),
        None => urls,
    }
}

fn scrub_urls(line: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, authority) = rest.split_at(at + 3);
        out.push_str(before);
        let end = authority
            .find(|c: char| c.is_whitespace() || c == '\0' || c == '/')
            .unwrap_or(authority.len());
        // Passwords may hold `/` or `@` unescaped; take the last `@` of the word.
        let word_end = authority
            .find(|c: char| c.is_whitespace() || c == '\0')
            .unwrap_or(authority.len());
        let word = authority.get(..word_end).unwrap_or_default();
        let host = word.rfind('@').unwrap_or(end);
        let userinfo = authority.get(..host).unwrap_or_default();
        match (word.contains('@'), userinfo.find(':')) {
            (true, Some(colon)) => {
                out.push_str(userinfo.get(..=colon).unwrap_or_default());
                out.push_str(BLOT);
                rest = authority.get(host..).unwrap_or_default();
            }
            _ => rest = authority,
        }
    }
    if out.is_empty() {
        return Cow::Borrowed(line);
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn scrub_words(line: &str) -> Option<String> {
    // ASCII lower case keeps every byte offset.
    let lower = line.to_ascii_lowercase();
    let mut out = String::new();
    let mut done = 0;
    let mut at = 0;
    while let Some((start, word)) = WORDS
        .iter()
        .filter_map(|word| Some((at + lower.get(at..)?.find(word)?, *word)))
        .min_by_key(|(start, _)| *start)
    {
        at = start + word.len();
        let Some(after) = line.get(at..) else { break };
        // `password=x`, `password: x`, `--password x`; a flag takes its value from the next word.
        let skip = after
            .find(|c: char| !(c == '=' || c == ':' || c == ' ' || c == '\0'))
            .unwrap_or(after.len());
        let separated = after.get(..skip).unwrap_or_default();
        let is_flag = line
            .get(..start)
            .is_some_and(|before| before.ends_with('-'));
        if separated.is_empty() || !(separated.contains(['=', ':']) || is_flag) {
            continue;
        }
        let value = after.get(skip..).unwrap_or_default();
        let length = match value.chars().next() {
            Some(quote @ ('\'' | '"')) => value
                .get(1..)
                .and_then(|v| v.find(quote))
                .map_or(value.len(), |end| end + 2),
            _ => value
                .find(|c: char| c.is_whitespace() || c == '\0' || c == '&' || c == ';')
                .unwrap_or(value.len()),
        };
        let (from, to) = (at + skip, at + skip + length);
        if length > 0 {
            out.push_str(line.get(done..from).unwrap_or_default());
            out.push_str(BLOT);
            done = to;
        }
        at = to;
    }
    if out.is_empty() {
        return None;
    }
    out.push_str(line.get(done..).unwrap_or_default());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_command_lines_are_blotted_out() {
        for (line, expected) in [
            (
                "psql postgres://bob:hunter2@db/shop",
                "psql postgres://bob:***@db/shop",
            ),
            (
                "psql postgres://bob:hun/ter@2@db/shop -c x",
                "psql postgres://bob:***@db/shop -c x",
            ),
            (
                "psql host=db password=hunter2 user=x",
                "psql host=db password=*** user=x",
            ),
            (
                "psql 'host=db password='hunter 2' user=x'",
                "psql 'host=db password=*** user=x'",
            ),
            (
                "tool --api-token abc --token abc run",
                "tool --api-token *** --token *** run",
            ),
            ("env PGPASSWORD=hunter2 psql", "env PGPASSWORD=*** psql"),
            ("tool --password\0abc\0run", "tool --password\0***\0run"),
            (
                "psql -c 'select password from users'",
                "psql -c 'select password from users'",
            ),
            ("psql postgres://bob@db/shop", "psql postgres://bob@db/shop"),
            ("curl http://host:80/path", "curl http://host:80/path"),
            ("", ""),
        ] {
            assert_eq!(scrub_command_line(line), expected, "{line}");
        }
    }
}
