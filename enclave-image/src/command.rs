//! The builder's command line, for the program of its own and for whoever embeds it.

mod parts;

pub use parts::{AddedFile, AddedFileError, HttpProbe, HttpProbeError, Variable, VariableError};

use crate::{
    build::{
        self, BuildError, BuildOptions, BuiltImage, Changes, Content, FIXED_BUILD_TIME, Kernel,
        KernelError, Profile,
    },
    workload::{Health, Probe, RestartPolicy},
};
use bailey_eif::{ImageSigner, SignError};
use clap::Args;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

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
    /// A container's image as the workload: an OCI layout or what `docker save` writes, as a tar file
    /// or a directory; it says what is started, too.
    #[arg(long = "image", value_name = "PATH")]
    pub container: Option<PathBuf>,
    /// A directory whose contents become the workload's files. Everything is root's there, and of the
    /// permissions only the owner's right to execute counts.
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// A file of the workload: where it goes in the enclave, where it is, and its octal mode.
    #[arg(long = "add", value_name = "PATH=FILE[:MODE]")]
    pub workload: Vec<AddedFile>,
    /// A manifest of the workload (JSON) to start from, for what has no flag here.
    #[arg(long, value_name = "FILE")]
    pub workload_manifest: Option<PathBuf>,
    /// A variable of the workload's environment; may be given several times.
    #[arg(long = "env", value_name = "NAME=VALUE")]
    pub env: Vec<Variable>,
    /// As whom the workload runs, by numbers or names of the image.
    #[arg(long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Where the workload starts.
    #[arg(long, value_name = "PATH")]
    pub working_directory: Option<String>,
    /// When keep starts it again: `always`, `on-failure` or `never` (the default: the enclave ends).
    #[arg(long, value_name = "POLICY")]
    pub restart: Option<RestartPolicy>,
    /// The workload is healthy while it answers a GET on this port with a status from 200 to 399.
    #[arg(long, value_name = "PORT/PATH")]
    pub health_http: Option<HttpProbe>,
    /// The workload is healthy while it accepts connections on this port.
    #[arg(long, value_name = "PORT", conflicts_with = "health_http")]
    pub health_tcp: Option<u16>,
    /// The enclave's host name.
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// A TCP port of its loopback on which the workload listens and which its parent may reach, when
    /// the enclave's record leads a port there; may be given several times.
    #[arg(long = "port", value_name = "PORT")]
    pub ports: Vec<u16>,
    /// Sign the image with this key (P-384, PEM), which PCR8 then shows.
    #[arg(long, value_name = "FILE", requires = "sign_certificate")]
    pub sign_key: Option<PathBuf>,
    /// The certificate for that key (X.509, PEM).
    #[arg(long, value_name = "FILE", requires = "sign_key")]
    pub sign_certificate: Option<PathBuf>,
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
    /// The program to start and its arguments; without it, and without a container's image, the
    /// enclave only attests.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

impl BuildArgs {
    /// Builds what the arguments say.
    pub fn run(self) -> Result<BuiltImage, CommandError> {
        let kernel = Kernel::find(self.profile, &self.kernel_dir).map_err(CommandError::Kernel)?;
        let cmdline = self.cmdline.unwrap_or_else(|| self.profile.default_cmdline().to_owned());
        let signer = match (&self.sign_key, &self.sign_certificate) {
            (Some(key), Some(certificate)) => Some(Arc::new(signer(key, certificate)?)),
            _ => None,
        };
        let probe = self.health_http.map(|probe| probe.0);
        let probe = probe.or_else(|| self.health_tcp.map(|port| Probe::Tcp { port }));
        let changes = Changes {
            argv: self.command,
            env: self.env.into_iter().map(|variable| variable.0).collect(),
            user: self.user,
            working_directory: self.working_directory,
            restart: self.restart,
            health: probe.map(Health::new),
            hostname: self.hostname,
            ports: self.ports,
        };
        let options = BuildOptions {
            kernel,
            cmdline,
            keep: self.keep,
            workload: self.workload.into_iter().map(|added| added.0).collect(),
            content: Content {
                container: self.container,
                directory: self.directory,
                manifest: self.workload_manifest,
                changes,
                signer,
            },
            name: self.name,
            version: self.version,
            build_time: self.build_time,
            output: self.output,
        };
        build::build_image(&options).map_err(CommandError::Build)
    }
}

fn signer(key: &Path, certificate: &Path) -> Result<ImageSigner, CommandError> {
    let read = |path: &Path| {
        let failed = |source| CommandError::Read { path: path.to_owned(), source };
        fs::read_to_string(path).map_err(failed)
    };
    ImageSigner::new(&read(key)?, &read(certificate)?).map_err(CommandError::Signer)
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
    /// A key or certificate cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The image cannot be signed with these.
    #[error("the image cannot be signed with this key and certificate")]
    Signer(#[source] SignError),
}
