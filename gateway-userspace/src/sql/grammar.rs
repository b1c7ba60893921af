//! `PostgreSQL`'s own grammar, through `libpg_query`: text in, one tree per statement out.

use std::ffi::{CStr, CString, c_char, c_int};
use std::mem::ManuallyDrop;
use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf;
use prost::Message;

use super::depth;
use super::operators::longest_run;
use super::stack::run_on_big_stack;
use super::statement::NotUnderstood;

/// Longest text that is parsed.
pub const MAX_TEXT: usize = 1024 * 1024;
/// Longest run of operator characters: the lexer takes quadratic time over one run.
pub const MAX_OPERATOR_RUN: usize = 256;
/// Deepest nesting of an expression. Chains of one operator nest: `a || b || c`. The server's own
/// stack ends at about as many, the C library's at 5,000. Sub-selects count for more.
pub const MAX_DEPTH: usize = 4096;
/// Trees that are not nested deeper than this can be dropped on any stack.
const SHALLOW: usize = 256;

/// One statement as the grammar reads it; names are not resolved yet.
#[derive(Clone, Debug)]
pub struct Parsed {
    text: String,
    /// Where `text` starts in the text it was split from, in bytes and in characters.
    start_byte: usize,
    start_char: usize,
    tree: Arc<Tree>,
    /// Declared types of its parameters, if one of them is `void`; else its text tells all.
    types: Vec<u32>,
}

/// A tree that may be dropped anywhere.
#[derive(Debug)]
struct Tree {
    node: NodeEnum,
    deep: bool,
}

impl Drop for Tree {
    fn drop(&mut self) {
        if self.deep {
            let empty = NodeEnum::Integer(protobuf::Integer::default());
            // Without a thread for it, it is leaked rather than dropped on a stack that is too small.
            let node = ManuallyDrop::new(std::mem::replace(&mut self.node, empty));
            let _ = run_on_big_stack(move || drop(ManuallyDrop::into_inner(node)));
        }
    }
}

/// Type oid of `void`.
pub const VOID: u32 = 2278;

impl Parsed {
    /// Takes the declared types of its parameters. Drivers declare those as `void` that stand for
    /// the output of a function; the server leaves them out of the function's arguments.
    pub fn declare(&mut self, types: &[u32]) {
        if types.contains(&VOID) {
            self.types = types.to_vec();
        }
    }

    /// True if its meaning depends on types that its text does not tell.
    pub fn is_declared(&self) -> bool {
        !self.types.is_empty()
    }

    /// The declared type of a parameter; 0 if it is not known.
    pub(super) fn parameter_type(&self, number: i32) -> u32 {
        let index = usize::try_from(number).ok().and_then(|n| n.checked_sub(1));
        index
            .and_then(|index| self.types.get(index))
            .copied()
            .unwrap_or(0)
    }

    /// True for SET TRANSACTION and its like: they mean the same whatever names mean, and the server
    /// takes some of them only before any query of the transaction.
    pub fn is_transaction_mode(&self) -> bool {
        match self.node() {
            NodeEnum::VariableSetStmt(set) => {
                set.name.to_ascii_lowercase().starts_with("transaction")
            }
            _ => false,
        }
    }
    /// The statement's own text, without the separating semicolon.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The tree.
    pub(super) fn node(&self) -> &NodeEnum {
        &self.tree.node
    }

    /// Turns a location of the tree (bytes into the text that was split) into a position for an
    /// error message (characters, from 1).
    pub(super) fn position(&self, location: i32) -> Option<usize> {
        let byte = usize::try_from(location)
            .ok()?
            .checked_sub(self.start_byte)?;
        let before = self.text.get(..byte)?;
        Some(self.start_char + before.chars().count() + 1)
    }
}

