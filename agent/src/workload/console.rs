//! The console of an enclave in debug mode: what its kernel and its init print, and why they end.
//!
//! nitro-cli prints it. It is read as fast as it comes, for nobody should hold up an enclave; what comes
//! faster than a journal takes is left out, and counted.

use super::{
    Line, Running,
    events::{CONSOLE, printable},
    ship::Shipper,
};
use crate::nitro_cli::NitroCli;
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::{Instant, sleep, timeout},
};

/// Who reads already keeps others out; so it is tried again ever more rarely.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// How many lines are told within [`PERIOD`]: a kernel's boot has fewer.
const MOST_IN_PERIOD: u32 = 400;
const PERIOD: Duration = Duration::from_secs(1);
/// A longer line is told in pieces.
const MOST_LINE_BYTES: usize = 2_048;
/// How many lines are remembered for the case that the enclave ends.
const REMEMBERED: usize = 5;
/// After so much silence it is found out what was said last.
const QUIET: Duration = Duration::from_millis(200);
/// What nitro-cli says itself, before the console.
const CONNECTED: &str = "Successfully connected to the console.";
const CONNECTING: &str = "Connecting to the console for enclave ";

/// Where the lines of a console go.
#[derive(Debug)]
pub(crate) struct Console {
    pub(crate) nitro_cli: NitroCli,
    pub(crate) running: Running,
    pub(crate) shipper: Option<Shipper>,
}

impl Console {
    /// Follows the console for as long as this future is polled; `found` is told the last lines.
    pub(crate) async fn follow(self, found: impl Fn(Vec<String>)) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.read(&found).await {
                Ok(0) => {}
                Ok(_) => pause = FIRST_PAUSE,
                Err(error) => log::debug!(
                    enclave_id = self.running.enclave_id.as_str(),
                    error = error.to_string(); "console not read, trying again"
                ),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Reads lines until nitro-cli ends; how many there were.
    async fn read(&self, found: &impl Fn(Vec<String>)) -> io::Result<u64> {
        let mut child = self.nitro_cli.console(&self.running.enclave.nitro_id)?;
        let Some(mut output) = child.stdout.take() else { return Ok(0) };
        let (mut lines, mut told) = (Lines::default(), Told::new(Instant::now()));
        loop {
            let more = if let Ok(more) = timeout(QUIET, lines.read(&mut output)).await {
                more?
            } else {
                told.found(found);
                lines.read(&mut output).await?
            };
            for line in lines.take(!more) {
                for line in told.next(line, Instant::now()) {
                    self.tell(line);
                }
            }
            if !more {
                told.found(found);
                child.wait().await?;
                return Ok(told.lines);
            }
        }
    }

    fn tell(&self, text: String) {
        let Running { enclave_id, generation, .. } = &self.running;
        let (id, generation) = (enclave_id.as_str(), generation.0);
        log::info!(enclave_id = id, generation, stream = CONSOLE; "{text}");
        if let Some(shipper) = &self.shipper {
            shipper.ship(enclave_id, &Line { stream: CONSOLE, text });
        }
    }
}

/// Bytes as lines.
#[derive(Debug, Default)]
struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Reads what there is; whether more may come. Nothing is lost when this is not polled to its end.
    async fn read(&mut self, output: &mut (impl AsyncRead + Unpin)) -> io::Result<bool> {
        self.pending.reserve(MOST_LINE_BYTES);
        Ok(output.read_buf(&mut self.pending).await? > 0)
    }

    /// The lines that are whole, or too long; all that is left at the end.
    fn take(&mut self, is_end: bool) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let end = self.pending.iter().take(MOST_LINE_BYTES).position(|byte| *byte == b'\n');
            let line: Vec<u8> = match end {
                Some(end) => self.pending.drain(..=end).take(end).collect(),
                None if self.pending.len() >= MOST_LINE_BYTES => {
                    self.pending.drain(..MOST_LINE_BYTES).collect()
                }
                None if is_end && !self.pending.is_empty() => std::mem::take(&mut self.pending),
                None => return lines,
            };
            lines.push(printable(&String::from_utf8_lossy(&line)));
        }
    }
}

/// What was told, and what is remembered.
struct Told {
    since: Instant,
    in_period: u32,
    left_out: u64,
    lines: u64,
    last: Vec<String>,
}

impl Told {
    fn new(now: Instant) -> Self {
        Self { since: now, in_period: 0, left_out: 0, lines: 0, last: Vec::new() }
    }

    /// What is to be told of one more line.
    fn next(&mut self, line: String, now: Instant) -> Vec<String> {
        if self.lines == 0 && (line.starts_with(CONNECTING) || line == CONNECTED) {
            return Vec::new();
        }
        self.lines = self.lines.saturating_add(1);
        if !line.trim().is_empty() {
            self.last.push(line.clone());
            let surplus = self.last.len().saturating_sub(REMEMBERED);
            self.last.drain(..surplus);
        }
        if now.duration_since(self.since) >= PERIOD {
            (self.since, self.in_period) = (now, 0);
        }
        if self.in_period >= MOST_IN_PERIOD {
            self.left_out = self.left_out.saturating_add(1);
            return Vec::new();
        }
        self.in_period = self.in_period.saturating_add(1);
        let left_out = std::mem::take(&mut self.left_out);
        let note = (left_out > 0).then(|| format!("{left_out} lines were left out"));
        note.into_iter().chain([line]).collect()
    }

    fn found(&self, found: &impl Fn(Vec<String>)) {
        if !self.last.is_empty() {
            found(self.last.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(bytes: &[u8]) -> Vec<String> {
        let (mut bytes, mut lines, mut all) = (bytes, Lines::default(), Vec::new());
        loop {
            let more = lines.read(&mut bytes).await.unwrap();
            all.extend(lines.take(!more));
            if !more {
                return all;
            }
        }
    }

    #[tokio::test]
    async fn a_console_is_lines_whatever_its_bytes_are() {
        let long = "x".repeat(MOST_LINE_BYTES + 1);
        let text = format!("[    0.0] Linux\r\n\n{long}\n\u{1b}[2Jend\n[PCR] no\nand no newline");
        let expected = [
            "[    0.0] Linux",
            "",
            &"x".repeat(MOST_LINE_BYTES),
            "x",
            "\u{fffd}[2Jend",
            "(PCR) no",
            "and no newline",
        ];
        assert_eq!(lines(text.as_bytes()).await, expected);
        assert_eq!(lines(b"\xff\n").await, ["\u{fffd}"]);
    }

    #[test]
    fn what_comes_faster_than_a_journal_takes_is_left_out_and_counted() {
        let start = Instant::now();
        let mut told = Told::new(start);
        let flood = (0..1_000).flat_map(|n| told.next(n.to_string(), start)).count();
        assert_eq!(flood, 400);
        let later = told.next("then".to_owned(), start + PERIOD);
        assert_eq!(later, ["600 lines were left out", "then"]);
        assert_eq!(told.last, ["996", "997", "998", "999", "then"]);
    }

    #[test]
    fn what_nitro_cli_says_itself_is_no_line_of_the_console() {
        let mut told = Told::new(Instant::now());
        let mut next = |line: &str| told.next(line.to_owned(), Instant::now());
        assert!(next("Connecting to the console for enclave 16...").is_empty());
        assert!(next(CONNECTED).is_empty());
        assert_eq!(next("booting"), ["booting"]);
        assert_eq!(next(CONNECTED), [CONNECTED], "an enclave may say so, too");
    }
}
