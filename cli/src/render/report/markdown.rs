//! A report in Markdown, for tickets and pull requests.
//!
//! Values are code spans: in one, nothing that a report holds is a link, a mention or markup.

use super::{
    super::mark,
    commands,
    facts::{self, CheckRow},
    registers,
};
use crate::{digest::Digest, output::one_line};
use bailey_model::report::Report;
use std::fmt::Write as _;

pub(super) fn markdown(report: &Report, sha256: Digest) -> String {
    let (word, meaning, _) = facts::verdict(report);
    let enclave = code(report.enclave_id.as_str());
    let meaning = if report.rejection.is_some() { code(&meaning) } else { meaning };
    let mut text = format!(
        "# Attestation of {enclave}: {word}\n\n{meaning}\n\n{} {}\n",
        facts::explanation(report),
        facts::count(report)
    );
    for caution in facts::cautions(report) {
        let _ = write!(text, "\n> **Note:** {caution}\n");
    }
    let (made, open) = facts::checks(report);
    text.push_str(&checks("What was checked", &made));
    text.push_str(&checks("What was not checked", &open));
    text.push('\n');
    for limit in facts::limits(report) {
        let _ = writeln!(text, "- {limit}");
    }
    text.push_str(&registers(report));
    let manifest = facts::manifest(report);
    if !manifest.is_empty() {
        text.push_str(&pairs("Signed manifest", &manifest));
    }
    text.push_str(&certificates(report));
    text.push_str(&pairs("Host", &facts::host(report)));
    let software: Vec<_> = report.software.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
    text.push_str(&pairs("Software", &software));
    text.push_str(&pairs("Report", &facts::subject(report, sha256)));
    let command = commands::command(report);
    let _ = write!(
        text,
        "\n## Verify it yourself\n\nOffline, with the report file:\n\n```sh\n{command}\n```\n"
    );
    text
}

fn checks(title: &str, rows: &[CheckRow]) -> String {
    let row = |row: &CheckRow| {
        let result = format!("{} {}", mark(row.outcome), facts::called(row.outcome));
        let [expected, found] = [code(&row.expected), code(&row.found)];
        [code(&row.name), row.purpose.to_owned(), result, expected, found]
    };
    table(title, ["Check", "Purpose", "Result", "Expected", "Found"], rows.iter().map(row))
}

fn registers(report: &Report) -> String {
    let (rows, zero) = registers::registers(report);
    let value = |value: Option<String>| value.map_or_else(|| "–".to_owned(), |text| code(&text));
    let rows = rows.into_iter().map(|row| {
        let result = format!("{} {}", mark(row.outcome), facts::called(row.outcome));
        [row.name, value(row.expected), value(row.found), result]
    });
    let mut text = table("Measurements", ["Register", "Expected", "Found", "Result"], rows);
    let _ = write!(text, "\n{}", registers::expectation(report));
    if zero > 0 {
        let _ = write!(text, " {zero} more registers are zero.");
    }
    text.push('\n');
    text
}

fn certificates(report: &Report) -> String {
    let rows = report.certificates.iter().map(|certificate| {
        [code(&certificate.subject), facts::validity(certificate), code(&certificate.sha256)]
    });
    table("Certificate chain, root first", ["Subject", "Valid", "SHA-256"], rows)
}

fn pairs<N: AsRef<str>>(title: &str, pairs: &[(N, String)]) -> String {
    let rows = pairs.iter().map(|(name, value)| [code(name.as_ref()), code(value)]);
    table(title, ["Name", "Value"], rows)
}

fn table<const N: usize>(
    title: &str,
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let rows: Vec<_> = rows.map(|row| format!("| {} |\n", row.join(" | "))).collect();
    if rows.is_empty() {
        return format!("\n## {title}\n\nNothing.\n");
    }
    let line = ["---"; N].join(" | ");
    format!("\n## {title}\n\n| {} |\n| {line} |\n{}", head.join(" | "), rows.concat())
}

/// A code span, fenced by more backticks than the text has in a row.
fn code(text: &str) -> String {
    let text = one_line(text).replace('|', "\\|");
    if text.is_empty() {
        return "–".to_owned();
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.saturating_add(1));
    let gap = if longest > 0 { " " } else { "" };
    format!("{fence}{gap}{text}{gap}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_leave_its_code_span_or_its_cell() {
        assert_eq!(code("a|b\n# c"), "`a\\|b # c`");
        assert_eq!(code("`` [x](y)"), "``` `` [x](y) ```");
        assert_eq!(code(" "), "–");
    }

    #[test]
    fn the_verdict_comes_first_and_the_way_to_verify_it_last() {
        let text = markdown(&super::super::tests::example(), Digest::of(b""));
        assert!(text.starts_with("# Attestation of `demo`: VERIFIED\n"), "{text}");
        assert!(text.contains("| PCR1 | `abab"), "{text}");
        assert!(text.ends_with("--instance-id i-1\n```\n"), "{text}");
    }
}
