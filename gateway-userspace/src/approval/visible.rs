//! Shows a statement to a person as it is: nothing hidden, reordered or disguised.

use std::fmt::Write as _;

/// Runs of blanks longer than this are counted instead of shown: what stands behind them must
/// not be pushed off the screen.
const BLANKS: usize = 40;
/// The same for line ends.
const LINES: usize = 4;

/// The text with everything marked, as `<U+XXXX>`, that a terminal or a reader could take for
/// something else: control and formatting characters, invisible and combining ones, those that
/// change the direction of text, and letters of other scripts, which can look like ASCII ones.
/// Latin letters with accents and East Asian ones, which cannot, stay. Lines and tabs stay.
pub fn visible(text: &str) -> String {
    render(text, false)
}

/// Like [`visible`], in one line: line ends and tabs are marked, too.
pub fn visible_line(text: &str) -> String {
    render(text, true)
}

fn render(text: &str, one_line: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let limit = match c {
            ' ' | '\t' => BLANKS,
            '\n' => LINES,
            _ => 0,
        };
        if limit > 0 {
            let mut count = 1;
            while rest.next_if_eq(&c).is_some() {
                count += 1;
            }
            if count > limit {
                // Writing to a string does not fail.
                let _ = write!(out, "<U+{:04X} x{count}>", u32::from(c));
            } else if one_line && c != ' ' {
                out.push_str(&mark(c).repeat(count));
            } else {
                out.extend(std::iter::repeat_n(c, count));
            }
        } else if is_plain(c) {
            out.push(c);
        } else {
            out.push_str(&mark(c));
        }
    }
    out
}

fn mark(c: char) -> String {
    format!("<U+{:04X}>", u32::from(c))
}

/// True for characters that look like what they are, and like nothing else.
fn is_plain(c: char) -> bool {
    // Strokes that look like dashes, bars, slashes, equals and less-than signs, the multiplication and
    // the division sign.
    const SIGNS: [char; 13] = [
        '\u{4e00}', '\u{4e28}', '\u{4e36}', '\u{4e3f}', '\u{4e40}', '\u{4e8c}', '\u{30fc}',
        '\u{30ce}', '\u{30cb}', '\u{304f}', '\u{30fb}', '\u{d7}', '\u{f7}',
    ];
    // ASCII, Latin letters with accents, Hiragana, Katakana, unified ideographs, Hangul syllables.
    let of_letters = matches!(
        c,
        ' '..='~'
            | '\u{c0}'..='\u{ff}'
            | '\u{3041}'..='\u{3096}'
            | '\u{30a1}'..='\u{30fa}'
            | '\u{4e00}'..='\u{9fff}'
            | '\u{ac00}'..='\u{d7a3}'
    );
    of_letters && !SIGNS.contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alike_letters_are_marked() {
        // A Cyrillic a and o, a Greek omicron, a fullwidth D, a dotless i.
        assert_eq!(
            visible("DELETE FROM p\u{430}yr\u{43e}ll"),
            "DELETE FROM p<U+0430>yr<U+043E>ll"
        );
        assert_eq!(
            visible("\u{3bf}rders \u{ff24}ROP \u{131}d"),
            "<U+03BF>rders <U+FF24>ROP <U+0131>d"
        );
    }

    #[test]
    fn what_hides_moves_or_rewrites_text_is_marked() {
        for c in [
            '\u{1b}',
            '\u{8}',
            '\r',
            '\u{0}',
            '\u{7f}',
            '\u{9b}',
            '\u{a0}',
            '\u{ad}',
            '\u{200b}',
            '\u{200d}',
            '\u{202e}',
            '\u{2066}',
            '\u{2028}',
            '\u{feff}',
            '\u{301}',
            '\u{5d0}',
            '\u{e0041}',
            '\u{fe0f}',
            '\u{2212}',
            '\u{2019}',
            '\u{115f}',
            '\u{3164}',
            '\u{4e8c}',
            '\u{304f}',
        ] {
            let shown = visible(&format!("a{c}b"));
            assert_eq!(shown, format!("a<U+{:04X}>b", u32::from(c)));
            assert!(shown.is_ascii());
        }
    }

    #[test]
    fn ordinary_statements_stay_as_they_are() {
        let text =
            "SELECT *\n\tFROM orders -- müller, 北京, ソウル 서울\n WHERE name = 'Ærø' AND x <> 1;";
        assert_eq!(visible(text), text);
        assert_eq!(visible_line("a\nb\tc"), "a<U+000A>b<U+0009>c");
    }

    #[test]
    fn nothing_is_pushed_out_of_sight_by_blanks() {
        let text = format!(
            "SELECT 1;{}{}DROP TABLE orders",
            " ".repeat(5_000),
            "\n".repeat(200)
        );
        assert_eq!(
            visible(&text),
            "SELECT 1;<U+0020 x5000><U+000A x200>DROP TABLE orders"
        );
    }
}
