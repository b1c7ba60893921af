//! Tables on a terminal.

use unicode_width::UnicodeWidthStr as _;

use super::style::Style;
use crate::approval::visible_line;

/// Between columns.
const GAP: usize = 2;
/// No column is cut below this.
const NARROW: usize = 12;

/// A table with a heading.
#[derive(Clone, Debug, Default)]
pub struct Table {
    heading: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

/// One cell: text without control, invisible or look-alike characters.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A cell in a style. Whatever the text holds, it cannot disturb the terminal.
    pub fn new(style: Style, text: impl AsRef<str>) -> Self {
        Self {
            text: visible_line(text.as_ref()),
            style,
        }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(Style::Plain, text)
    }
}

impl Table {
    /// A table with these column headings.
    pub fn new(heading: &[&str]) -> Self {
        Self {
            heading: heading.iter().map(|&text| text.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// A table of keys and values, without headings.
    pub fn pairs() -> Self {
        Self::default()
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Adds a key and its value.
    pub fn pair(&mut self, key: &str, value: impl Into<Cell>) {
        self.row([Cell::new(Style::Strong, key), value.into()]);
    }

    /// The lines, cut where needed to fit `width`: the widest column gives way.
    pub fn lines(&self, width: usize, paint: impl Fn(Style, &str) -> String) -> Vec<String> {
        let heading: Vec<Cell> = self
            .heading
            .iter()
            .map(|text| Cell::new(Style::Strong, text))
            .collect();
        let rows = || {
            std::iter::once(&heading)
                .filter(|row| !row.is_empty())
                .chain(&self.rows)
        };
        let columns = rows().map(Vec::len).max().unwrap_or(0);
        let mut widths = vec![0; columns];
        for row in rows() {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = (*widest).max(cell.text.width());
            }
        }
        // A table of pairs is read, not scanned: nothing of it is cut.
        if !heading.is_empty() {
            fit(&mut widths, width);
        }
        rows()
            .map(|row| {
                let mut line = String::new();
                let mut owed = 0;
                for (cell, width) in row.iter().zip(&widths) {
                    let text = cut(&cell.text, *width);
                    line.extend(std::iter::repeat_n(' ', owed));
                    line.push_str(&paint(cell.style, &text));
                    // Blanks at the end of a line are never written.
                    owed = GAP + width - text.width();
                }
                line
            })
            .collect()
    }
}

fn fit(widths: &mut [usize], width: usize) {
    let total = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
    if let Some(widest) = widths.iter_mut().max() {
        *widest = widest
            .saturating_sub(total.saturating_sub(width))
            .max(NARROW.min(*widest));
    }
}

fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    for c in text.chars() {
        out.push(c);
        if out.width() >= width {
            out.pop();
            break;
        }
    }
    out + "\u{2026}"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(_: Style, text: &str) -> String {
        text.to_owned()
    }

    #[test]
    fn columns_line_up_and_the_widest_gives_way() {
        let mut table = Table::new(&["ID", "STATEMENT", "ROWS"]);
        table.row(["a".into(), "SELECT 1".into(), "1".into()]);
        table.row(["bb".into(), Cell::from("SELECT ".repeat(20)), "22".into()]);
        let lines = table.lines(40, plain);
        assert_eq!(lines[0], "ID  STATEMENT                       ROWS");
        assert_eq!(lines[1], "a   SELECT 1                        1");
        assert!(lines[2].contains("\u{2026}  22"), "{}", lines[2]);
        assert!(lines.iter().all(|line| line.width() <= 40));
    }

    #[test]
    fn a_cell_cannot_disturb_the_terminal_nor_its_table() {
        let mut table = Table::pairs();
        table.pair("process", "ps\u{1b}[2J\nql\u{202e}");
        assert_eq!(
            table.lines(10, plain),
            ["process  ps<U+001B>[2J<U+000A>ql<U+202E>"]
        );
    }

    #[test]
    fn wide_letters_take_two_places() {
        let mut table = Table::new(&["A", "B"]);
        table.row(["北京".into(), "x".into()]);
        assert_eq!(table.lines(80, plain)[0], "A     B");
    }
}
