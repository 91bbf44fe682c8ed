//! The files by which one call of `bailey-local` finds what another started.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

/// The directory of a local cloud.
#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
}

impl StateDir {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file that a shell reads to use the cloud; it is there while the cloud is ready.
    pub(crate) fn env_file(&self) -> PathBuf {
        self.path.join("env")
    }

    /// The process that runs the cloud, while it does.
    pub(crate) fn running(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()?;
        // The number may belong to another program by now, or to one that has ended and that
        // nobody has waited for.
        let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        program.file_name()?.to_str()?.starts_with("bailey-local").then_some(pid)
    }

    pub(crate) fn write_pid(&self) -> io::Result<()> {
        fs::create_dir_all(&self.path)?;
        write_whole(&self.pid_file(), &format!("{}\n", std::process::id()))
    }

    pub(crate) fn write_env(&self, variables: &BTreeMap<String, String>) -> io::Result<()> {
        // Credentials and profiles of a real account must not meet the local cloud.
        let mut text = String::from("unset AWS_PROFILE AWS_SESSION_TOKEN\n");
        for (name, value) in variables {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "export {name}={}", quoted(value));
        }
        write_whole(&self.env_file(), &text)
    }

    /// A variable of the file that [`Self::write_env`] wrote.
    pub(crate) fn variable(&self, name: &str) -> io::Result<String> {
        let text = fs::read_to_string(self.env_file())?;
        let start = format!("export {name}='");
        let line = text.lines().find_map(|line| line.strip_prefix(&start)?.strip_suffix('\''));
        line.map(|value| value.replace(r"'\''", "'")).ok_or_else(|| {
            io::Error::other(format!("`{}` does not set {name}", self.env_file().display()))
        })
    }

    pub(crate) fn forget(&self) {
        for file in [self.env_file(), self.pid_file()] {
            // They may never have been written.
            let _ = fs::remove_file(file);
        }
    }

    fn pid_file(&self) -> PathBuf {
        self.path.join("bailey-local.pid")
    }
}

/// Readers see the old text or the new one, never a part.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("tmp");
    fs::write(&unfinished, text)?;
    fs::rename(&unfinished, path)
}

/// A text as one word of a shell's command.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_reads_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().to_owned());
        let variables = [("A", "it's"), ("AB", "x y")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        state.write_env(&variables.into()).unwrap();
        assert_eq!(state.variable("A").unwrap(), "it's");
        assert_eq!(state.variable("AB").unwrap(), "x y");
        assert!(state.variable("C").is_err());
    }

    #[test]
    fn a_number_of_another_program_is_not_a_running_cloud() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().to_owned());
        assert_eq!(state.running(), None);
        state.write_pid().unwrap();
        assert_eq!(state.running(), None);
    }
}