/// Splits a text into statements with `PostgreSQL`'s grammar. An empty text has none.
///
/// Wants a deep stack: call it on [`super::BigStack`].
pub fn split(text: &str) -> Result<Vec<Parsed>, NotUnderstood> {
    check_bytes(text)?;
    let (tree, deep) = parse(text)?;
    let mut statements = Vec::with_capacity(tree.stmts.len());
    let outside =
        || NotUnderstood::Unsupported("the grammar places a statement outside its text".to_owned());
    // The end of the statement before; a statement keeps the comments in front of it.
    let mut end_before = 0;
    let (mut counted_byte, mut counted_char) = (0, 0);
    for raw in tree.stmts {
        let protobuf::RawStmt {
            stmt,
            stmt_location,
            stmt_len,
        } = raw;
        let Some(node) = stmt.and_then(|stmt| stmt.node) else {
            continue;
        };
        let location = usize::try_from(stmt_location).unwrap_or(0);
        let end = match usize::try_from(stmt_len) {
            Ok(length) if length > 0 => location.saturating_add(length),
            Ok(_) | Err(_) => text.len(),
        };
        let before = text.get(end_before..location).ok_or_else(outside)?;
        let start = end_before + (before.len() - before.trim_start_matches(BETWEEN).len());
        let slice = text.get(start..end).ok_or_else(outside)?;
        counted_char += text
            .get(counted_byte..start)
            .ok_or_else(outside)?
            .chars()
            .count();
        counted_byte = start;
        end_before = end;
        statements.push(Parsed {
            text: slice.trim_end_matches(BETWEEN).to_owned(),
            start_byte: start,
            start_char: counted_char,
            tree: Arc::new(Tree { node, deep }),
            types: Vec::new(),
        });
    }
    Ok(statements)
}

/// The separator, and what the grammar takes for white space: no character of a name.
const BETWEEN: [char; 7] = [' ', '\t', '\n', '\r', '\u{b}', '\u{c}', ';'];

fn check_bytes(text: &str) -> Result<(), NotUnderstood> {
    if text.len() > MAX_TEXT {
        return Err(NotUnderstood::Limit(format!(
            "the statement is {} bytes long, and at most {MAX_TEXT} are read; split it, or send data with COPY",
            text.len()
        )));
    }
    if text.contains('\0') {
        return Err(NotUnderstood::Limit(
            "the statement holds a NUL byte, which PostgreSQL cannot read".to_owned(),
        ));
    }
    if longest_run(text, MAX_OPERATOR_RUN) > MAX_OPERATOR_RUN {
        return Err(NotUnderstood::Limit(format!(
            "the statement holds more than {MAX_OPERATOR_RUN} operator characters in a row"
        )));
    }
    Ok(())
}

// The crate's own `parse` drops the position of a syntax error, which clients show, and walks
// every tree once more for summaries whose casts can panic. So the C functions are called here.
// They are declared as in the `pg_query.h` of the same crate, which also links the library.
#[repr(C)]
struct ProtobufBuffer {
    len: usize,
    data: *mut c_char,
}

#[repr(C)]
struct ParseError {
    message: *mut c_char,
    funcname: *mut c_char,
    filename: *mut c_char,
    lineno: c_int,
    cursorpos: c_int,
    context: *mut c_char,
}

#[repr(C)]
struct ProtobufParseResult {
    parse_tree: ProtobufBuffer,
    stderr_buffer: *mut c_char,
    error: *mut ParseError,
}

unsafe extern "C" {
    fn pg_query_parse_protobuf_opts(input: *const c_char, options: c_int) -> ProtobufParseResult;
    fn pg_query_free_protobuf_parse_result(result: ProtobufParseResult);
}

/// Frees the C result on every way out.
struct Freed(Option<ProtobufParseResult>);

impl Drop for Freed {
    fn drop(&mut self) {
        if let Some(result) = self.0.take() {
            // SAFETY: the result comes from pg_query_parse_protobuf_opts and is freed once.
            unsafe { pg_query_free_protobuf_parse_result(result) }
        }
    }
}

