//! Two things in the suite's scripts Cordon refuses by design, and much of what follows depends on
//! them, so that both sides run without: `COPY` with files of the server's, which the client can
//! read too, and taking on another role.

use std::path::Path;

/// Makes `\copy` of every `COPY` with a file, and comments of what changes the role; `base` is the
/// folder of the suite.
pub fn adapted(script: &[u8], base: &Path) -> Vec<u8> {
    let mut file = None;
    let mut out = Vec::with_capacity(script.len());
    for line in script.split_inclusive(|byte| *byte == b'\n') {
        let text = std::str::from_utf8(line).unwrap_or_default();
        if let Some(path) = set_filename(text) {
            file = Some(base.join(path).display().to_string());
        }
        if changes_role(text) {
            out.extend_from_slice(b"-- ");
        }
        match file.as_deref().and_then(|file| copy(text, file)) {
            Some(copy) => out.extend_from_slice(copy.as_bytes()),
            None => out.extend_from_slice(line),
        }
    }
    out
}

/// `SET ROLE`, `SET SESSION AUTHORIZATION`, their `RESET`, and psql's `\c` to another user.
fn changes_role(line: &str) -> bool {
    let line = line.trim_start().to_ascii_lowercase();
    let mut words = line
        .split(|c: char| c.is_whitespace() || matches!(c, ';' | '=' | '\\'))
        .filter(|word| !word.is_empty() && !matches!(*word, "local" | "session"));
    match (words.next(), words.next(), words.next()) {
        (Some("set" | "reset"), Some("role" | "authorization"), _) => true,
        (Some("c" | "connect"), Some("-"), Some(_)) => line.starts_with('\\'),
        _ => false,
    }
}

/// The path below the suite's folder, of `\set filename :abs_srcdir '/data/x.data'`.
fn set_filename(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("\\set filename :abs_")?;
    let (_, path) = rest.split_once(" '/")?;
    path.trim_end().strip_suffix('\'')
}

/// `COPY t FROM :'filename' ..;` as psql's own command, which takes no semicolon and no variables.
fn copy(line: &str, file: &str) -> Option<String> {
    let command = line.trim_end().strip_suffix(';')?;
    command
        .get(..5)
        .filter(|word| word.eq_ignore_ascii_case("copy "))?;
    let (head, tail) = command.split_once(":'filename'")?;
    Some(format!("\\{head}'{file}'{tail}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_the_role_becomes_a_comment() {
        for line in [
            "SET ROLE regress_user;\n",
            "  set session authorization x;\n",
            "RESET ROLE;\n",
            "SET LOCAL ROLE = x;\n",
            "RESET SESSION AUTHORIZATION;\n",
            "\\c - regress_user\n",
        ] {
            let made = adapted(line.as_bytes(), Path::new("/r"));
            assert_eq!(made, format!("-- {line}").into_bytes());
        }
        for line in [
            "SET search_path = role;\n",
            "\\c -\n",
            "c - 1\n",
            "select 1; set role x;\n",
        ] {
            let made = adapted(line.as_bytes(), Path::new("/r"));
            assert_eq!(made, line.as_bytes());
        }
    }

    #[test]
    fn a_copy_with_a_file_becomes_a_command_of_psql() {
        let script =
            b"\\set filename :abs_srcdir '/data/rect.data'\nCOPY slow FROM :'filename' csv;\n\
            COPY t FROM stdin;\n\xff\n\\.\ncopy (select 1) to :'filename';\n";
        let made = adapted(script, Path::new("/r"));
        assert_eq!(
            made,
            b"\\set filename :abs_srcdir '/data/rect.data'\n\\COPY slow FROM '/r/data/rect.data' csv\n\
            COPY t FROM stdin;\n\xff\n\\.\n\\copy (select 1) to '/r/data/rect.data'\n"
        );
    }
}
