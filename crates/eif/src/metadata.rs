//! The metadata section.

use serde::{Deserialize, Serialize};

/// The largest metadata section read, in bytes. Real ones hold an image's configuration as Docker
/// prints it, a few kB; parsed JSON takes some 16 times its text in memory.
pub const MAX_METADATA_LEN: u64 = 256 * 1024;

/// What the metadata section says, in the shape that nitro-cli writes and `describe-eif` shows.
///
/// Not measured by any PCR: anybody who can write the file can change it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageMetadata {
    /// Name of the image.
    pub image_name: String,
    /// Version of the image.
    pub image_version: String,
    /// How it was built.
    pub build_metadata: BuildMetadata,
    /// The container image's configuration, or null.
    pub docker_info: serde_json::Value,
    /// Anything that the builder's user adds, or null.
    pub custom_metadata: serde_json::Value,
}

/// How an image was built.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BuildMetadata {
    /// When, in RFC 3339. Chosen by the caller: a fixed time makes builds reproducible.
    pub build_time: String,
    /// Name of the tool.
    pub build_tool: String,
    /// Version of the tool.
    pub build_tool_version: String,
    /// Operating system of the kernel, such as `Linux`.
    pub operating_system: String,
    /// Version of the kernel.
    pub kernel_version: String,
}
