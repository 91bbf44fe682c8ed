//! From an image's description of a process to the process.
//!
//! Between fork and exec a program can do little without `unsafe`; so `keep` starts itself once
//! more, as [`become_workload`], which changes user and directory and then becomes the workload.

use super::{
    Place,
    users::{Identity, UserError, resolve},
};
use crate::workload::Workload;
use nix::{
    errno::Errno,
    sys::{
        prctl::set_pdeathsig,
        signal::{SigSet, Signal},
    },
    unistd::{Gid, Pid, Uid, getppid, setgid, setgroups, setuid},
};
use std::{
    fs, io,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

/// The argument with which `keep` becomes the workload.
pub(in super::super) const SUBCOMMAND: &str = "become-workload";

/// No change of user.
const SAME_USER: &str = "-";

/// The exit code of a workload that could not be executed, as shells have it.
const CANNOT_EXECUTE: u8 = 126;

/// The command that starts the workload; what is known to be wrong beforehand is an error.
pub(super) fn command(workload: &Workload, place: &Place) -> Result<Command, StartError> {
    let program = find_program(workload, place)?;
    let directory = place.path(&workload.working_directory);
    if !directory.is_dir() {
        return Err(StartError::WorkingDirectory { path: workload.working_directory.clone() });
    }
    let identity = resolve(&workload.user, place).map_err(StartError::User)?;
    let identity = if place.is_enclave { encode(&identity) } else { SAME_USER.to_owned() };
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(SUBCOMMAND)
        .arg(std::process::id().to_string())
        .arg(identity)
        .arg(program)
        .args(&workload.argv)
        .env_clear()
        .envs(&workload.env)
        .current_dir(directory)
        // A group of its own, so that signals reach all that it started.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

fn find_program(workload: &Workload, place: &Place) -> Result<PathBuf, StartError> {
    let name = workload.argv.first().map_or("", String::as_str);
    let not_found = || StartError::NoProgram { name: name.to_owned() };
    if name.starts_with('/') {
        return executable(place.path(name)).ok_or_else(not_found);
    }
    if name.contains('/') {
        let path = place.path(&workload.working_directory).join(name);
        return executable(path).ok_or_else(not_found);
    }
    let path = workload.env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
    let mut candidates = path.split(':').map(|directory| place.path(directory).join(name));
    candidates.find_map(executable).ok_or_else(not_found)
}

/// Where names are looked up when the workload's environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn executable(path: PathBuf) -> Option<PathBuf> {
    let metadata = fs::metadata(&path).ok()?;
    (metadata.is_file() && metadata.permissions().mode() & 0o111 != 0).then_some(path)
}

/// `uid:gid:group,group`.
fn encode(identity: &Identity) -> String {
    let groups: Vec<String> = identity.groups.iter().map(u32::to_string).collect();
    format!("{}:{}:{}", identity.uid, identity.gid, groups.join(","))
}

fn decode(text: &str) -> Option<Identity> {
    let mut fields = text.splitn(3, ':');
    let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let groups = fields.next()?.split(',').filter(|text| !text.is_empty());
    let groups = groups.map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(Identity { uid, gid, groups })
}

/// Turns this process into the workload that `arguments` describe, as [`command`] gave them.
///
/// The exit code is that of a workload which could not be executed; otherwise this never returns.
pub(in super::super) fn become_workload(arguments: &[&str]) -> ExitCode {
    let [parent, identity, program, name, arguments @ ..] = arguments else {
        eprintln!("keep: {SUBCOMMAND} is for keep itself");
        return ExitCode::from(2);
    };
    let Err(err) = become_user_and_execute(parent, identity, program, name, arguments);
    eprintln!("keep: cannot become the workload: {}", super::super::chain(&err));
    ExitCode::from(CANNOT_EXECUTE)
}

fn become_user_and_execute(
    parent: &str,
    identity: &str,
    program: &str,
    name: &str,
    arguments: &[&str],
) -> Result<std::convert::Infallible, BecomeError> {
    // `keep` blocks the signals that it waits for, and a child inherits that.
    SigSet::empty().thread_set_mask().map_err(|errno| BecomeError::Signals(errno.into()))?;
    if identity != SAME_USER {
        let identity = decode(identity).ok_or(BecomeError::Arguments)?;
        change_user(&identity).map_err(|errno| BecomeError::User(errno.into()))?;
    }
    // After the change of user, which takes this back: without its `keep`, nobody would end it.
    set_pdeathsig(Signal::SIGKILL).map_err(|errno| BecomeError::Tie(errno.into()))?;
    let parent: i32 = parent.parse().map_err(|_| BecomeError::Arguments)?;
    if getppid() != Pid::from_raw(parent) {
        return Err(BecomeError::Orphaned);
    }
    let err = Command::new(program).arg0(name).args(arguments).exec();
    Err(BecomeError::Execute { program: program.into(), source: err })
}

fn change_user(identity: &Identity) -> Result<(), Errno> {
    let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups)?;
    setgid(Gid::from_raw(identity.gid))?;
    setuid(Uid::from_raw(identity.uid))
}

