//! The registers of a report, and what was expected of them.

use bailey_attestation::Outcome;
use bailey_model::{
    Pcr,
    report::{Check, PcrSource, Report, Verdict},
};
use std::collections::BTreeSet;

/// A register for a table.
pub(super) struct RegisterRow {
    pub(super) name: String,
    /// What it measures.
    pub(super) meaning: &'static str,
    pub(super) expected: Option<String>,
    pub(super) found: Option<String>,
    pub(super) outcome: Outcome,
}

/// Every register that somebody expected something of, or that is not zero; and how many are left.
pub(super) fn registers(report: &Report) -> (Vec<RegisterRow>, usize) {
    let indices: BTreeSet<_> = report.pcrs.keys().chain(report.expected_pcrs.keys()).collect();
    let told = |index: &&u8| {
        **index <= 2
            || report.expected_pcrs.contains_key(index)
            || report.pcrs.get(index).is_some_and(|pcr| !pcr.is_zero())
    };
    let (told, zero): (Vec<&u8>, Vec<&u8>) = indices.into_iter().partition(told);
    (told.into_iter().map(|index| register(report, *index)).collect(), zero.len())
}

fn register(report: &Report, index: u8) -> RegisterRow {
    let shown = |pcr: Option<&Pcr>| pcr.map(ToString::to_string);
    let (wanted, found) = (report.expected_pcrs.get(&index), report.pcrs.get(&index));
    let (outcome, expected) = match (wanted, report.verdict, bound(report, index)) {
        // Role and instance are not measured by an image, so no list of expectations has them.
        (None, _, Some(check)) => (super::outcome(&check.outcome), check.expected.clone()),
        (None, _, None) => (Outcome::Waived, None),
        (_, Some(Verdict::Debug), _) => (Outcome::NotChecked, shown(wanted)),
        _ if found.is_none() && report.pcrs.is_empty() => (Outcome::NotChecked, shown(wanted)),
        _ if wanted == found => (Outcome::Passed, shown(wanted)),
        _ => (Outcome::Failed, shown(wanted)),
    };
    let meaning = measures(index);
    RegisterRow { name: format!("PCR{index}"), meaning, expected, found: shown(found), outcome }
}

/// The check that binds a register to the host.
fn bound(report: &Report, index: u8) -> Option<&Check> {
    let name = match index {
        3 => "role_pcr",
        4 => "instance_pcr",
        _ => return None,
    };
    report.checks.iter().find(|check| check.name == name)
}

/// What a register measures, by AWS's documentation of Nitro Enclaves.
fn measures(index: u8) -> &'static str {
    match index {
        0 => "the whole image",
        1 => "kernel and boot files",
        2 => "the application",
        3 => "the role of the parent instance",
        4 => "the parent instance",
        8 => "the certificate that signed the image",
        _ => "",
    }
}

/// Who says what the registers should hold.
pub(super) fn expectation(report: &Report) -> &'static str {
    match report.pcr_source {
        _ if report.expected_pcrs.is_empty() => "Nobody said what the measurements should be.",
        PcrSource::Agent => "The host measured the image itself; these are its expectations.",
        PcrSource::Manifest => "The expectations come from a signed manifest of the image.",
        PcrSource::Record => "The expectations were given with the request to deploy.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registers_of_role_and_instance_are_held_against_the_host() {
        let mut report = super::super::tests::example();
        report.pcrs.insert(4, Pcr([7; 48]));
        let fourth = |report: &Report| {
            let row = registers(report).0.into_iter().find(|row| row.name == "PCR4").unwrap();
            (row.outcome, row.expected)
        };
        assert_eq!(fourth(&report), (Outcome::Waived, None));
        report.checks.push(Check {
            name: "instance_pcr".to_owned(),
            outcome: "passed".to_owned(),
            expected: Some("07".to_owned()),
            found: Some("07".to_owned()),
        });
        assert_eq!(fourth(&report), (Outcome::Passed, Some("07".to_owned())));
    }
}
