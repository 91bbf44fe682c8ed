//! What nitro-cli 1.5.2 prints on standard output, field by field.

use std::collections::BTreeMap;

use bailey_eif::{ImageMetadata, Measurement};
use serde::{Deserialize, Serialize};

/// The answer to `run-enclave`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct RunInfo {
    /// The enclave's name.
    #[serde(rename = "EnclaveName")]
    pub enclave_name: String,
    /// `<instance id>-enc<slot in hex>`.
    #[serde(rename = "EnclaveID")]
    pub enclave_id: String,
    /// The process that runs the enclave.
    #[serde(rename = "ProcessID")]
    pub process_id: u32,
    /// The enclave's CID.
    #[serde(rename = "EnclaveCID")]
    pub enclave_cid: u32,
    /// How many CPUs it has.
    #[serde(rename = "NumberOfCPUs")]
    pub cpu_count: usize,
    /// Which CPUs it has.
    #[serde(rename = "CPUIDs")]
    pub cpu_ids: Vec<u32>,
    /// The memory that it was given, in MiB: whole pages, so maybe more than asked for.
    #[serde(rename = "MemoryMiB")]
    pub memory_mib: u32,
}

/// One element of the answer to `describe-enclaves`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DescribeInfo {
    /// What `run-enclave` said.
    #[serde(flatten)]
    pub run: RunInfo,
    /// `RUNNING`, `TERMINATING` or `EMPTY`.
    #[serde(rename = "State")]
    pub state: &'static str,
    /// `DEBUG_MODE` or `NONE`.
    #[serde(rename = "Flags")]
    pub flags: &'static str,
    /// The image's registers, also in debug mode, where the enclave's own are zeros.
    #[serde(rename = "Measurements")]
    pub measurements: BTreeMap<String, String>,
    /// The image's name and so on, when `--metadata` asked for them.
    #[serde(flatten)]
    pub image: Option<ImageInfo>,
}

/// The answer to `terminate-enclave`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct TerminateInfo {
    /// The enclave's name.
    #[serde(rename = "EnclaveName")]
    pub enclave_name: String,
    /// The enclave's id.
    #[serde(rename = "EnclaveID")]
    pub enclave_id: String,
    /// Whether it has ended.
    #[serde(rename = "Terminated")]
    pub terminated: bool,
}

/// The answer to `describe-eif`.
///
/// Without `SigningCertificate` and `SignatureCheck`, which the real one has for signed images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EifInfo {
    /// The version of the format.
    #[serde(rename = "EifVersion")]
    pub version: u16,
    /// The image's registers.
    #[serde(rename = "Measurements")]
    pub measurements: BTreeMap<String, String>,
    /// Whether the image is signed.
    #[serde(rename = "IsSigned")]
    pub is_signed: bool,
    /// Whether the checksum is right.
    #[serde(rename = "CheckCRC")]
    pub check_crc: bool,
    /// The image's name and so on, when it says them.
    #[serde(flatten)]
    pub image: Option<ImageInfo>,
}

/// What an image says about itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ImageInfo {
    /// The image's name.
    #[serde(rename = "ImageName")]
    pub name: String,
    /// The image's version.
    #[serde(rename = "ImageVersion")]
    pub version: String,
    /// How it was built.
    #[serde(rename = "Metadata")]
    pub metadata: MetadataInfo,
}

/// The build metadata as nitro-cli shows them: flat.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MetadataInfo {
    /// When the image was built, RFC 3339.
    pub build_time: String,
    /// What built it.
    pub build_tool: String,
    /// The version of that.
    pub build_tool_version: String,
    /// The image's operating system.
    pub operating_system: String,
    /// The image's kernel.
    pub kernel_version: String,
    /// The container image's configuration, or null.
    pub docker_info: serde_json::Value,
}

impl ImageInfo {
    /// What the metadata section of an image says, if it has the usual shape.
    #[must_use]
    pub fn from_metadata(metadata: &serde_json::Value) -> Option<Self> {
        let ImageMetadata { image_name, image_version, build_metadata, docker_info, .. } =
            serde_json::from_value(metadata.clone()).ok()?;
        Some(Self {
            name: image_name,
            version: image_version,
            metadata: MetadataInfo {
                build_time: build_metadata.build_time,
                build_tool: build_metadata.build_tool,
                build_tool_version: build_metadata.build_tool_version,
                operating_system: build_metadata.operating_system,
                kernel_version: build_metadata.kernel_version,
                docker_info,
            },
        })
    }
}

