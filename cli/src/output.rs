//! Writing to the terminal, or to whatever reads instead of it.

use crate::exit::Advise;
use serde::Serialize;
use std::io::{self, Write as _};

/// Whether anyone still reads what is printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Audience {
    /// The reader closed its end, as `head` does once it has enough; nothing is wrong.
    Gone,
    /// The text was taken.
    Present,
}

/// Prints text for people.
///
/// Records and reports are written by others: what a terminal would obey instead of showing is
/// replaced.
pub(crate) fn print(text: &str) -> Result<Audience, PrintError> {
    write(harmless(text).as_bytes())
}

/// Prints a value as indented JSON, for programs.
pub(crate) fn print_json<T: Serialize>(value: &T) -> Result<Audience, PrintError> {
    let mut text =
        serde_json::to_string_pretty(value).map_err(|source| PrintError::Encode { source })?;
    text.push('\n');
    write(text.as_bytes())
}

/// Prints a value as one line of JSON, for programs that read along.
pub(crate) fn print_json_line<T: Serialize>(value: &T) -> Result<Audience, PrintError> {
    let mut text = serde_json::to_string(value).map_err(|source| PrintError::Encode { source })?;
    text.push('\n');
    write(text.as_bytes())
}

/// Prints bytes as they are.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<Audience, PrintError> {
    write(bytes)
}

/// Writes to standard error; when even that is closed there is nobody left to tell.
pub(crate) fn complain(text: &str) {
    let _ = io::stderr().write_all(harmless(text).as_bytes());
}

fn write(bytes: &[u8]) -> Result<Audience, PrintError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Audience::Present),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Audience::Gone),
        Err(source) => Err(PrintError::Write { source }),
    }
}

/// The text without control characters, line ends and tabs aside, and without those that turn the
/// direction of writing.
pub(crate) fn harmless(text: &str) -> String {
    let obeyed = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if obeyed(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Somebody else's text in one line, so that it cannot pass for a line of ours.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A word for a shell: a report is written by others, and its reader will paste the command.
pub(crate) fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let text = one_line(&harmless(text));
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Why something could not be printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrintError {
    /// The value has no JSON form.
    #[error("cannot write the answer as JSON")]
    Encode { source: serde_json::Error },
    /// Standard output takes no more, as a full disk does.
    #[error("cannot write to standard output")]
    Write { source: io::Error },
}

impl Advise for PrintError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_replaced() {
        assert_eq!(harmless("a\u{1b}[31mb\tc\n\u{202e}d"), "a\u{fffd}[31mb\tc\n\u{fffd}d");
    }

    #[test]
    fn a_strangers_text_stays_on_its_line() {
        assert_eq!(one_line("failed\n  verdict verified\r\n"), "failed verdict verified");
    }

    #[test]
    fn what_a_shell_would_obey_is_shell_word() {
        assert_eq!(shell_word("arn:aws:iam::1:role/parent"), "arn:aws:iam::1:role/parent");
        assert_eq!(shell_word("i-1; rm -rf ~"), "'i-1; rm -rf ~'");
        assert_eq!(shell_word("it's\n$(x)"), r"'it'\''s $(x)'");
    }
}
