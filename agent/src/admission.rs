//! Whether an image may be launched for an assignment, and what its document must show. Pure.

use crate::ports::Image;
use bailey_model::{PcrSet, failure::FailureCode, hosts::Assignment};

/// nitro-cli refuses less memory than this multiple of the image's size (E26).
const MEMORY_PER_IMAGE: u64 = 4;
const MIB: u64 = 1_024 * 1_024;
/// The registers that follow from the image alone: kernel and ramdisks, and the signer.
const IMAGE_REGISTERS: [u8; 4] = [0, 1, 2, 8];

/// Why an image may not be launched: the failure's code and message.
pub type Refusal = (FailureCode, String);

/// Checks a fetched image; `ran` is the image that an enclave of this assignment already ran.
///
/// Runs before anything is launched, in debug mode too: the file's own measurements are compared,
/// which debug mode does not zero.
pub fn check(assignment: &Assignment, ran: Option<&Image>, image: &Image) -> Result<(), Refusal> {
    let location = &assignment.eif.location;
    if let Some(difference) = difference(&assignment.expected_pcrs, &image.measurements) {
        let message = format!("{difference} in expected_pcrs, measured of {location}");
        return Err((FailureCode::MeasurementMismatch, message));
    }
    if let Some(difference) = ran.and_then(|r| difference(&r.measurements, &image.measurements)) {
        let message = format!("{difference} when the enclave was first started from {location}");
        return Err((FailureCode::MeasurementMismatch, message));
    }
    let (memory_mib, needed_mib) = (assignment.memory_mib, needed_mib(image.size_bytes));
    if u64::from(memory_mib) < needed_mib {
        let message = format!(
            "memory_mib is {memory_mib}, an image of {} bytes needs at least {needed_mib} MiB \
             ({MEMORY_PER_IMAGE} times its size)",
            image.size_bytes
        );
        return Err((FailureCode::InsufficientHostResources, message));
    }
    Ok(())
}

/// The registers that a document of the assignment must show: what the agent measured and what
/// the record demands. Empty in debug mode, where NSM shows zeros.
#[must_use]
pub fn documented(assignment: &Assignment, image: Option<&Image>) -> PcrSet {
    if assignment.debug {
        return PcrSet::new();
    }
    let mut registers = image.map(|image| image.measurements.clone()).unwrap_or_default();
    registers.extend(assignment.expected_pcrs.iter().map(|(index, pcr)| (*index, *pcr)));
    registers
}

fn difference(wanted: &PcrSet, found: &PcrSet) -> Option<String> {
    wanted.iter().filter(|(index, _)| IMAGE_REGISTERS.contains(index)).find_map(
        |(index, wanted)| match found.get(index) {
            Some(found) if found == wanted => None,
            Some(found) => Some(format!("PCR{index} is {found}, it is {wanted}")),
            None => Some(format!("PCR{index} is absent (the image is not signed), it is {wanted}")),
        },
    )
}

fn needed_mib(image_bytes: u64) -> u64 {
    image_bytes.saturating_mul(MEMORY_PER_IMAGE).div_ceil(MIB)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assignment, image};
    use bailey_model::Pcr;

    #[test]
    fn another_measurement_is_a_mismatch_in_debug_mode_too() {
        for debug in [false, true] {
            let mut assignment = assignment("a", 1);
            assignment.debug = debug;
            assignment.expected_pcrs.insert(0, Pcr([9; 48]));
            let (code, message) = check(&assignment, None, &image()).unwrap_err();
            assert_eq!(code, FailureCode::MeasurementMismatch);
            let expected = format!(
                "PCR0 is {}, it is {} in expected_pcrs, measured of s3://images/test.eif",
                Pcr([1; 48]),
                Pcr([9; 48])
            );
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn an_expected_signer_needs_a_signed_image() {
        let mut assignment = assignment("a", 1);
        assignment.expected_pcrs.insert(8, Pcr([9; 48]));
        let (code, message) = check(&assignment, None, &image()).unwrap_err();
        assert_eq!(code, FailureCode::MeasurementMismatch);
        assert!(message.starts_with("PCR8 is absent (the image is not signed)"), "{message}");
    }

    #[test]
    fn a_restart_never_runs_another_image() {
        let mut ran = image();
        ran.measurements.insert(2, Pcr([7; 48]));
        let (code, message) = check(&assignment("a", 1), Some(&ran), &image()).unwrap_err();
        assert_eq!(code, FailureCode::MeasurementMismatch);
        assert!(message.contains("when the enclave was first started"), "{message}");
    }

    #[test]
    fn memory_must_be_four_times_the_image() {
        let mut image = image();
        image.size_bytes = 256 * MIB;
        assert_eq!(check(&assignment("a", 1), None, &image), Ok(()));
        image.size_bytes += 1;
        let (code, message) = check(&assignment("a", 1), None, &image).unwrap_err();
        assert_eq!(code, FailureCode::InsufficientHostResources);
        assert_eq!(
            message,
            "memory_mib is 1024, an image of 268435457 bytes needs at least 1025 MiB \
             (4 times its size)"
        );
    }

    #[test]
    fn a_document_must_show_what_was_measured_and_what_is_expected() {
        let mut assignment = assignment("a", 1);
        assignment.expected_pcrs.insert(3, Pcr([5; 48]));
        let registers = documented(&assignment, Some(&image()));
        assert_eq!(registers.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
        assignment.debug = true;
        assert_eq!(documented(&assignment, Some(&image())), PcrSet::new());
    }
}
