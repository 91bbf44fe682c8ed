//! Kernels by profile.

use serde::{Deserialize, Serialize};
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

/// Which kernel an image has, and thereby where it can run.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The kernel that nitro-cli installs: for real Nitro Enclaves.
    Aws,
    /// Debian's cloud kernel: for emulation only, since it finds no devices on real Nitro.
    Local,
}

impl Profile {
    /// The kernel command line that fits the profile.
    ///
    /// `aws` is nitro-cli's own. `local` keeps modules and PCI, which Debian's kernel needs.
    #[must_use]
    pub fn default_cmdline(self) -> &'static str {
        match self {
            Self::Aws => {
                "reboot=k panic=30 pci=off nomodules console=ttyS0 i8042.noaux i8042.nomux \
                 i8042.nopnp i8042.dumbkbd random.trust_cpu=on"
            }
            Self::Local => {
                "reboot=k panic=30 console=ttyS0 i8042.noaux i8042.nomux i8042.nopnp \
                 i8042.dumbkbd random.trust_cpu=on"
            }
        }
    }
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        match text {
            "aws" => Ok(Self::Aws),
            "local" => Ok(Self::Local),
            other => Err(UnknownProfile { found: other.to_owned() }),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aws => "aws",
            Self::Local => "local",
        })
    }
}

/// The text names no profile.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown kernel profile `{found}`, there are aws and local")]
pub struct UnknownProfile {
    found: String,
}

/// A kernel and what it needs to find its devices.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kernel {
    /// Where it can run.
    pub profile: Profile,
    /// The bootable image.
    pub image: PathBuf,
    /// Modules in the order in which to load them.
    pub modules: Vec<PathBuf>,
    /// The kernel's version, for the metadata.
    pub version: String,
}

impl Kernel {
    /// Finds a kernel in `directory`.
    ///
    /// For `local`: `vmlinuz`, `config`, and `modules/` with a file `order`, as `fetch-kernel`
    /// leaves them. For `aws`: `bzImage`, `bzImage.config` and `nsm.ko`, as in nitro-cli's
    /// directory of blobs.
    pub fn find(profile: Profile, directory: &Path) -> Result<Self, KernelError> {
        let (image, config, modules) = match profile {
            Profile::Aws => ("bzImage", "bzImage.config", vec![directory.join("nsm.ko")]),
            Profile::Local => ("vmlinuz", "config", listed_modules(&directory.join("modules"))?),
        };
        let path = directory.join(config);
        let config = read(&path)?;
        if profile == Profile::Aws && !config.lines().any(|line| line == CMDLINE_DEVICES) {
            return Err(KernelError::NotForNitro { path });
        }
        let version = version(&config).ok_or(KernelError::NoVersion { path })?.to_owned();
        Ok(Self { profile, image: directory.join(image), modules, version })
    }
}

/// Nitro's hypervisor tells the kernel its devices on the command line.
const CMDLINE_DEVICES: &str = "CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES=y";

fn listed_modules(directory: &Path) -> Result<Vec<PathBuf>, KernelError> {
    let order = read(&directory.join("order"))?;
    Ok(order.lines().map(|name| directory.join(name)).collect())
}

fn read(path: &Path) -> Result<String, KernelError> {
    fs::read_to_string(path).map_err(|source| KernelError::Read { path: path.to_owned(), source })
}

/// From the line `# Linux/x86 6.12.95+deb12-cloud-amd64 Kernel Configuration`.
fn version(config: &str) -> Option<&str> {
    config.lines().find_map(|line| {
        let title = line.strip_prefix("# Linux/")?.strip_suffix(" Kernel Configuration")?;
        title.split_once(' ').map(|(_, version)| version)
    })
}

/// Why a directory holds no usable kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The kernel's configuration does not say its version.
    #[error("{} does not name the kernel's version", path.display())]
    NoVersion {
        /// The configuration.
        path: PathBuf,
    },
    /// The kernel would find no devices on real Nitro.
    #[error("{} lacks {CMDLINE_DEVICES}, without which no enclave boots", path.display())]
    NotForNitro {
        /// The configuration.
        path: PathBuf,
    },
    /// A file that describes the kernel cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const TITLE: &str = "#\n# Linux/x86_64 4.14.256 Kernel Configuration\n";

    #[test]
    fn a_production_kernel_without_command_line_devices_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("bzImage.config"), TITLE).unwrap();
        let err = Kernel::find(Profile::Aws, dir.path()).unwrap_err();
        assert!(matches!(err, KernelError::NotForNitro { .. }), "{err}");

        let config = format!("{TITLE}{CMDLINE_DEVICES}\n");
        fs::write(dir.path().join("bzImage.config"), config).unwrap();
        let kernel = Kernel::find(Profile::Aws, dir.path()).unwrap();
        assert_eq!(kernel.version, "4.14.256");
        assert_eq!(kernel.modules, [dir.path().join("nsm.ko")]);
    }

    #[test]
    fn a_directory_without_a_kernel_is_named() {
        let err = Kernel::find(Profile::Local, Path::new("/nonexistent")).unwrap_err();
        assert_eq!(err.to_string(), "cannot read /nonexistent/modules/order");
    }

    #[test]
    fn profiles_are_read_as_they_are_written() {
        for profile in [Profile::Aws, Profile::Local] {
            assert_eq!(profile.to_string().parse(), Ok(profile));
        }
        let err = "debian".parse::<Profile>().unwrap_err();
        assert_eq!(err.to_string(), "unknown kernel profile `debian`, there are aws and local");
    }
}