/// The registers of a measured image as nitro-cli names them, with the hash's name as version 1.5.2
/// prints it.
#[must_use]
pub fn measurements(measured: &Measurement) -> BTreeMap<String, String> {
    let algorithm = ("HashAlgorithm".to_owned(), "Sha512_48 { .. }".to_owned());
    let pcrs = measured.pcrs();
    let pcrs = pcrs.iter().map(|(index, value)| (format!("PCR{index}"), value.to_string()));
    std::iter::once(algorithm).chain(pcrs).collect()
}

/// JSON as nitro-cli prints it: indented by two spaces.
pub(crate) fn pretty(value: &impl Serialize) -> String {
    // Nothing printed here has keys that are no strings, which is all that can fail.
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_info() -> RunInfo {
        RunInfo {
            enclave_name: "test".to_owned(),
            enclave_id: "i-0123456789abcdef0-enc18cb6ee2b9e7cb4".to_owned(),
            process_id: 4_711,
            enclave_cid: 16,
            cpu_count: 2,
            cpu_ids: vec![1, 3],
            memory_mib: 1_024,
        }
    }

    #[test]
    fn run_enclave_prints_the_fields_of_the_real_one_in_its_order() {
        let expected = r#"{
  "EnclaveName": "test",
  "EnclaveID": "i-0123456789abcdef0-enc18cb6ee2b9e7cb4",
  "ProcessID": 4711,
  "EnclaveCID": 16,
  "NumberOfCPUs": 2,
  "CPUIDs": [
    1,
    3
  ],
  "MemoryMiB": 1024
}"#;
        assert_eq!(pretty(&run_info()), expected);
    }

    #[test]
    fn describe_enclaves_has_state_flags_and_measurements() {
        let info = DescribeInfo {
            run: run_info(),
            state: "RUNNING",
            flags: "DEBUG_MODE",
            measurements: [("PCR0".to_owned(), "00".to_owned())].into(),
            image: None,
        };
        let json = serde_json::to_value([info]).unwrap();
        assert_eq!(
            json,
            serde_json::json!([{
                "EnclaveName": "test",
                "EnclaveID": "i-0123456789abcdef0-enc18cb6ee2b9e7cb4",
                "ProcessID": 4711, "EnclaveCID": 16, "NumberOfCPUs": 2, "CPUIDs": [1, 3],
                "MemoryMiB": 1024, "State": "RUNNING", "Flags": "DEBUG_MODE",
                "Measurements": {"PCR0": "00"},
            }])
        );
    }

    #[test]
    fn terminate_enclave_says_who_ended() {
        let info = TerminateInfo {
            enclave_name: "test".to_owned(),
            enclave_id: "i-0-enc1".to_owned(),
            terminated: true,
        };
        let expected = r#"{"EnclaveName":"test","EnclaveID":"i-0-enc1","Terminated":true}"#;
        assert_eq!(serde_json::to_string(&info).unwrap(), expected);
    }

    #[test]
    fn metadata_are_shown_flat() {
        let metadata = serde_json::json!({
            "ImageName": "n", "ImageVersion": "1",
            "BuildMetadata": {"BuildTime": "t", "BuildTool": "b", "BuildToolVersion": "2",
                "OperatingSystem": "Linux", "KernelVersion": "6.12"},
            "DockerInfo": null, "CustomMetadata": null,
        });
        let info = ImageInfo::from_metadata(&metadata).unwrap();
        assert_eq!(
            serde_json::to_value(info).unwrap(),
            serde_json::json!({
                "ImageName": "n", "ImageVersion": "1",
                "Metadata": {"BuildTime": "t", "BuildTool": "b", "BuildToolVersion": "2",
                    "OperatingSystem": "Linux", "KernelVersion": "6.12", "DockerInfo": null},
            })
        );
    }
}
