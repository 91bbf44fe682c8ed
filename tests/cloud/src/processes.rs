//! Processes of a local cloud: started so that they end with their parent, and found again.
//!
//! A process belongs to a directory of the local cloud when its environment names the directory or
//! its program lies below it. An enclave's responder has no other trait: it is nobody's child once
//! the command that started it has ended.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt, fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::process::{Child, Command};

/// The environment variable by which a local cloud's own processes name its directory.
pub const ENVIRONMENT: &str = "BAILEY_LOCAL_CLOUD";

/// A program to start.
#[derive(Clone, Debug)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its whole environment, apart from `PATH`, `HOME` and what makes logs more or less verbose.
    pub environment: BTreeMap<String, OsString>,
    /// The file to which its output is appended.
    pub log: PathBuf,
    /// The signal that it gets when its parent dies.
    pub when_orphaned: Signal,
}

impl Program {
    /// Starts the program in a process group of its own, all its output going to the log.
    ///
    /// Dropping the child kills it.
    pub fn start(&self) -> io::Result<Child> {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let kept = ["HOME", "PATH", "RUST_BACKTRACE", "RUST_LOG"].into_iter();
        self.command()
            .args(&self.arguments)
            .env_clear()
            .envs(kept.filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    /// The kernel tells a child of its parent's death only if the child asks for it, which
    /// `setpriv` does without a line of unsafe code. Where that is missing, a parent that is
    /// killed leaves its children behind.
    fn command(&self) -> Command {
        let Some(setpriv) = find_in_path("setpriv") else { return Command::new(&self.path) };
        let signal = self.when_orphaned.as_str().trim_start_matches("SIG");
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", signal, "--"]).arg(&self.path);
        command
    }
}

fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// A process that runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LiveProcess {
    /// Its process id.
    pub pid: i32,
    /// Its command line, the arguments parted by spaces.
    pub command: String,
}

impl LiveProcess {
    /// The name of the directory right below `dir` in which it works, or its program lies; none when
    /// that is elsewhere.
    #[must_use]
    pub fn first_below(&self, dir: &Path) -> Option<String> {
        let links = ["cwd", "exe"].map(|name| format!("/proc/{}/{name}", self.pid));
        let paths = links.iter().filter_map(|link| fs::read_link(link).ok());
        let mut below = paths.filter_map(|path| {
            let first = path.strip_prefix(dir).ok()?.iter().next()?;
            Some(first.to_string_lossy().into_owned())
        });
        below.next()
    }

    /// Whether it is what runs inside an enclave.
    #[must_use]
    pub fn is_responder(&self) -> bool {
        let program = self.command.split(' ').next().unwrap_or_default();
        Path::new(program).file_name().is_some_and(|name| name == "keep")
    }
}

impl fmt::Display for LiveProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.command)
    }
}

/// The processes that belong to `dir`, this one left out.
#[must_use]
pub fn of(dir: &Path) -> Vec<LiveProcess> {
    let own = std::process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| belongs(*pid, dir))
        .filter_map(|pid| Some(LiveProcess { pid: pid.try_into().ok()?, command: command(pid) }))
        .collect()
}

/// Kills every process that belongs to `dir` and waits until none is left.
///
/// Fails with those that are still there after `limit`; none of them can be more than a moment
/// old, for a process that got SIGKILL starts nothing any more.
pub async fn end_all_of(dir: &Path, limit: Duration) -> Result<(), Vec<LiveProcess>> {
    let started = Instant::now();
    loop {
        let left = kill_all_of(dir);
        if left.is_empty() {
            return Ok(());
        }
        if started.elapsed() > limit {
            return Err(left);
        }
        // The kernel offers no event for the end of a process that is not a child.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Sends SIGKILL to every process that belongs to `dir`, and returns them.
#[must_use]
pub fn kill_all_of(dir: &Path) -> Vec<LiveProcess> {
    let left = of(dir);
    for process in &left {
        // It may have ended since.
        let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
    }
    left
}

/// Sends a signal to a process; false when there is none with this id.
#[must_use]
pub fn signal(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0);
    pid.is_some_and(|pid| kill(Pid::from_raw(pid), signal).is_ok())
}

fn belongs(pid: u32, dir: &Path) -> bool {
    let link = |name| fs::read_link(format!("/proc/{pid}/{name}")).unwrap_or_default();
    if link("exe").starts_with(dir) {
        return true;
    }
    environment(pid).split(|byte| *byte == 0).any(|entry| {
        let mut parts = entry.splitn(2, |byte| *byte == b'=');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        match name {
            // The addresses in a responder's environment are relative to where it works.
            _ if name.starts_with(b"KEEP_") => link("cwd").starts_with(dir),
            _ if MARKS.iter().any(|mark| name == mark.as_bytes()) => {
                Path::new(std::ffi::OsStr::from_bytes(value)).starts_with(dir)
            }
            _ => false,
        }
    })
}

/// The environment with which a process was started: empty for one of another user, and for one
/// that has ended.
///
/// It is empty as well for the moment in which a process turns into another program, which
/// `setpriv` does soon after its start; so one that has a program is asked again.
fn environment(pid: u32) -> Vec<u8> {
    let read = || fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    for _ in 0..EXEC_TRIES {
        let environment = read();
        if !environment.is_empty() || fs::read_link(format!("/proc/{pid}/exe")).is_err() {
            return environment;
        }
        std::thread::yield_now();
    }
    read()
}

/// Enough for the moment of an exec, and soon over for a program without any environment.
const EXEC_TRIES: usize = 100;

/// The variables that name a directory of the local cloud in the environment of its processes. A
/// person's shell has others, and is not to be found.
const MARKS: [&str; 2] = [ENVIRONMENT, bailey_nitro_cli_standin::host::ENVIRONMENT];

fn command(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(dir: &Path) -> Program {
        let environment = [(ENVIRONMENT.to_owned(), dir.as_os_str().to_owned())];
        Program {
            path: "/bin/sleep".into(),
            arguments: vec!["600".into()],
            environment: environment.into_iter().collect(),
            log: dir.join("log"),
            when_orphaned: Signal::SIGKILL,
        }
    }

    #[tokio::test]
    async fn what_was_started_for_a_directory_is_found_and_ended() {
        let dir = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let mut child = sleeper(dir.path()).start().unwrap();
        let bystander = sleeper(other.path()).start().unwrap();
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        assert_eq!(of(dir.path()).iter().map(|p| p.pid).collect::<Vec<_>>(), [pid]);
        end_all_of(dir.path(), Duration::from_secs(10)).await.unwrap();
        assert!(!child.wait().await.unwrap().success());
        assert_eq!(of(dir.path()), []);
        assert!(bystander.id().is_some());
        assert_eq!(of(other.path()).len(), 1);
    }
}
