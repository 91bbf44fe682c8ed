//! What people read: pure functions from data to text.

mod events;
mod history;
mod inspection;
mod instants;
mod layout;
mod list;
mod measurement;
mod record;
mod report;
mod verification;
mod way;

pub(crate) use events::{event, missed};
pub(crate) use history::{Saved, history, saved};
pub(crate) use inspection::{inspection, inspection_json};
pub(crate) use instants::instants;
pub(crate) use list::list;
pub(crate) use measurement::{description, measurement};
pub(crate) use record::record;
pub(crate) use report::{Form, report};
pub(crate) use verification::verification;
pub(crate) use way::{closing, line};

use bailey_attestation::Outcome;
use bailey_model::{Pcr, PcrSet, report::Verdict};

/// The phases in the order in which an enclave goes through them.
pub(crate) const PHASES: [&str; 17] = [
    "ACCEPTED",
    "JOINING",
    "LAUNCHING",
    "BOOTING",
    "FETCHING",
    "ALLOCATING",
    "STARTING",
    "ATTESTING",
    "VERIFYING",
    "REATTESTING",
    "RUNNING",
    "DEGRADED",
    "DRAINING",
    "TERMINATING",
    "DESTROYED",
    "REFUSED",
    "FAILED",
];

fn meaning(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Authentic => {
            "signed by a trusted root and bound to this host; nobody independent says what it \
             should measure"
        }
        Verdict::Debug => "runs in debug mode: its memory can be read, its measurements are zero",
        Verdict::Verified => "authentic, and measures what was demanded",
    }
}

fn mark(outcome: Outcome) -> char {
    match outcome {
        Outcome::Failed => '✗',
        Outcome::NotChecked | Outcome::Waived => '–',
        Outcome::Passed => '✓',
    }
}

/// One line per register, the zero ones above PCR2 summed up in one.
fn registers(pcrs: &PcrSet) -> Vec<(String, String)> {
    let shown = |(index, pcr): &(&u8, &Pcr)| **index <= 2 || !pcr.is_zero();
    let (told, zero): (Vec<_>, Vec<_>) = pcrs.iter().partition(shown);
    let mut lines: Vec<_> =
        told.into_iter().map(|(index, pcr)| (format!("PCR{index}"), pcr.to_string())).collect();
    if !zero.is_empty() {
        lines.push(("others".to_owned(), format!("{} registers are zero", zero.len())));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_registers_above_pcr2_are_summed_up() {
        let pcrs = PcrSet::from([(0, Pcr([0; 48])), (4, Pcr([7; 48])), (5, Pcr([0; 48]))]);
        let zero = "00".repeat(48);
        let expected = [
            ("PCR0", zero.as_str()),
            ("PCR4", &"07".repeat(48)),
            ("others", "1 registers are zero"),
        ];
        let lines = registers(&pcrs);
        let lines: Vec<_> = lines.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(lines, expected);
    }
}