/// The tree, and whether it is too deep to be dropped anywhere.
fn parse(text: &str) -> Result<(protobuf::ParseResult, bool), NotUnderstood> {
    let input = CString::new(text).map_err(|error| {
        NotUnderstood::Limit(format!("the statement holds a NUL byte: {error}"))
    })?;
    let options = pg_query::ParserOptions::DEFAULT.bits();
    // SAFETY: the input is a NUL-terminated string that outlives the call.
    let freed = Freed(Some(unsafe {
        pg_query_parse_protobuf_opts(input.as_ptr(), options)
    }));
    let Some(result) = &freed.0 else {
        return Err(NotUnderstood::Unsupported(
            "the parser gave no result".to_owned(),
        ));
    };
    // SAFETY: a non-null error points to a PgQueryError that lives until the result is freed.
    if let Some(error) = unsafe { result.error.as_ref() } {
        return Err(syntax_error(error));
    }
    if result.parse_tree.data.is_null() {
        return Err(NotUnderstood::Unsupported(
            "the parser gave no tree".to_owned(),
        ));
    }
    // SAFETY: the library gives `len` initialised bytes at `data`, valid until the free.
    let bytes = unsafe {
        std::slice::from_raw_parts(result.parse_tree.data.cast::<u8>(), result.parse_tree.len)
    };
    let deep = depth::exceeds(bytes, SHALLOW);
    if deep && depth::exceeds(bytes, MAX_DEPTH) {
        return Err(NotUnderstood::Limit(format!(
            "the statement is nested deeper than {MAX_DEPTH} levels; split it into simpler ones"
        )));
    }
    protobuf::ParseResult::decode(bytes)
        .map(|tree| (tree, deep))
        .map_err(|error| NotUnderstood::Unsupported(format!("the tree cannot be read: {error}")))
}

fn syntax_error(error: &ParseError) -> NotUnderstood {
    let message = if error.message.is_null() {
        "syntax error".to_owned()
    } else {
        // SAFETY: a non-null message is a NUL-terminated string owned by the result.
        unsafe { CStr::from_ptr(error.message) }
            .to_string_lossy()
            .into_owned()
    };
    // What the grammar's C code refuses for its size is no syntax error of the client's.
    let size = [
        "stack depth limit exceeded",
        "memory exhausted",
        "too deeply",
        "out of memory",
    ];
    if size.iter().any(|words| message.contains(words)) {
        return NotUnderstood::Limit(format!("the statement is nested too deeply: {message}"));
    }
    // The library counts the cursor in characters, from 1.
    let position = usize::try_from(error.cursorpos)
        .ok()
        .filter(|position| *position > 0);
    NotUnderstood::Syntax { message, position }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        split(text)
            .expect("parses")
            .iter()
            .map(|parsed| parsed.text().to_owned())
            .collect()
    }

    #[test]
    fn an_empty_text_has_no_statements() {
        assert!(texts("").is_empty());
        assert!(texts("  ;; -- nothing\n ; /* still /* nothing */ */").is_empty());
    }

    #[test]
    fn statements_keep_their_own_text() {
        assert_eq!(
            texts("select 1; /* é */ select 'a;b' ;\nselect 3 -- done"),
            ["select 1", "/* é */ select 'a;b'", "select 3 -- done"]
        );
    }

    #[test]
    fn a_syntax_error_carries_the_servers_words_and_position_in_characters() {
        let error = split("select 'é', from from").expect_err("refused");
        assert_eq!(
            error,
            NotUnderstood::Syntax {
                message: "syntax error at or near \"from\"".to_owned(),
                position: Some(13),
            }
        );
    }

    #[test]
    fn long_runs_of_operators_and_nul_bytes_are_refused_before_the_lexer_sees_them() {
        let run = "+-".repeat(200);
        assert!(matches!(
            split(&format!("select 1 {run} 1")),
            Err(NotUnderstood::Limit(_))
        ));
        assert_eq!(
            texts(&format!("{0}\nselect '{0}'", "-".repeat(300))).len(),
            1
        );
        assert!(matches!(split("select 1\0"), Err(NotUnderstood::Limit(_))));
        let long = format!("select '{}'", "x".repeat(MAX_TEXT));
        assert!(matches!(split(&long), Err(NotUnderstood::Limit(_))));
    }
}
