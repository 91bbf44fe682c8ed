//! Log lines on standard error: `info enclave_id=enc_1 generation=3: document issued`.
//!
//! No time of its own: an enclave's clock cannot be trusted, and whoever collects the lines (the
//! console's reader, the journal) stamps them.

use super::output::Ring;
use bailey_vsock::workload::{MAX_LINE_BYTES, OutputEntry, OutputEvent, OutputStream};
use log::{
    LevelFilter, Log, Metadata, Record,
    kv::{Error, Key, Value, VisitSource},
};
use std::{
    fmt::Write as _,
    io::{self, Write},
    sync::{Arc, OnceLock},
};

struct StderrLogger;

static LOGGER: StderrLogger = StderrLogger;

/// Sends the program's log to standard error.
pub(super) fn install() {
    // A second call in one process finds the logger in place, which is what it wants.
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Where lines go as well.
static COPY: OnceLock<Arc<Ring>> = OnceLock::new();

/// From now on, readers of the output get the program's log too.
pub(super) fn copy_to(ring: Arc<Ring>) {
    // There is one enclave in a process, so this is called once.
    let _ = COPY.set(ring);
}

/// Shows what the workload printed, and nothing else, for the rest is in the log.
pub(super) fn copy_entry(entry: &OutputEntry, console: &mut impl Write) -> io::Result<()> {
    let OutputEvent::Line { stream, bytes, .. } = &entry.event else { return Ok(()) };
    if *stream == OutputStream::Keep {
        return Ok(());
    }
    let text = String::from_utf8_lossy(bytes.as_slice());
    let text: String = text.chars().map(printable).collect();
    console.write_all(format!("{stream}: {text}\n").as_bytes())
}

impl Log for StderrLogger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // One write a line, so that lines of two threads do not mix. Without a console there is
        // nowhere to complain to.
        let line = line(record);
        let _ = io::stderr().write_all(line.as_bytes());
        if let Some(ring) = COPY.get() {
            ring.push(entry(&line));
        }
    }

    fn flush(&self) {}
}

/// The log's lines are far shorter than an entry's may be, unless a peer's text is in them.
fn entry(line: &str) -> OutputEvent {
    let bytes = line.trim_end_matches('\n').as_bytes();
    let bytes = bytes.get(..MAX_LINE_BYTES).unwrap_or(bytes).to_vec().into();
    OutputEvent::Line { stream: OutputStream::Keep, bytes, complete: true }
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
    fn the_console_gets_the_workloads_lines_and_nothing_that_moves_its_cursor() {
        let event = |stream, bytes: &[u8]| OutputEvent::Line {
            stream,
            bytes: bytes.to_vec().into(),
            complete: true,
        };
        let mut console = Vec::new();
        for event in [
            event(OutputStream::Stdout, b"a\x1b[2J\xff"),
            event(OutputStream::Keep, b"of keep"),
            OutputEvent::Started { pid: 1, attempt: 1 },
        ] {
            let entry = OutputEntry { sequence: 1, at_ms: 0, dropped: 0, event };
            copy_entry(&entry, &mut console).unwrap();
        }
        assert_eq!(String::from_utf8(console).unwrap(), "stdout: a [2J\u{fffd}\n");
    }

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
