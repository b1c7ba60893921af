//! The suite's scripts load data from files of the server's, which Cordon refuses by design. The
//! client can read the same files.

use std::path::Path;

/// Makes `\copy` of every `COPY` with a file; `base` is the folder of the suite.
pub fn with_files_of_the_client(script: &[u8], base: &Path) -> Vec<u8> {
    let mut file = None;
    let mut out = Vec::with_capacity(script.len());
    for line in script.split_inclusive(|byte| *byte == b'\n') {
        let text = std::str::from_utf8(line).unwrap_or_default();
        if let Some(path) = set_filename(text) {
            file = Some(base.join(path).display().to_string());
        }
        match file.as_deref().and_then(|file| copy(text, file)) {
            Some(copy) => out.extend_from_slice(copy.as_bytes()),
            None => out.extend_from_slice(line),
        }
    }
    out
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
    fn a_copy_with_a_file_becomes_a_command_of_psql() {
        let script =
            b"\\set filename :abs_srcdir '/data/rect.data'\nCOPY slow FROM :'filename' csv;\n\
            COPY t FROM stdin;\n\xff\n\\.\ncopy (select 1) to :'filename';\n";
        let made = with_files_of_the_client(script, Path::new("/r"));
        assert_eq!(
            made,
            b"\\set filename :abs_srcdir '/data/rect.data'\n\\COPY slow FROM '/r/data/rect.data' csv\n\
            COPY t FROM stdin;\n\xff\n\\.\n\\copy (select 1) to '/r/data/rect.data'\n"
        );
    }
}
