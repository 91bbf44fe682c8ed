//! HTML that can only be put together escaped.

use crate::output::harmless;

/// A piece of HTML: text that was escaped, or elements around such text.
#[derive(Debug)]
pub(super) struct Markup(String);

impl Markup {
    pub(super) fn into_string(self) -> String {
        self.0
    }
}

impl FromIterator<Self> for Markup {
    fn from_iter<I: IntoIterator<Item = Self>>(pieces: I) -> Self {
        Self(pieces.into_iter().map(Self::into_string).collect())
    }
}

/// Text, with everything escaped that HTML gives a meaning.
pub(super) fn text(text: &str) -> Markup {
    let mut escaped = String::with_capacity(text.len());
    for c in harmless(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    Markup(escaped)
}

/// An element. Names and attributes are the program's own.
pub(super) fn element(name: &'static str, attributes: &'static str, content: Markup) -> Markup {
    let gap = if attributes.is_empty() { "" } else { " " };
    // A line end inside `pre` would show.
    let end = if matches!(name, "code" | "span" | "small" | "b") { "" } else { "\n" };
    let content = content.into_string();
    Markup(format!("<{name}{gap}{attributes}>{content}</{name}>{end}"))
}

/// Somebody's value, letter by letter.
pub(super) fn code(value: &str) -> Markup {
    element("code", "", text(value))
}

/// Somebody's value that may be broken after each comma, as a certificate's name has to be.
pub(super) fn name(value: &str) -> Markup {
    element("code", "", Markup(text(value).0.replace(',', ",<wbr>")))
}

pub(super) fn list(items: Vec<Markup>) -> Markup {
    element("ul", "", items.into_iter().map(|item| element("li", "", item)).collect())
}

/// A table whose first column names its rows; nothing when it has none.
///
/// On a narrow screen each row is shown as a block, with the head beside each cell. The roles keep
/// it a table for those who hear it: browsers drop them with the layout.
pub(super) fn table<const N: usize>(head: [&'static str; N], rows: Vec<[Markup; N]>) -> Markup {
    if rows.is_empty() {
        return element("p", "", text("Nothing."));
    }
    let heads = head
        .map(|name| element("th", "scope=\"col\" role=\"columnheader\"", text(name)))
        .into_iter()
        .collect();
    let head_row = element("tr", "role=\"row\"", heads);
    let rows = rows.into_iter().map(|cells| {
        let cells = cells.into_iter().zip(head).enumerate().map(|(column, (cell, name))| {
            let (element, role) = match column {
                0 => ("th scope=\"row\"", "rowheader"),
                _ => ("td", "cell"),
            };
            let end = if column == 0 { "th" } else { "td" };
            Markup(format!("<{element} role=\"{role}\" data-head=\"{name}\">{}</{end}>", cell.0))
        });
        element("tr", "role=\"row\"", cells.collect())
    });
    let rows = rows.collect();
    let parts = [
        element("thead", "role=\"rowgroup\"", head_row),
        element("tbody", "role=\"rowgroup\"", rows),
    ];
    element("table", "role=\"table\"", parts.into_iter().collect())
}
