//! PID 1 of an image of Bailey's own.
//!
//! ```text
//! mount /proc, /sys, /dev ─> console ─> load modules ─> reap in the background ─> serve
//!        └────────────────────────┴──── failure ────────────────────────────────────┴─> reboot
//! ```
//!
//! A failure ends the enclave at once: the parent sees it gone, and no half-working one lingers.

use super::{RunError, Settings, chain, start};
use nix::{
    errno::Errno,
    kmod::{ModuleInitFlags, finit_module},
    mount::{MsFlags, mount},
    sys::{
        reboot::{RebootMode, reboot},
        signal::{SigSet, Signal},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{dup2_stderr, dup2_stdin, dup2_stdout},
};
use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
};

/// The kernel modules to load, in order: one absolute path a line. Absent where the kernel has
/// everything built in.
const MODULE_LIST: &str = "/etc/bailey/modules";

/// Serves until something fails, then ends the enclave.
pub(super) fn run() -> ExitCode {
    if let Err(err) = boot_and_serve() {
        log::error!(error = chain(&err).as_str(); "the enclave ends");
    }
    let Err(errno) = reboot(RebootMode::RB_AUTOBOOT);
    log::error!(error = errno.desc(); "cannot reboot");
    // The kernel panics when init ends, and reboots by its `panic=` argument.
    ExitCode::FAILURE
}

fn boot_and_serve() -> Result<(), InitError> {
    for (kind, target) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        mount_kernel_filesystem(kind, target)?;
    }
    open_console();
    log::info!(version = env!("CARGO_PKG_VERSION"); "starting");
    for path in module_paths(Path::new(MODULE_LIST))? {
        load_module(&path)?;
    }
    reap_in_background()?;
    start(&Settings::of_init()).map_err(InitError::Run)
}

fn mount_kernel_filesystem(kind: &'static str, target: &'static str) -> Result<(), InitError> {
    let failed = |source: io::Error| InitError::Mount { target, source };
    fs::create_dir_all(target).map_err(failed)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    match mount(Some(kind), target, Some(kind), flags, None::<&str>) {
        // The kernel or an earlier stage may have been there first.
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
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

/// Collects the children that the workload leaves behind, as only PID 1 can.
///
/// Called before any other thread exists, so that every thread inherits the blocked signal and it
/// reaches the one that waits for it.
fn reap_in_background() -> Result<(), InitError> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.thread_block().map_err(|errno| InitError::Reaper { source: errno.into() })?;
    let reap = move || {
        while signals.wait().is_ok() {
            reap_all();
        }
    };
    let thread = thread::Builder::new().name("reaper".into()).spawn(reap);
    thread.map(drop).map_err(|source| InitError::Reaper { source })
}

/// Several children may have ended for one signal.
fn reap_all() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        match status {
            WaitStatus::StillAlive => return,
            ended => log::info!(status = format!("{ended:?}").as_str(); "child ended"),
        }
    }
}

/// Why the enclave cannot go on.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("cannot load the module {}", path.display())]
    Module { path: PathBuf, source: io::Error },
    #[error("cannot read the list of modules {}", path.display())]
    ModuleList { path: PathBuf, source: io::Error },
    #[error("cannot mount {target}")]
    Mount { target: &'static str, source: io::Error },
    #[error("cannot collect ended children")]
    Reaper { source: io::Error },
    #[error("the responder ended")]
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