/// Why the workload was not started.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("there is no executable `{name}` in the image")]
    NoProgram { name: String },
    #[error("cannot start a process")]
    Spawn(#[source] io::Error),
    #[error("there is no such user")]
    User(#[source] UserError),
    #[error("there is no directory `{path}` in the image")]
    WorkingDirectory { path: String },
}

/// Why this process did not become the workload.
#[derive(Debug, thiserror::Error)]
enum BecomeError {
    #[error("the arguments are not keep's own")]
    Arguments,
    #[error("cannot execute {}", program.display())]
    Execute { program: PathBuf, source: io::Error },
    #[error("keep has ended")]
    Orphaned,
    #[error("cannot receive signals")]
    Signals(#[source] io::Error),
    #[error("cannot be tied to keep")]
    Tie(#[source] io::Error),
    #[error("cannot change the user")]
    User(#[source] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, Place) {
        let dir = tempfile::tempdir().unwrap();
        for (path, mode) in [("app/server", 0o755), ("app/data", 0o644), ("bin/tool", 0o755)] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let place = Place { root: dir.path().to_owned(), is_enclave: false };
        (dir, place)
    }

    #[test]
    fn programs_are_found_by_path_by_directory_and_by_name() {
        let (dir, place) = place();
        let find = |name: &str| {
            let mut workload = Workload::new(vec![name.into()]);
            workload.working_directory = "/app".into();
            let found = find_program(&workload, &place).ok()?;
            Some(found.strip_prefix(dir.path()).unwrap().display().to_string())
        };
        assert_eq!(find("/app/server").as_deref(), Some("app/server"));
        assert_eq!(find("./server").as_deref(), Some("app/./server"));
        assert_eq!(find("tool").as_deref(), Some("bin/tool"));
        for name in ["/app/data", "/app", "server", "/absent", "./absent"] {
            assert_eq!(find(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_missing_is_named_before_anything_is_started() {
        let (_dir, place) = place();
        let problem = |change: fn(&mut Workload)| {
            let mut workload = Workload::new(vec!["/app/server".into()]);
            change(&mut workload);
            super::super::super::chain(&command(&workload, &place).unwrap_err())
        };
        assert_eq!(
            problem(|workload| workload.argv = vec!["/no".into()]),
            "there is no executable `/no` in the image"
        );
        assert_eq!(
            problem(|workload| workload.working_directory = "/no".into()),
            "there is no directory `/no` in the image"
        );
        assert_eq!(
            problem(|workload| workload.user = "app".into()),
            "there is no such user: the image's /etc/passwd has no user `app`"
        );
    }

    #[test]
    fn an_identity_survives_the_command_line() {
        for groups in [vec![], vec![7], vec![7, 100]] {
            let identity = Identity { uid: 1000, gid: 5, groups };
            assert_eq!(decode(&encode(&identity)), Some(identity));
        }
        for text in ["", "1", "1:2", "1:x:", "1:2:x"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
