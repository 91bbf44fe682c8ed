//! What the service manager is told: that the agent is ready, how far its enclaves are, that it lives.

use bailey_model::hosts::ObservedAssignment;
use sd_notify::NotifyState;
use std::time::Duration;

/// Tells the service manager, when there is one that listens (`NOTIFY_SOCKET`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Herald {
    watchdog: Option<Duration>,
}

impl Herald {
    /// A herald for the service manager that started this process; it tells nobody when none did.
    #[must_use]
    pub fn of_service_manager() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled() }
    }

    /// How often the loop has to say that it lives: three times as often as the manager demands.
    #[must_use]
    pub fn period(self) -> Option<Duration> {
        self.watchdog.map(|demanded| demanded / 3)
    }

    /// The agent does its work from now on.
    pub fn ready(self) {
        tell(NotifyState::Ready);
    }

    /// What the agent does, in a line.
    pub fn status(self, text: &str) {
        tell(NotifyState::Status(text));
    }

    /// The loop goes round.
    pub fn alive(self) {
        if self.watchdog.is_some() {
            tell(NotifyState::Watchdog);
        }
    }

    /// The agent ends, its enclaves go on.
    pub fn stopping(self) {
        tell(NotifyState::Stopping);
    }
}

fn tell(state: NotifyState<'_>) {
    // Without a manager this does nothing. One that cannot be reached is no reason to end enclaves.
    if let Err(error) = sd_notify::notify(&[state]) {
        log::warn!(error = error.to_string(); "service manager not told");
    }
}

/// The assignments in a line: `2 enclaves: enc_1 RUNNING, enc_2 FETCHING`.
#[must_use]
pub fn summary(assignments: Option<&[ObservedAssignment]>) -> String {
    let Some(assignments) = assignments else {
        return "learning what should run, and what does".to_owned();
    };
    let each = assignments.iter().map(|it| format!("{} {}", it.enclave_id, it.phase.as_str()));
    let mut each: Vec<String> = each.collect();
    each.sort();
    match each.len() {
        0 => "no enclave is wanted here".to_owned(),
        1 => format!("1 enclave: {}", each.concat()),
        count => format!("{count} enclaves: {}", each.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        assignment::Memory,
        host::Host,
        testing::{NOW, assignment},
    };
    use bailey_model::hosts::Desired;

    #[test]
    fn the_status_line_names_each_enclave_with_its_phase() {
        assert_eq!(summary(None), "learning what should run, and what does");
        assert_eq!(summary(Some(&[])), "no enclave is wanted here");
        let memories = vec![Memory::of(assignment("a", 1)), Memory::of(assignment("b", 1))];
        let mut host = Host::new(None, memories);
        let assignments = vec![assignment("a", 1), assignment("b", 1)];
        host.desire(Desired { version: 1, drain: false, assignments, pool: None });
        host.listed(host.mark(), vec![], NOW);
        host.orders(NOW);
        let (_, assignments) = host.observed().unwrap();
        assert_eq!(summary(Some(&assignments)), "2 enclaves: a FETCHING, b FETCHING");
        assert_eq!(summary(assignments.get(..1)).split(' ').nth(1), Some("enclave:"));
    }
}
