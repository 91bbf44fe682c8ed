//! Columns and sections.

use crate::output::one_line;
use std::fmt::Write as _;

/// A title, and below it one indented line per pair, the values under each other; nothing when
/// there is no pair.
pub(super) fn section<N: AsRef<str>, V: AsRef<str>>(title: &str, pairs: &[(N, V)]) -> String {
    let width = pairs.iter().map(|(name, _)| columns(name.as_ref())).max();
    let Some(width) = width else { return String::new() };
    let mut text = format!("\n{title}\n");
    for (name, value) in pairs {
        let _ = writeln!(text, "  {}  {}", padded(name.as_ref(), width), one_line(value.as_ref()));
    }
    text
}

/// Rows under a head, each column as wide as its widest cell.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(columns);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = columns(cell).max(*width);
        }
    }
    let line = |cells: Vec<&str>| {
        let cells: Vec<_> =
            cells.into_iter().zip(widths).map(|(cell, width)| padded(cell, width)).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    let mut text = line(head.to_vec());
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

/// The text, filled with spaces to `width` columns.
pub(super) fn padded(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(columns(text));
    format!("{text}{}", " ".repeat(missing))
}

/// One column per character is right for everything that Bailey writes itself.
fn columns(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_section_stand_under_each_other() {
        let text = section("Host", &[("zone", "eu-west-1a"), ("instance", "i-1\ni-2")]);
        assert_eq!(text, "\nHost\n  zone      eu-west-1a\n  instance  i-1 i-2\n");
        assert_eq!(section::<&str, &str>("Host", &[]), "");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_without_spaces() {
        let rows = [["é".to_owned(), "1".to_owned()], ["long-id".to_owned(), String::new()]];
        assert_eq!(table(["ID", "N"], &rows), "ID       N\né        1\nlong-id\n");
    }
}
