//! The builder's command line, for the program of its own and for whoever embeds it.

use crate::build::{
    self, BuildError, BuildOptions, BuiltImage, FIXED_BUILD_TIME, ImagePath, ImagePathError,
    Kernel, KernelError, Profile, WorkloadFile,
};
use clap::Args;
use std::{path::PathBuf, str::FromStr};

/// Builds an enclave image and its manifest (`FILE.manifest.json`).
#[derive(Args, Clone, Debug)]
pub struct BuildArgs {
    /// Kernel profile: `aws` for real enclaves, `local` for emulation.
    #[arg(long, value_name = "PROFILE", default_value = "aws")]
    pub profile: Profile,
    /// Where the kernel is: for `aws` nitro-cli's directory of blobs, for `local` what
    /// `fetch-kernel` made.
    #[arg(long, value_name = "DIR")]
    pub kernel_dir: PathBuf,
    /// The static `keep` binary.
    #[arg(long, value_name = "PATH")]
    pub keep: PathBuf,
    /// A file of the workload: where it goes in the enclave, where it is, and its octal mode.
    #[arg(long = "add", value_name = "PATH=FILE[:MODE]")]
    pub workload: Vec<AddedFile>,
    /// Name of the image.
    #[arg(long, default_value = "bailey")]
    pub name: String,
    /// Version of the image.
    #[arg(long = "image-version", value_name = "VERSION", default_value = env!("CARGO_PKG_VERSION"))]
    pub version: String,
    /// Kernel command line; each profile has its own by default.
    #[arg(long, value_name = "TEXT")]
    pub cmdline: Option<String>,
    /// Build time for the metadata, in RFC 3339; fixed by default, for the sake of reproducibility.
    #[arg(long, value_name = "TIME", default_value = FIXED_BUILD_TIME)]
    pub build_time: String,
    /// The image to write.
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
}

impl BuildArgs {
    /// Builds what the arguments say.
    pub fn run(self) -> Result<BuiltImage, CommandError> {
        let kernel = Kernel::find(self.profile, &self.kernel_dir).map_err(CommandError::Kernel)?;
        let cmdline = self.cmdline.unwrap_or_else(|| self.profile.default_cmdline().to_owned());
        let options = BuildOptions {
            kernel,
            cmdline,
            keep: self.keep,
            workload: self.workload.into_iter().map(|added| added.0).collect(),
            name: self.name,
            version: self.version,
            build_time: self.build_time,
            output: self.output,
        };
        build::build_image(&options).map_err(CommandError::Build)
    }
}

/// A [`WorkloadFile`] as `PATH=FILE[:MODE]`; the mode is octal, 0755 by default.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AddedFile(pub WorkloadFile);

impl FromStr for AddedFile {
    type Err = AddedFileError;

    fn from_str(text: &str) -> Result<Self, AddedFileError> {
        let (path, rest) = text.split_once('=').ok_or(AddedFileError::NoFile)?;
        let (source, mode) = match rest.rsplit_once(':') {
            Some((source, mode)) => (source, parse_mode(mode)?),
            None => (rest, 0o755),
        };
        let path: ImagePath = path.parse().map_err(AddedFileError::Path)?;
        Ok(Self(WorkloadFile { path, source: source.into(), mode }))
    }
}

fn parse_mode(text: &str) -> Result<u32, AddedFileError> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err(AddedFileError::Mode { found: text.to_owned() }),
    }
}

/// Why an argument describes no file of the workload.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AddedFileError {
    /// The part after the last colon is no octal mode.
    #[error("`{found}` is not an octal mode up to 7777")]
    Mode {
        /// That part.
        found: String,
    },
    /// There is no `=`.
    #[error("PATH=FILE[:MODE] is expected")]
    NoFile,
    /// The path in the enclave is not usable. The only text that a command line shows.
    #[error(transparent)]
    Path(ImagePathError),
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The image was not built.
    #[error("no image was built")]
    Build(#[source] BuildError),
    /// There is no usable kernel.
    #[error("no kernel for this profile")]
    Kernel(#[source] KernelError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_given_with_or_without_a_mode() {
        let parse = |text: &str| {
            text.parse::<AddedFile>()
                .map(|AddedFile(file)| (file.path.to_string(), file.source, file.mode))
        };
        assert_eq!(parse("/app=./app"), Ok(("/app".into(), "./app".into(), 0o755)));
        assert_eq!(parse("etc/app=/x/app:0600"), Ok(("/etc/app".into(), "/x/app".into(), 0o600)));
        assert_eq!(parse("/app"), Err(AddedFileError::NoFile));
        assert_eq!(parse("/app=x:rw"), Err(AddedFileError::Mode { found: "rw".into() }));
        assert!(matches!(parse("/init=x"), Err(AddedFileError::Path(_))));
    }
}
