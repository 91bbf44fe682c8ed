//! Building an enclave image: kernel, `keep`, a workload, and nothing that varies.
//!
//! Same inputs, same bytes: entries are sorted, times are fixed, owners are root, and neither the
//! machine's paths nor its clock get in. The image is written beside its final name, read back,
//! measured, and renamed when all of that went well; its manifest follows.

mod container;
mod files;
mod image_path;
mod kernel;
mod plan;
mod ramdisk;
mod tree;

pub use container::ContainerError;
pub use files::{FilesError, WorkloadFile};
pub use image_path::{ImagePath, ImagePathError};
pub use kernel::{Kernel, KernelError, Profile};
pub use plan::{Changes, Content, PlanError};
pub use ramdisk::RamdiskError;

pub(crate) use ramdisk::PROFILE_PATH;

use bailey_eif::{
    Architecture, BuildMetadata, ImageMetadata, ImageParts, Measurement, ReadError, SignError,
    WriteError, append_signature,
};
use bailey_model::{
    Pcr,
    manifest::{Manifest, Measurements},
};
use std::{
    fs::{self, File},
    io::{self, Seek as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// The build time in the metadata unless the caller gives one: a time that never changes.
pub const FIXED_BUILD_TIME: &str = "1970-01-01T00:00:00+00:00";

/// What to build.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// The kernel and its modules.
    pub kernel: Kernel,
    /// The kernel command line; [`Profile::default_cmdline`] is the usual one.
    pub cmdline: String,
    /// The static `keep` binary, which becomes `/keep` and `/init`.
    pub keep: PathBuf,
    /// Files of the workload, in a ramdisk of their own that PCR2 measures. May be empty.
    pub workload: Vec<WorkloadFile>,
    /// What else the workload consists of, and how it is started.
    pub content: Content,
    /// Name of the image, for the metadata and the manifest.
    pub name: String,
    /// Version of the image, for the metadata and the manifest.
    pub version: String,
    /// Build time in the metadata, in RFC 3339; usually [`FIXED_BUILD_TIME`].
    pub build_time: String,
    /// Where the image goes; its manifest goes to [`manifest_path`] of it.
    pub output: PathBuf,
}

/// What was built.
#[derive(Clone, Debug)]
pub struct BuiltImage {
    /// What the written file measures to.
    pub measurement: Measurement,
    /// What was written beside it.
    pub manifest: Manifest,
}

/// Builds the image and its manifest; on failure, what stood at their names stays.
pub fn build_image(options: &BuildOptions) -> Result<BuiltImage, BuildError> {
    let directory = match options.output.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let failed = |source| BuildError::Output { path: options.output.clone(), source };
    let mut image = temporary(directory).map_err(failed)?;
    write_image(options, directory, image.as_file_mut())?;
    if let Some(signer) = &options.content.signer {
        let (unsigned, _) = measure(image.as_file_mut())?;
        let section = signer.section(&unsigned.pcr0).map_err(BuildError::Sign)?;
        append_signature(image.as_file_mut(), &section).map_err(BuildError::Measure)?;
    }
    let (measurement, sha384) = measure(image.as_file_mut())?;
    let manifest = manifest(options, &measurement, sha384);
    image.as_file().sync_all().map_err(failed)?;
    image.persist(&options.output).map_err(|err| failed(err.error))?;
    write_manifest(&manifest, directory, &manifest_path(&options.output))?;
    Ok(BuiltImage { measurement, manifest })
}

fn write_image(
    options: &BuildOptions,
    directory: &Path,
    target: &mut File,
) -> Result<(), BuildError> {
    let mut ramdisks = vec![ramdisk::base(&options.keep, &options.kernel)];
    let content = plan::content(&options.content, &options.workload, directory);
    ramdisks.extend(content.map_err(BuildError::Content)?);
    let mut files = Vec::with_capacity(ramdisks.len());
    for tree in ramdisks {
        let path = directory.to_owned();
        let mut file = tempfile::tempfile_in(directory)
            .map_err(|source| BuildError::Output { path, source })?;
        ramdisk::write(&tree, &mut file).map_err(BuildError::Ramdisk)?;
        file.rewind().map_err(BuildError::Scratch)?;
        files.push(file);
    }
    let path = &options.kernel.image;
    let kernel =
        File::open(path).map_err(|source| BuildError::OpenKernel { path: path.clone(), source })?;
    let parts = ImageParts {
        kernel,
        cmdline: &options.cmdline,
        ramdisks: files,
        metadata: &metadata(options),
        architecture: Architecture::X86_64,
    };
    bailey_eif::write(parts, target).map_err(BuildError::Write)
}

fn metadata(options: &BuildOptions) -> ImageMetadata {
    ImageMetadata {
        image_name: options.name.clone(),
        image_version: options.version.clone(),
        build_metadata: BuildMetadata {
            build_time: options.build_time.clone(),
            build_tool: env!("CARGO_PKG_NAME").to_owned(),
            build_tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            operating_system: "Linux".to_owned(),
            kernel_version: options.kernel.version.clone(),
        },
        docker_info: serde_json::Value::Null,
        custom_metadata: serde_json::Value::Null,
    }
}

/// Reads the written image back: its measurement, and the SHA-384 of the whole file.
fn measure(image: &mut File) -> Result<(Measurement, Pcr), BuildError> {
    let failed = |source| BuildError::Measure(ReadError::Io(source));
    image.rewind().map_err(failed)?;
    bailey_eif::measure_file_with_sha384(image).map_err(BuildError::Measure)
}

fn manifest(options: &BuildOptions, measured: &Measurement, eif_sha384: Pcr) -> Manifest {
    Manifest {
        name: options.name.clone(),
        version: options.version.clone(),
        profile: options.kernel.profile.to_string(),
        measurements: Measurements {
            pcr0: measured.pcr0,
            pcr1: measured.pcr1,
            pcr2: measured.pcr2,
            pcr8: measured.pcr8,
        },
        eif_sha384,
        size_bytes: measured.size_bytes,
    }
}

/// Where the manifest of the image at `image` is: the same name with `.manifest.json` after it.
#[must_use]
pub fn manifest_path(image: &Path) -> PathBuf {
    let mut path = image.as_os_str().to_owned();
    path.push(".manifest.json");
    PathBuf::from(path)
}

fn write_manifest(manifest: &Manifest, directory: &Path, path: &Path) -> Result<(), BuildError> {
    let mut json = serde_json::to_vec_pretty(manifest).map_err(BuildError::Manifest)?;
    json.push(b'\n');
    let failed = |source| BuildError::Output { path: path.to_owned(), source };
    let mut file = temporary(directory).map_err(failed)?;
    file.write_all(&json).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(path).map(drop).map_err(|err| failed(err.error))
}

/// A file that everybody may read once it has its name, and that vanishes if it never gets one.
fn temporary(directory: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o644)).tempfile_in(directory)
}

/// Why no image was built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The workload cannot become part of an image.
    #[error("the workload cannot be used")]
    Content(#[source] PlanError),
    /// The manifest cannot be written as JSON.
    #[error("cannot write the manifest as JSON")]
    Manifest(#[source] serde_json::Error),
    /// The image that was just written does not measure.
    #[error("cannot measure the image that was built")]
    Measure(#[source] ReadError),
    /// The kernel cannot be opened.
    #[error("cannot open the kernel {}", path.display())]
    OpenKernel {
        /// The kernel.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The output cannot be written.
    #[error("cannot write {}", path.display())]
    Output {
        /// What was to be written.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A ramdisk cannot be made.
    #[error("cannot make a ramdisk")]
    Ramdisk(#[source] RamdiskError),
    /// A ramdisk's temporary file cannot be used.
    #[error("cannot use a temporary file")]
    Scratch(#[source] io::Error),
    /// The image cannot be signed.
    #[error("cannot sign the image")]
    Sign(#[source] SignError),
    /// The image cannot be laid out.
    #[error("cannot lay the image out")]
    Write(#[source] WriteError),
}

#[cfg(test)]
mod tests;
