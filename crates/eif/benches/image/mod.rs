//! Large images for benchmarks.

use bailey_eif::{Architecture, BuildMetadata, ImageMetadata, ImageParts, write};
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

pub(crate) const MIB: u64 = 1 << 20;

/// An image with two ramdisks of these sizes; with none of a second, it has only one.
pub(crate) fn image(directory: &Path, first_bytes: u64, second_bytes: u64) -> PathBuf {
    let text = || "bench".to_owned();
    let build_metadata = BuildMetadata {
        build_time: text(),
        build_tool: text(),
        build_tool_version: text(),
        operating_system: text(),
        kernel_version: text(),
    };
    let metadata = ImageMetadata {
        image_name: text(),
        image_version: text(),
        build_metadata,
        docker_info: serde_json::Value::Null,
        custom_metadata: serde_json::Value::Null,
    };
    let sizes = [first_bytes, second_bytes].into_iter().filter(|bytes| *bytes > 0);
    let parts = ImageParts {
        kernel: Noise::new(1).take(8 * MIB),
        cmdline: "console=ttyS0",
        ramdisks: sizes.zip(2..).map(|(bytes, seed)| Noise::new(seed).take(bytes)).collect(),
        metadata: &metadata,
        architecture: Architecture::X86_64,
    };
    let path = directory.join("bench.eif");
    let mut file = File::create(&path).unwrap();
    write(parts, &mut file).unwrap();
    // Writing back would disturb what is measured.
    file.sync_all().unwrap();
    path
}

/// Bytes without a pattern that hardware could use.
struct Noise(u64);

impl Noise {
    fn new(seed: u64) -> Self {
        Self(seed)
    }
}

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for word in buffer.chunks_mut(8) {
            // Xorshift, with the shifts of Marsaglia (2003).
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            word.copy_from_slice(self.0.to_le_bytes().get(..word.len()).unwrap());
        }
        Ok(buffer.len())
    }
}
