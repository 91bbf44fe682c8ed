//! Following one enclave's output.

use super::{
    End, Line, Running,
    events::{end, lines},
    position::Positions,
    ship::Shipper,
};
use crate::vsock::{self, ConnectError, ReadFrameError, Stream, Vsock};
use bailey_vsock::{
    frame::{self, FrameError},
    workload::{
        MAX_WORKLOAD_REQUEST_LEN, MAX_WORKLOAD_RESPONSE_LEN, OutputEntry, WORKLOAD_PORT,
        WorkloadRefusal, WorkloadRequest, WorkloadRequestError, WorkloadResponse,
        WorkloadResponseError,
    },
};
use std::{convert::Infallible, io, pin::pin, time::Duration};
use tokio::{
    io::AsyncWriteExt as _,
    time::{Instant, sleep, sleep_until, timeout},
};

/// An enclave whose init has no output to give is asked again ever more rarely.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// How many entries are read within [`PERIOD`]. journald drops what exceeds ten thousand lines of a unit in
/// half a minute, the agent's own words too; so less is read, and what a workload prints beyond that is
/// dropped, and counted, where it is printed.
const MOST_IN_PERIOD: u32 = 200;
const PERIOD: Duration = Duration::from_secs(1);
/// How long an enclave is silent before it is written down how far it was read.
const QUIET: Duration = Duration::from_millis(200);

/// Where lines go, and how far they were read.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    pub(crate) vsock: Vsock,
    pub(crate) running: Running,
    pub(crate) positions: Positions,
    pub(crate) shipper: Option<Shipper>,
}

impl Tail {
    /// Follows the output for as long as this future is polled; `ended` is told how the workload ended for
    /// good.
    pub(crate) async fn follow(self, ended: impl Fn(End)) {
        let mut position = self.positions.read(&self.running.enclave.nitro_id);
        let mut pause = FIRST_PAUSE;
        loop {
            let before = position;
            let Err(error) = self.read(&mut position, &ended).await;
            if position != before {
                pause = FIRST_PAUSE;
            }
            log::debug!(
                enclave_id = self.running.enclave_id.as_str(),
                error = bailey_runtime::chain(&error); "output not read, trying again"
            );
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Reads entries until the connection ends.
    async fn read(
        &self,
        position: &mut Option<u64>,
        ended: &impl Fn(End),
    ) -> Result<Infallible, ReadError> {
        let request = WorkloadRequest::Output { after: *position };
        let mut stream = ask(&self.vsock, self.running.enclave.cid, request).await?;
        let mut spent = Spent::since(Instant::now());
        loop {
            let entry = {
                let mut next = pin!(entry(&mut *stream));
                if let Ok(entry) = timeout(QUIET, &mut next).await {
                    entry?
                } else {
                    self.remember(*position);
                    next.await?
                }
            };
            self.take(&entry);
            if let Some(end) = end(&entry.event) {
                ended(end);
            }
            *position = Some(entry.sequence);
            if let Some(until) = spent.one_more(Instant::now()) {
                self.remember(*position);
                sleep_until(until).await;
            }
        }
    }

    fn take(&self, entry: &OutputEntry) {
        let Running { enclave_id, generation, .. } = &self.running;
        for line in lines(entry) {
            let Line { stream, text } = &line;
            let (id, generation) = (enclave_id.as_str(), generation.0);
            log::info!(enclave_id = id, generation, stream = *stream; "{text}");
            if let Some(shipper) = &self.shipper {
                shipper.ship(enclave_id, &line);
            }
        }
    }

    fn remember(&self, position: Option<u64>) {
        let Some(position) = position else { return };
        if let Err(error) = self.positions.write(&self.running.enclave.nitro_id, position) {
            log::warn!(error = error.to_string(); "position in the output not written");
        }
    }
}

/// How many entries were read in the present period.
struct Spent {
    since: Instant,
    entries: u32,
}

impl Spent {
    fn since(since: Instant) -> Self {
        Self { since, entries: 0 }
    }

    /// Counts an entry; until when to read no more, when the period has had its share.
    fn one_more(&mut self, now: Instant) -> Option<Instant> {
        let over = self.since + PERIOD;
        if now >= over {
            *self = Self { since: now, entries: 1 };
            return None;
        }
        self.entries = self.entries.saturating_add(1);
        (self.entries >= MOST_IN_PERIOD).then(|| {
            *self = Self::since(over);
            over
        })
    }
}

async fn entry(stream: &mut dyn Stream) -> Result<OutputEntry, ReadError> {
    match answer(stream).await? {
        WorkloadResponse::Entry(entry) => Ok(entry),
        WorkloadResponse::Health(_) => Err(ReadError::Another),
        WorkloadResponse::Refused(refusal) => Err(ReadError::Refused(refusal)),
    }
}

/// Connects to an enclave's workload port and asks.
pub(super) async fn ask(
    vsock: &Vsock,
    cid: u32,
    request: WorkloadRequest,
) -> Result<Box<dyn Stream>, ReadError> {
    let body = request.to_json().map_err(ReadError::Request)?;
    let frame = frame::encode(&body, MAX_WORKLOAD_REQUEST_LEN).map_err(ReadError::Frame)?;
    let mut stream = vsock.connect(cid, WORKLOAD_PORT).await.map_err(ReadError::Connect)?;
    stream.write_all(&frame).await.map_err(ReadError::Io)?;
    Ok(stream)
}

/// Reads the next answer.
pub(super) async fn answer(stream: &mut dyn Stream) -> Result<WorkloadResponse, ReadError> {
    let body = vsock::read_frame(stream, MAX_WORKLOAD_RESPONSE_LEN).await?;
    WorkloadResponse::parse(&body).map_err(ReadError::Response)
}

impl From<ReadFrameError> for ReadError {
    fn from(err: ReadFrameError) -> Self {
        match err {
            ReadFrameError::Frame(source) => Self::Frame(source),
            ReadFrameError::Io(source) => Self::Io(source),
        }
    }
}

/// Why nothing more is read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("the enclave answers something else than was asked for")]
    Another,
    #[error(transparent)]
    Connect(ConnectError),
    #[error("the enclave's answer is not a frame of the workload protocol")]
    Frame(#[source] FrameError),
    #[error("the connection broke")]
    Io(#[source] io::Error),
    #[error(transparent)]
    Refused(WorkloadRefusal),
    #[error("the question cannot be put")]
    Request(#[source] WorkloadRequestError),
    #[error("the enclave's answer is not a response of the workload protocol")]
    Response(#[source] WorkloadResponseError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_has_its_share_of_entries_and_the_next_one_has_its_own() {
        let start = Instant::now();
        let mut spent = Spent::since(start);
        let mut waits =
            |count: u32, at| (0..count).filter_map(|_| spent.one_more(at)).collect::<Vec<_>>();
        assert_eq!(waits(MOST_IN_PERIOD - 1, start), []);
        assert_eq!(waits(1, start), [start + PERIOD]);
        assert_eq!(waits(MOST_IN_PERIOD, start + PERIOD), [start + PERIOD * 2]);
        assert_eq!(waits(MOST_IN_PERIOD - 1, start + PERIOD * 10), []);
    }
}
