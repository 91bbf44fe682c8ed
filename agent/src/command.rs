//! Running other programs: with a deadline, in a process group of their own, their output bounded.

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{fs::File, io, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    time::timeout,
};

/// More output than this is read and dropped: no program that is run here says so much.
const MOST_OUTPUT: usize = 1_024 * 1_024;

/// How long the output may stay open after the program ended: something that it started in the
/// background may hold it, and is not waited for.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);

/// What a program did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Output {
    /// Whether it ended with exit code 0.
    pub success: bool,
    /// How it ended, for people: `exit status: 39`.
    pub status: String,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

impl Output {
    /// The last line that is not empty, of standard error or else of standard output.
    #[must_use]
    pub fn last_words(&self) -> String {
        let line = |text: &str| {
            text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
        };
        line(&self.stderr).or_else(|| line(&self.stdout)).unwrap_or_else(|| self.status.clone())
    }
}

/// Runs `command`, a program and its arguments, for at most `deadline`.
///
/// `stdin` becomes its standard input, the null device otherwise. A program that is still running
/// at the deadline is killed with its whole process group. It is *not* killed when the returned
/// future is dropped: a half-done nitro-cli leaves debris, so it may finish on its own.
pub async fn run(
    command: &[String],
    deadline: Duration,
    stdin: Option<File>,
) -> Result<Output, CommandError> {
    let Some((program, arguments)) = command.split_first() else { return Err(CommandError::Empty) };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(stdin.map_or_else(Stdio::null, Stdio::from))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|source| CommandError::Spawn { program: program.clone(), source })?;
    let group = child.id();
    if let Ok(output) = timeout(deadline, finish(&mut child)).await {
        return output.map_err(|source| CommandError::Wait { program: program.clone(), source });
    }
    kill_group(group);
    // The killed program is reaped in the background by the runtime.
    Err(CommandError::Deadline { program: program.clone(), deadline })
}

async fn finish(child: &mut Child) -> io::Result<Output> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let pipes = (child.stdout.take(), child.stderr.take());
    let status = {
        let reading =
            async { tokio::join!(collect(pipes.0, &mut stdout), collect(pipes.1, &mut stderr)) };
        tokio::pin!(reading);
        tokio::select! {
            _ = &mut reading => child.wait().await?,
            status = child.wait() => {
                // An expired grace leaves what was read so far.
                let _ = timeout(OUTPUT_GRACE, reading).await;
                status?
            }
        }
    };
    Ok(Output {
        success: status.success(),
        status: status.to_string(),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    })
}

async fn collect(pipe: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = [0; 4_096];
    // A pipe that breaks has said all it will say.
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        let room = MOST_OUTPUT.saturating_sub(into.len());
        into.extend(buffer.iter().take(count.min(room)));
    }
}

fn kill_group(leader: Option<u32>) {
    let group = leader.and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    if let Some(group) = group
        && let Err(errno) = killpg(group, Signal::SIGKILL)
    {
        log::warn!(group = group.as_raw(), error = errno.desc(); "process group not killed");
    }
}

/// Why a program did not end by itself.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It was still running at its deadline, and was killed.
    #[error("`{program}` did not end within {} s", deadline.as_secs_f32())]
    Deadline {
        /// The program.
        program: String,
        /// The time it had.
        deadline: Duration,
    },
    /// The command names no program.
    #[error("the command is empty")]
    Empty,
    /// It could not be started.
    #[error("cannot start `{program}`")]
    Spawn {
        /// The program.
        program: String,
        /// The system's reason.
        source: io::Error,
    },
    /// It was started, but its end could not be waited for.
    #[error("cannot wait for `{program}`")]
    Wait {
        /// The program.
        program: String,
        /// The system's reason.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn shell(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[tokio::test]
    async fn output_and_exit_code_are_captured() {
        let output = run(&shell("echo out; echo err >&2; exit 39"), LONG, None).await.unwrap();
        let expected = Output {
            success: false,
            status: "exit status: 39".to_owned(),
            stdout: "out\n".to_owned(),
            stderr: "err\n".to_owned(),
        };
        assert_eq!(output, expected);
        assert_eq!(output.last_words(), "err");
    }

    #[tokio::test]
    async fn a_background_process_that_holds_the_output_is_not_waited_for() {
        let output = run(&shell("sleep 60 & echo started"), LONG, None).await.unwrap();
        assert_eq!(output.stdout, "started\n");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed_at_its_deadline() {
        let deadline = Duration::from_millis(50);
        let err = run(&shell("sleep 60"), deadline, None).await.unwrap_err();
        assert_eq!(err.to_string(), "`sh` did not end within 0.05 s");
    }

    #[tokio::test]
    async fn endless_output_is_cut() {
        let script = format!("head -c {} /dev/zero", 2 * MOST_OUTPUT);
        let output = run(&shell(&script), LONG, None).await.unwrap();
        assert_eq!(output.stdout.len(), MOST_OUTPUT);
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let err = run(&["/does/not/exist".to_owned()], LONG, None).await.unwrap_err();
        assert_eq!(err.to_string(), "cannot start `/does/not/exist`");
    }
}
