//! PID 1 of an image of Bailey's own.
//!
//! ```text
//! mount ─> console ─> load modules ─> loopback, host name, clock, entropy ─> the enclave's life
//!   └─────────────────────┴──── failure ────────────────┴─────────────────────────┴─> reboot
//! ```
//!
//! A failure ends the enclave at once: the parent sees it gone, and no half-working one lingers.

use super::{
    RunError, Settings, chain, clock, enclave, entropy, network::bring_loopback_up, workload::Place,
};
use nix::{
    errno::Errno,
    kmod::{ModuleInitFlags, finit_module},
    mount::{MsFlags, mount},
    sys::reboot::{RebootMode, reboot},
    unistd::{dup2_stderr, dup2_stdin, dup2_stdout, sethostname, sync},
};
use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// The kernel modules to load, in order: one absolute path a line. Absent where the kernel has
/// everything built in.
const MODULE_LIST: &str = "/etc/bailey/modules";

/// Lives until the workload has ended for good or something fails, then ends the enclave.
pub(super) fn run() -> ExitCode {
    match boot_and_live() {
        Ok(end) => println!("keep: {end}; the enclave ends"),
        Err(err) => println!("keep: the enclave ends: {}", chain(&err)),
    }
    sync();
    let Err(errno) = reboot(RebootMode::RB_AUTOBOOT);
    log::error!(error = errno.desc(); "cannot reboot");
    // The kernel panics when init ends, and reboots by its `panic=` argument.
    ExitCode::FAILURE
}

/// What the kernel offers as files, and where: device files for terminals and shared memory included,
/// which programs expect.
const MOUNTS: [(&str, &str); 5] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("devpts", "/dev/pts"),
    ("tmpfs", "/dev/shm"),
];

fn boot_and_live() -> Result<String, InitError> {
    for (kind, target) in MOUNTS {
        mount_kernel_filesystem(kind, target)?;
    }
    open_console();
    log::info!(version = env!("CARGO_PKG_VERSION"); "starting");
    for path in module_paths(Path::new(MODULE_LIST))? {
        load_module(&path)?;
    }
    bring_loopback_up().map_err(InitError::Loopback)?;
    let place = Place { root: "/".into(), is_enclave: true };
    let workload = enclave::workload(&place).map_err(InitError::Run)?;
    if let Some(name) = workload.as_ref().and_then(|workload| workload.hostname.as_deref()) {
        sethostname(name).map_err(|errno| InitError::Hostname { source: errno.into() })?;
    }
    let settings = Settings::of_init();
    entropy::seed(&settings.nsm.connect());
    clock::set_from_hypervisor();
    enclave::live(&place, workload.as_ref(), &settings).map_err(InitError::Run)
}

fn mount_kernel_filesystem(kind: &'static str, target: &'static str) -> Result<(), InitError> {
    let failed = |source: io::Error| InitError::Mount { target, source };
    fs::create_dir_all(target).map_err(failed)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    match mount(Some(kind), target, Some(kind), flags, None::<&str>) {
        // The kernel or an earlier stage may have been there first.
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        // A kernel without terminals or shared memory does without, and so does its workload.
        Err(Errno::ENODEV) if target.starts_with("/dev/") => Ok(()),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// Makes the console this process's standard streams. The kernel did so already if the ramdisk
/// has a `/dev/console`; without any console there is nobody to tell.
fn open_console() {
    if let Ok(console) = OpenOptions::new().read(true).write(true).open("/dev/console") {
        let outcome = dup2_stdin(&console)
            .and_then(|()| dup2_stdout(&console))
            .and_then(|()| dup2_stderr(&console));
        if let Err(errno) = outcome {
            log::warn!(error = errno.desc(); "cannot use the console");
        }
    }
}

fn module_paths(list: &Path) -> Result<Vec<PathBuf>, InitError> {
    match fs::read_to_string(list) {
        Ok(text) => Ok(text.lines().filter(|line| !line.is_empty()).map(PathBuf::from).collect()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(InitError::ModuleList { path: list.to_owned(), source }),
    }
}

fn load_module(path: &Path) -> Result<(), InitError> {
    let failed = |source: io::Error| InitError::Module { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    match finit_module(&file, c"", ModuleInitFlags::empty()) {
        Ok(()) => {
            log::info!(path = path.display().to_string().as_str(); "module loaded");
            Ok(())
        }
        // This kernel has it built in or loaded it by itself.
        Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// Why the enclave cannot go on.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("cannot set the host name")]
    Hostname { source: io::Error },
    #[error("cannot bring loopback up")]
    Loopback(#[source] io::Error),
    #[error("cannot load the module {}", path.display())]
    Module { path: PathBuf, source: io::Error },
    #[error("cannot read the list of modules {}", path.display())]
    ModuleList { path: PathBuf, source: io::Error },
    #[error("cannot mount {target}")]
    Mount { target: &'static str, source: io::Error },
    #[error("the enclave cannot live")]
    Run(#[source] RunError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_listed_one_a_line_and_the_list_may_be_absent() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("modules");
        assert!(module_paths(&list).unwrap().is_empty());
        fs::write(&list, "/a.ko\n\n/b.ko\n").unwrap();
        assert_eq!(module_paths(&list).unwrap(), [Path::new("/a.ko"), Path::new("/b.ko")]);
    }
}
