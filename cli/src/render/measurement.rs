//! The measurements of an image file.

use super::layout::section;
use bailey_eif::Measurement;
use serde_json::{Map, Value, json};

/// The measurements in the words of `nitro-cli describe-eif`, for people.
pub(crate) fn measurement(measurement: &Measurement) -> String {
    let pcrs: Vec<_> = measurement
        .pcrs()
        .into_iter()
        .map(|(index, pcr)| (format!("PCR{index}"), pcr.to_string()))
        .collect();
    let signed = if measurement.is_signed() { "yes (signature not verified)" } else { "no" };
    let file = [
        ("size", format!("{} bytes", measurement.size_bytes)),
        ("sections", measurement.sections.len().to_string()),
        ("signed", signed.to_owned()),
    ];
    let text = section("Measurements", &pcrs) + &section("File", &file);
    text.trim_start().to_owned()
}

/// The same as JSON, with the field names of `nitro-cli describe-eif`.
pub(crate) fn description(measurement: &Measurement) -> Value {
    let mut registers = Map::new();
    registers.insert("HashAlgorithm".to_owned(), HASH_ALGORITHM.into());
    for (index, pcr) in measurement.pcrs() {
        registers.insert(format!("PCR{index}"), pcr.to_string().into());
    }
    json!({
        "Measurements": registers,
        "IsSigned": measurement.is_signed(),
        "CheckCRC": true,
        "SizeBytes": measurement.size_bytes,
        "Metadata": measurement.metadata,
    })
}

/// As `nitro-cli build-enclave` writes it.
const HASH_ALGORITHM: &str = "Sha384 { ... }";

#[cfg(test)]
mod tests {
    use super::*;
    use bailey_eif::Architecture;
    use bailey_model::Pcr;

    fn example(pcr8: Option<Pcr>) -> Measurement {
        Measurement {
            pcr0: Pcr([0xa0; 48]),
            pcr1: Pcr([0xa1; 48]),
            pcr2: Pcr([0xa2; 48]),
            pcr8,
            size_bytes: 4_096,
            architecture: Architecture::X86_64,
            sections: Vec::new(),
            metadata: None,
        }
    }

    #[test]
    fn people_read_each_register_on_its_line() {
        let expected = "\
Measurements
  PCR0  $0
  PCR1  $1
  PCR2  $2
  PCR8  $8

File
  size      4096 bytes
  sections  0
  signed    yes (signature not verified)
"
        .replace("$0", &"a0".repeat(48))
        .replace("$1", &"a1".repeat(48))
        .replace("$2", &"a2".repeat(48))
        .replace("$8", &"a8".repeat(48));
        assert_eq!(measurement(&example(Some(Pcr([0xa8; 48])))), expected);
    }

    #[test]
    fn programs_read_nitro_clis_names() {
        let json = description(&example(None));
        assert_eq!(json["Measurements"]["PCR2"], "a2".repeat(48));
        assert_eq!(json["Measurements"]["HashAlgorithm"], "Sha384 { ... }");
        assert_eq!(json["Measurements"].get("PCR8"), None);
        assert_eq!(json["IsSigned"], false);
    }
}
