//! What goes on beside the loop: reading the desired state, writing reports and heartbeats.
//!
//! Each is a task of its own, so that an unreachable table delays nothing but itself. None gives
//! up: enclaves keep running meanwhile, and the newest report is written once the table is back.

use crate::{config::Pace, ports::HostsTable};
use bailey_model::hosts::{Beat, Desired, FetchProgress, Observed, Traffic};
use std::{error::Error, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Where the heartbeat takes the progress of long work from.
pub trait ProgressSource: Send + Sync + 'static {
    /// Fetches that are under way.
    fn progress(&self) -> Vec<FetchProgress>;
    /// What running enclaves have said and heard.
    fn traffic(&self) -> Vec<Traffic> {
        Vec::new()
    }
}

/// Fetches, and the traffic beside them.
impl ProgressSource for (crate::image::ProgressBoard, crate::network::FiguresBoard) {
    fn progress(&self) -> Vec<FetchProgress> {
        self.0.progress()
    }

    fn traffic(&self) -> Vec<Traffic> {
        self.1.traffic()
    }
}

impl ProgressSource for crate::image::ProgressBoard {
    fn progress(&self) -> Vec<FetchProgress> {
        Self::progress(self)
    }
}

/// Reads the desired state again and again, more often while the host is not settled.
pub(crate) async fn follow<T: HostsTable>(
    table: Arc<T>,
    pace: Pace,
    mut settled: watch::Receiver<bool>,
    found: mpsc::Sender<Desired>,
) {
    let mut complaint = Complaint::default();
    loop {
        match table.desired().await {
            Ok(desired) => {
                complaint.settle();
                if let Some(desired) = desired
                    && found.send(desired).await.is_err()
                {
                    return;
                }
            }
            Err(err) => complaint.voice_error("desired state not read", &err),
        }
        let is_settled = *settled.borrow_and_update();
        let pause = if is_settled { pace.poll_idle } else { pace.poll_converging };
        tokio::select! {
            () = sleep(pause) => {}
            changed = settled.wait_for(|settled| !settled), if is_settled => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Writes each new report, the newest only; ends when nothing new can come any more.
pub(crate) async fn report<T: HostsTable>(
    table: Arc<T>,
    mut newest: watch::Receiver<Option<Observed>>,
) {
    let mut complaint = Complaint::default();
    while newest.changed().await.is_ok() {
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(observed) = newest.borrow_and_update().clone() else { break };
            let observed = Observed { reported_at: bailey_runtime::now(), ..observed };
            match table.report(&observed).await {
                Ok(()) => break complaint.settle(),
                Err(err) => complaint.voice_error("report not written", &err),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Writes the heartbeat again and again.
pub(crate) async fn beat<T: HostsTable>(
    table: Arc<T>,
    interval: Duration,
    progress: impl ProgressSource,
) {
    let mut complaint = Complaint::default();
    loop {
        let beat = Beat {
            at: bailey_runtime::now(),
            progress: progress.progress(),
            traffic: progress.traffic(),
            ..Beat::default()
        };
        match table.beat(&beat).await {
            Ok(()) => complaint.settle(),
            Err(err) => complaint.voice_error("heartbeat not written", &err),
        }
        sleep(interval).await;
    }
}

/// Tells the log of a trouble once, and of its end, however often it is met in between.
#[derive(Debug, Default)]
pub(crate) struct Complaint(Option<String>);

impl Complaint {
    /// Notes a trouble.
    pub(crate) fn voice(&mut self, what: &str, reason: &str) {
        if self.0.as_deref() != Some(reason) {
            log::warn!(error = reason; "{what}, trying again");
            self.0 = Some(reason.to_owned());
        }
    }

    fn voice_error(&mut self, what: &str, err: &dyn Error) {
        self.voice(what, &bailey_runtime::chain(err));
    }

    /// Notes that it works.
    pub(crate) fn settle(&mut self) {
        if self.0.take().is_some() {
            log::info!("the trouble has passed");
        }
    }
}
