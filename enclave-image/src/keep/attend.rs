//! Answering what a parent asks about the workload: its output, and its health.

use super::{
    chain,
    output::{Next, Ring},
    probe::Prober,
    serve::{ConverseError, Peer, Service},
};
use bailey_vsock::{
    frame::FrameError,
    workload::{
        MAX_WORKLOAD_REQUEST_LEN, MAX_WORKLOAD_RESPONSE_LEN, WorkloadRefusalCode, WorkloadRequest,
        WorkloadResponse,
    },
};
use std::{io, sync::Arc};

/// Answers the workload protocol.
#[derive(Debug)]
pub(super) struct Attendant {
    ring: Arc<Ring>,
    prober: Prober,
}

impl Attendant {
    pub(super) fn new(ring: Arc<Ring>, prober: Prober) -> Self {
        Self { ring, prober }
    }

    /// Sends what there is and what comes, until the peer leaves or nothing comes any more.
    fn follow(&self, peer: &mut Peer, after: Option<u64>) -> Result<(), ConverseError> {
        let mut reader = self.ring.reader(after).map_err(ConverseError::System)?;
        loop {
            reader.clear();
            loop {
                match reader.next() {
                    Next::Entry(entry) => send(peer, &WorkloadResponse::Entry(entry))?,
                    Next::Wait => break,
                    Next::Closed => {
                        peer.finish();
                        reader.delivered();
                        return Ok(());
                    }
                }
            }
            let Some(wake) = reader.wake() else { return Ok(()) };
            if !peer.wait_for(wake).map_err(ConverseError::System)? {
                return Ok(());
            }
        }
    }
}

impl Service for Attendant {
    fn converse(&self, peer: &mut Peer) -> Result<(), ConverseError> {
        loop {
            let body = match peer.read(MAX_WORKLOAD_REQUEST_LEN) {
                Ok(Some(body)) => body,
                Ok(None) => return Ok(()),
                Err(err @ FrameError::TooLong { .. }) => return refuse(peer, err.to_string()),
                Err(err) => return Err(ConverseError::Frame(err)),
            };
            match WorkloadRequest::parse(&body) {
                Ok(WorkloadRequest::Health) => {
                    send(peer, &WorkloadResponse::Health(self.prober.health()))?;
                }
                Ok(WorkloadRequest::Output { after }) => return self.follow(peer, after),
                Err(err) => return refuse(peer, chain(&err)),
            }
        }
    }

    fn turned_away(&self, message: String) -> Option<Vec<u8>> {
        WorkloadResponse::refused(WorkloadRefusalCode::Busy, message).to_json().ok()
    }
}

fn refuse(peer: &mut Peer, message: String) -> Result<(), ConverseError> {
    send(peer, &WorkloadResponse::refused(WorkloadRefusalCode::InvalidRequest, message))
}

fn send(peer: &mut Peer, response: &WorkloadResponse) -> Result<(), ConverseError> {
    let body = response.to_json().map_err(|err| ConverseError::Response(err.into()))?;
    // The limit is the protocol's; what exceeds it is a mistake of ours, and says so.
    peer.write(&body, MAX_WORKLOAD_RESPONSE_LEN)
}

/// Copies the workload's lines to the console, leaving out those that it is too slow for.
pub(super) fn copy_to_console(ring: &Arc<Ring>, mut console: impl io::Write) -> io::Result<()> {
    let mut reader = ring.reader(None)?;
    loop {
        reader.clear();
        loop {
            match reader.next() {
                Next::Entry(entry) => super::logger::copy_entry(&entry, &mut console)?,
                Next::Wait => break,
                Next::Closed => return Ok(()),
            }
        }
        reader.wait()?;
    }
}
