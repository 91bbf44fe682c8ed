//! What the workload printed, and what became of it.

use bailey_model::Base64Bytes;
use serde::{Deserialize, Serialize};

/// The longest line of one entry, in bytes. A longer one comes in several, of which all but the last
/// are not `complete`.
pub const MAX_LINE_BYTES: usize = 8 * 1024;

/// The longest text of a reason or a detail, in bytes; see [`shorten`].
pub const MAX_REASON_BYTES: usize = 1024;

/// One thing that happened in the enclave, in its place.
///
/// On the wire, inside of a response: `{"sequence":18,"at_ms":1700000000000,"dropped":0,"event":…}`
/// with an event of one of these forms:
///
/// ```text
/// {"line":{"stream":"stdout","bytes":"<base64>","complete":true}}
/// {"started":{"pid":7,"attempt":1}}
/// {"exited":{"attempt":1,"exit":{"code":3},"will_restart":true}}
/// {"exited":{"attempt":1,"exit":{"signal":9},"will_restart":false}}
/// {"not_started":{"attempt":1,"reason":"…","will_restart":false}}
/// ```
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct OutputEntry {
    /// Its place among all entries of this enclave, 1 for the first.
    pub sequence: u64,
    /// When, by the enclave's own clock, in milliseconds since 1970. Not to be relied on: nothing
    /// outside of the enclave vouches for that clock.
    pub at_ms: u64,
    /// How many entries right before this one were lost to this reader, because the enclave holds a
    /// bounded number and the reader was too late or too slow.
    pub dropped: u64,
    /// What happened.
    pub event: OutputEvent,
}

/// What happened in the enclave.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputEvent {
    /// The workload's process ended.
    Exited {
        /// Which start of the workload it was, 1 for the first.
        attempt: u32,
        /// How it ended.
        exit: WorkloadExit,
        /// Whether `keep` starts it again, after a pause. If not, the enclave ends or goes on
        /// without its workload, as its image says.
        will_restart: bool,
    },
    /// A line that was printed.
    Line {
        /// Where it was printed.
        stream: OutputStream,
        /// The line without its newline, at most [`MAX_LINE_BYTES`] bytes; not always UTF-8.
        bytes: Base64Bytes,
        /// Whether the line ends here; otherwise the next entry of the same stream goes on with it.
        complete: bool,
    },
    /// The workload could not be started.
    NotStarted {
        /// Which start of the workload it was, 1 for the first.
        attempt: u32,
        /// Why, in words, at most [`MAX_REASON_BYTES`] bytes.
        reason: String,
        /// As for [`OutputEvent::Exited`].
        will_restart: bool,
    },
    /// The workload's process runs.
    Started {
        /// Its process id in the enclave.
        pid: u32,
        /// Which start of the workload it is, 1 for the first.
        attempt: u32,
    },
}

/// Where a line was printed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputStream {
    /// By `keep` itself: its own log.
    Keep,
    /// On the workload's standard error.
    Stderr,
    /// On the workload's standard output.
    Stdout,
}

/// How the workload's process ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkloadExit {
    /// By itself, with this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl WorkloadExit {
    /// Whether it ended by itself with code 0.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

impl std::fmt::Display for WorkloadExit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

impl std::fmt::Display for OutputStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Keep => "keep",
            Self::Stderr => "stderr",
            Self::Stdout => "stdout",
        })
    }
}

/// `text` up to [`MAX_REASON_BYTES`] bytes, cut between two characters.
#[must_use]
pub fn shorten(mut text: String) -> String {
    let fits = |end: &usize| *end <= MAX_REASON_BYTES;
    if text.len() > MAX_REASON_BYTES {
        let starts = text.char_indices().map(|(start, _)| start);
        let end = starts.take_while(fits).last().unwrap_or_default();
        text.truncate(end);
    }
    text
}
