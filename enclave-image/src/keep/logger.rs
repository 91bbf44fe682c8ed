//! Log lines on standard error: `info enclave_id=enc_1 generation=3: document issued`.
//!
//! No time of its own: an enclave's clock cannot be trusted, and whoever collects the lines (the
//! console's reader, the journal) stamps them.

use log::{
    LevelFilter, Log, Metadata, Record,
    kv::{Error, Key, Value, VisitSource},
};
use std::{fmt::Write as _, io::Write as _};

struct StderrLogger;

static LOGGER: StderrLogger = StderrLogger;

/// Sends the program's log to standard error.
pub(super) fn install() {
    // A second call in one process finds the logger in place, which is what it wants.
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

impl Log for StderrLogger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // One write a line, so that lines of two threads do not mix. Without a console there is
        // nowhere to complain to.
        let _ = std::io::stderr().write_all(line(record).as_bytes());
    }

    fn flush(&self) {}
}

fn line(record: &Record<'_>) -> String {
    let mut line = Line(record.level().as_str().to_ascii_lowercase());
    // The visitor never fails.
    let _ = record.key_values().visit(&mut line);
    let Line(mut text) = line;
    let _ = writeln!(text, ": {}", record.args());
    text
}

struct Line(String);

impl<'kvs> VisitSource<'kvs> for Line {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let value: String = value.to_string().chars().map(printable).collect();
        let _ = write!(self.0, " {key}={value}");
        Ok(())
    }
}

/// A peer's text must not start a line of its own or send the terminal commands.
fn printable(character: char) -> char {
    if character.is_control() { ' ' } else { character }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Level;

    #[test]
    fn a_line_holds_level_values_and_message_and_no_control_characters() {
        let values = [("error", "a\nb\u{1b}[0m")];
        let record = Record::builder()
            .level(Level::Warn)
            .key_values(&values)
            .args(format_args!("request refused"))
            .build();
        assert_eq!(line(&record), "warn error=a b [0m: request refused\n");
    }
}
