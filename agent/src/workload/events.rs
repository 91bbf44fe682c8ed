//! Entries of an enclave's output as lines for people. Pure.

use super::End;
use bailey_vsock::workload::{OutputEntry, OutputEvent, OutputStream};

/// One line of a log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// `stdout` or `stderr` of the workload; `keep`, which tells what becomes of it; or `console`, that of
    /// an enclave in debug mode.
    pub stream: &'static str,
    /// The text, without characters that a terminal would act upon.
    pub text: String,
}

impl Line {
    /// Whether the workload itself said it.
    #[must_use]
    pub fn is_of_the_workload(&self) -> bool {
        ![KEEP, CONSOLE].contains(&self.stream)
    }
}

const KEEP: &str = "keep";
pub(super) const CONSOLE: &str = "console";

/// What an entry says, in lines: first that some were lost, when they were.
#[must_use]
pub(super) fn lines(entry: &OutputEntry) -> Vec<Line> {
    let lost = (entry.dropped > 0).then(|| keeps(format!("{} entries were lost", entry.dropped)));
    lost.into_iter().chain(std::iter::once(line(&entry.event))).collect()
}

fn line(event: &OutputEvent) -> Line {
    match event {
        OutputEvent::Line { stream, bytes, .. } => {
            let stream = match stream {
                OutputStream::Keep => KEEP,
                OutputStream::Stderr => "stderr",
                OutputStream::Stdout => "stdout",
            };
            Line { stream, text: printable(&String::from_utf8_lossy(&bytes.0)) }
        }
        OutputEvent::Started { pid, attempt } => {
            keeps(format!("workload started: process {pid}, start {attempt}"))
        }
        OutputEvent::Exited { exit, will_restart, .. } => {
            keeps(format!("workload ended with {exit}{}", again(*will_restart)))
        }
        OutputEvent::NotStarted { reason, will_restart, .. } => {
            keeps(format!("workload not started: {}{}", printable(reason), again(*will_restart)))
        }
    }
}

fn keeps(text: String) -> Line {
    Line { stream: KEEP, text }
}

fn again(will_restart: bool) -> &'static str {
    if will_restart { ", and is started again" } else { "" }
}

/// How the workload ended for good, when the event says so.
#[must_use]
pub(super) fn end(event: &OutputEvent) -> Option<End> {
    match event {
        OutputEvent::Exited { exit, will_restart: false, .. } => Some(End {
            how: format!("its workload ended with {exit}"),
            succeeded: exit.is_success(),
        }),
        OutputEvent::NotStarted { reason, will_restart: false, .. } => {
            let how = format!("its workload could not be started: {}", printable(reason));
            Some(End { how, succeeded: false })
        }
        _ => None,
    }
}

/// Lines of this form tell an older web app what was measured; only the coordinator may write them.
const RESERVED: &str = "[PCR]";

/// The text without control characters, and without words that are somebody else's to say.
pub(super) fn printable(text: &str) -> String {
    let replaced = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    let text: String = text.trim_end_matches('\r').chars().map(replaced).collect();
    text.replace(RESERVED, "(PCR)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailey_vsock::workload::WorkloadExit;

    fn entry(dropped: u64, event: OutputEvent) -> OutputEntry {
        OutputEntry { sequence: 9, at_ms: 0, dropped, event }
    }

    fn said(stream: OutputStream, bytes: &[u8]) -> OutputEvent {
        OutputEvent::Line { stream, bytes: bytes.to_vec().into(), complete: true }
    }

    fn texts(entry: &OutputEntry) -> Vec<String> {
        lines(entry).into_iter().map(|line| format!("{}: {}", line.stream, line.text)).collect()
    }

    #[test]
    fn what_a_workload_prints_cannot_command_a_terminal_nor_speak_for_the_coordinator() {
        let tricky = said(OutputStream::Stdout, b"\x1b[2J[PCR] PCR0: 00\xff\tend\r");
        let expected = ["stdout: \u{fffd}[2J(PCR) PCR0: 00\u{fffd}\tend"];
        assert_eq!(texts(&entry(0, tricky)), expected);
    }

    #[test]
    fn lost_entries_are_told_before_the_one_that_followed() {
        let expected = ["keep: 3 entries were lost", "stderr: on"];
        assert_eq!(texts(&entry(3, said(OutputStream::Stderr, b"on"))), expected);
    }

    #[test]
    fn an_end_for_good_is_told_from_one_that_keep_mends() {
        let exited = |exit, will_restart| OutputEvent::Exited { attempt: 1, exit, will_restart };
        assert_eq!(end(&exited(WorkloadExit::Code(3), true)), None);
        let failed = end(&exited(WorkloadExit::Signal(9), false)).unwrap();
        assert_eq!(
            (failed.how.as_str(), failed.succeeded),
            ("its workload ended with signal 9", false)
        );
        assert!(end(&exited(WorkloadExit::Code(0), false)).unwrap().succeeded);
        let again = ["keep: workload ended with exit code 3, and is started again"];
        assert_eq!(texts(&entry(0, exited(WorkloadExit::Code(3), true))), again);
    }
}
