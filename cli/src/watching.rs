//! What to print next while an enclave is on its way.
//!
//! Pure: snapshots of a record go in, lines come out. The record holds the time of every phase, so
//! that a phase which came and went between two looks is told too.

use crate::{instant, render::PHASES, view::RecordView};
use bailey_model::{
    Generation, Status, UnixMillis,
    projection::{Deployment, ProgressView, Projection},
};
use std::{collections::BTreeSet, time::Duration};

/// One thing worth a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Line {
    /// A phase began.
    Phase { after: Duration, phase: String, detail: Option<String> },
    /// More of the image has been read.
    Progress { after: Duration, progress: ProgressView },
    /// Something that a person should know.
    Warning { after: Duration, text: String },
}

/// What has been told of an enclave's way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watching {
    /// From when times are counted; from the first phase when nobody says.
    start: Option<UnixMillis>,
    generation: Option<Generation>,
    told_phases: BTreeSet<String>,
    told_warnings: BTreeSet<String>,
    phase: Option<String>,
    progress: Option<ProgressView>,
}

impl Watching {
    /// Tells everything, from the first phase on.
    pub(crate) fn everything() -> Self {
        Self::default()
    }

    /// Tells what comes after a request that was written at `start`, when the record was `before`.
    pub(crate) fn after_request(before: Option<&RecordView>, start: UnixMillis) -> Self {
        let mut watching = Self { start: Some(start), ..Self::default() };
        if let Some(projection) = before.and_then(|view| view.projection.as_ref()) {
            watching.advance(projection, start);
        }
        watching
    }

    /// What is new in this snapshot.
    pub(crate) fn observe(&mut self, view: &RecordView, now: UnixMillis) -> Vec<Line> {
        match &view.projection {
            Some(projection) => self.advance(projection, now),
            None => Vec::new(),
        }
    }

    /// How long after the start `instant` is.
    pub(crate) fn after(&self, instant: UnixMillis) -> Duration {
        instant.since(self.start.unwrap_or(instant))
    }

    fn advance(&mut self, projection: &Projection, now: UnixMillis) -> Vec<Line> {
        if self.generation != Some(projection.generation) {
            *self = Self {
                start: self.start,
                generation: Some(projection.generation),
                ..Self::default()
            };
        }
        let entered = entered(&projection.deployment);
        let first = entered.first().map_or(now, |(at, _)| *at);
        self.start.get_or_insert(first);
        let mut lines = self.new_phases(projection, &entered, now);
        lines.extend(self.new_progress(projection, now));
        lines.extend(self.new_warnings(projection, now));
        lines
    }

    fn new_phases(
        &mut self,
        projection: &Projection,
        entered: &[(UnixMillis, &str)],
        now: UnixMillis,
    ) -> Vec<Line> {
        let mut lines = Vec::new();
        for (at, phase) in entered {
            if self.told_phases.insert((*phase).to_owned()) {
                lines.push(self.phase_line(phase, *at, projection));
            }
        }
        // A phase that is entered again keeps its first time in the record; so does one whose time
        // was not written.
        let changed = self.phase.as_deref() != Some(projection.phase.as_str());
        let told = self.told_phases.contains(&projection.phase);
        let again = self.phase.is_some() && lines.is_empty();
        if changed && (!told || again) {
            self.told_phases.insert(projection.phase.clone());
            lines.push(self.phase_line(&projection.phase, now, projection));
        }
        self.phase = Some(projection.phase.clone());
        // The closing line says how it ended, and why.
        lines.retain(|line| !matches!(line, Line::Phase { phase, .. } if is_end(phase)));
        lines
    }

    fn phase_line(&self, phase: &str, at: UnixMillis, projection: &Projection) -> Line {
        let detail = detail(phase, &projection.deployment);
        Line::Phase { after: self.after(at), phase: phase.to_owned(), detail }
    }

    fn new_progress(&mut self, projection: &Projection, now: UnixMillis) -> Option<Line> {
        let progress = projection.deployment.progress.filter(|_| projection.phase == "FETCHING")?;
        if self.progress.replace(progress) == Some(progress) {
            return None;
        }
        Some(Line::Progress { after: self.after(now), progress })
    }

    fn new_warnings(&mut self, projection: &Projection, now: UnixMillis) -> Vec<Line> {
        let mut lines = Vec::new();
        for text in &projection.deployment.warnings {
            if self.told_warnings.insert(text.clone()) {
                lines.push(Line::Warning { after: self.after(now), text: text.clone() });
            }
        }
        lines
    }
}

/// The phases with a readable time, earliest first; those of one instant in their usual order.
pub(crate) fn entered(deployment: &Deployment) -> Vec<(UnixMillis, &str)> {
    let mut entered: Vec<_> = deployment
        .phases
        .iter()
        .filter_map(|(phase, at)| Some((instant::parse(at)?, phase.as_str())))
        .collect();
    let place = |phase: &str| PHASES.iter().position(|known| *known == phase);
    entered.sort_by_key(|(at, phase)| (*at, place(phase)));
    entered
}

fn is_end(phase: &str) -> bool {
    matches!(phase, "DESTROYED" | "FAILED")
}

fn detail(phase: &str, deployment: &Deployment) -> Option<String> {
    match phase {
        "JOINING" | "LAUNCHING" => {
            let launched = deployment.instance_type.as_ref()?;
            Some(match &deployment.requested_instance_type {
                Some(asked) => format!("{launched} ({asked} was asked for)"),
                None => launched.clone(),
            })
        }
        "BOOTING" => {
            let instance = deployment.instance_id.as_ref()?;
            Some(match &deployment.availability_zone {
                Some(zone) => format!("{instance} in {zone}"),
                None => instance.clone(),
            })
        }
        "ATTESTING" => deployment.enclave_cid.map(|cid| format!("enclave CID {cid}")),
        _ => None,
    }
}

/// How far a watch is from what it waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Progress {
    /// It has not ended yet.
    Continue,
    /// It ended in another way than hoped.
    Missed,
    /// What was waited for is there.
    Reached,
}

/// Judges a status against those that are waited for; none means any good end.
pub(crate) fn progress(until: &[Status], status: Option<Status>) -> Progress {
    match status {
        Some(status) if until.contains(&status) => Progress::Reached,
        Some(Status::Failed) => Progress::Missed,
        Some(status) if until.is_empty() && status.is_terminal() => Progress::Reached,
        Some(Status::Destroyed) => Progress::Missed,
        // A status that this version does not know is no end that it could explain.
        None | Some(_) => Progress::Continue,
    }
}

#[cfg(test)]
mod tests;
