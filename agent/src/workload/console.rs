//! The console of an enclave in debug mode: what its kernel and its init print while it runs, and why they
//! end.
//!
//! nitro-cli prints it, once the enclave has given its sign of life. It is read as fast as it comes, for
//! nobody should hold up an enclave; what comes faster than a journal takes is left out, and counted.

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
/// A connection that lasted so long was one.
const LASTING: Duration = Duration::from_secs(10);
/// How many lines are told at once: a kernel's boot has fewer. After that, one for each [`REFILL`]: together
/// with what workloads print that is less than a journal takes.
const BURST: u32 = 400;
const REFILL: Duration = Duration::from_millis(50);
/// A longer line is told in pieces.
const MOST_LINE_BYTES: usize = 2_048;
/// How many lines are remembered for the case that the enclave ends, and how much of each.
const REMEMBERED: usize = 5;
const MOST_REMEMBERED_BYTES: usize = 300;
/// After so much silence, or so long without any, it is found out what was said last.
const QUIET: Duration = Duration::from_millis(200);
const FOUND_EVERY: Duration = Duration::from_secs(1);
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
            let since = Instant::now();
            if let Err(error) = self.read(&found).await {
                log::debug!(
                    enclave_id = self.running.enclave_id.as_str(),
                    error = error.to_string(); "console not read, trying again"
                );
            }
            if since.elapsed() >= LASTING {
                pause = FIRST_PAUSE;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Reads lines until nitro-cli ends.
    async fn read(&self, found: &impl Fn(Vec<String>)) -> io::Result<()> {
        let mut child = self.nitro_cli.console(&self.running.enclave.nitro_id)?;
        let Some(mut output) = child.stdout.take() else { return Ok(()) };
        let (mut lines, mut told) = (Lines::default(), Told::new(Instant::now()));
        loop {
            let more = if let Ok(more) = timeout(QUIET, lines.read(&mut output)).await {
                more?
            } else {
                told.rest().into_iter().for_each(|line| self.tell(line));
                told.found(found, Instant::now());
                lines.read(&mut output).await?
            };
            for line in lines.take(!more) {
                for line in told.next(line, Instant::now()) {
                    self.tell(line);
                }
            }
            let now = Instant::now();
            if !more {
                told.rest().into_iter().for_each(|line| self.tell(line));
                told.found(found, now);
                return child.wait().await.map(drop);
            }
            if now.duration_since(told.found_at) >= FOUND_EVERY {
                told.found(found, now);
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
    /// How many lines may be told at once, and since when that is so.
    allowed: u32,
    since: Instant,
    /// Lines that were not told.
    left_out: u64,
    is_any: bool,
    last: Vec<String>,
    found_at: Instant,
}

impl Told {
    fn new(now: Instant) -> Self {
        let (allowed, since, found_at) = (BURST, now, now);
        Self { allowed, since, left_out: 0, is_any: false, last: Vec::new(), found_at }
    }

    /// What is to be told of one more line.
    fn next(&mut self, line: String, now: Instant) -> Vec<String> {
        if !self.is_any && (line.starts_with(CONNECTING) || line == CONNECTED) {
            return Vec::new();
        }
        self.is_any = true;
        if !line.trim().is_empty() {
            let end = line.floor_char_boundary(MOST_REMEMBERED_BYTES);
            self.last.push(line.get(..end).unwrap_or_default().to_owned());
            let surplus = self.last.len().saturating_sub(REMEMBERED);
            self.last.drain(..surplus);
        }
        let refills = now.duration_since(self.since).as_millis() / REFILL.as_millis();
        if refills > 0 {
            let refills = u32::try_from(refills).unwrap_or(u32::MAX);
            self.allowed = self.allowed.saturating_add(refills).min(BURST);
            self.since = now;
        }
        let Some(allowed) = self.allowed.checked_sub(1) else {
            self.left_out = self.left_out.saturating_add(1);
            return Vec::new();
        };
        self.allowed = allowed;
        self.rest().into_iter().chain([line]).collect()
    }

    /// That lines were left out, when some were since that was told.
    fn rest(&mut self) -> Option<String> {
        let left_out = std::mem::take(&mut self.left_out);
        (left_out > 0).then(|| format!("{left_out} lines were left out"))
    }

    fn found(&mut self, found: &impl Fn(Vec<String>), now: Instant) {
        self.found_at = now;
        if !self.last.is_empty() {
            found(self.last.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailey_model::{
        UnixMillis,
        failure::{Failure, FailureCode},
    };

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
        let later = told.next("then".to_owned(), start + REFILL);
        assert_eq!(later, ["600 lines were left out", "then"]);
        assert_eq!(told.last, ["996", "997", "998", "999", "then"]);
        assert!(told.next("at once".to_owned(), start + REFILL).is_empty());
        assert_eq!(
            told.rest().as_deref(),
            Some("1 lines were left out"),
            "also when nothing follows"
        );
        assert_eq!(told.rest(), None);
    }

    #[test]
    fn the_last_lines_are_short_enough_for_a_failure_to_hold_them_all() {
        let mut told = Told::new(Instant::now());
        for n in 0..9 {
            told.next(format!("{n}{}", "\u{fffd}".repeat(MOST_LINE_BYTES)), Instant::now());
        }
        let text = told.last.join(" / ");
        let failure = Failure::new(FailureCode::EnclaveStopped, text, UnixMillis(0)).bounded();
        assert_eq!(
            failure.message.chars().filter(char::is_ascii_digit).collect::<String>(),
            "45678"
        );
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
