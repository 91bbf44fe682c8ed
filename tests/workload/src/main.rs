//! A workload for images of tests: does what its arguments say, one after the other.
//!
//! ```text
//! say TEXT        prints a line            complain TEXT   the same on standard error
//! lines N         prints N lines           long N          prints a line of N bytes
//! where           prints directory, user and sorted environment
//! fork N          starts N processes that end at once, and does not wait for them
//! leave           starts a process that goes on for ever
//! wait            waits for ever           exit CODE       ends
//! run COMMAND     runs a program with its arguments, which spaces divide, and prints how it ended
//! relay PORT      listens there; to each line HOST:PORT it answers with what it hears there through its
//!                 proxy, or with the proxy's refusal
//! ```

mod relay;

use std::{
    env, fs,
    io::{self, Write as _},
    process::{Command, ExitCode},
    thread,
};

fn main() -> ExitCode {
    match run(env::args().skip(1)) {
        Ok(code) => ExitCode::from(code),
        Err(err) => {
            eprintln!("test-workload: {err}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> io::Result<u8> {
    let mut out = io::stdout().lock();
    while let Some(verb) = arguments.next() {
        let mut argument = || arguments.next().ok_or(io::ErrorKind::InvalidInput);
        match verb.as_str() {
            "say" => writeln!(out, "{}", argument()?)?,
            "complain" => eprintln!("{}", argument()?),
            "lines" => {
                for line in 1..=number(&argument()?)? {
                    writeln!(out, "line {line}")?;
                }
            }
            "long" => writeln!(out, "{}", "x".repeat(number(&argument()?)?))?,
            "where" => writeln!(out, "{}", place()?)?,
            "fork" => {
                for _ in 0..number(&argument()?)? {
                    Command::new(env::current_exe()?).args(["exit", "0"]).spawn()?;
                }
            }
            "leave" => drop(Command::new(env::current_exe()?).arg("wait").spawn()?),
            "relay" => {
                let port = u16::try_from(number(&argument()?)?).map_err(io::Error::other)?;
                out.flush()?;
                return relay::serve(port);
            }
            "run" => {
                out.flush()?;
                let command = argument()?;
                let mut words = command.split_whitespace();
                let program = words.next().ok_or(io::ErrorKind::InvalidInput)?;
                let status = Command::new(program).args(words).status()?;
                writeln!(out, "ended: {status}")?;
            }
            "wait" => loop {
                thread::park();
            },
            "exit" => {
                let code = number(&argument()?)?;
                return u8::try_from(code).map_err(io::Error::other);
            }
            other => return Err(io::Error::other(format!("what is `{other}`?"))),
        }
    }
    Ok(0)
}

fn number(text: &str) -> io::Result<usize> {
    text.parse().map_err(io::Error::other)
}

fn place() -> io::Result<String> {
    let directory = env::current_dir()?;
    let status = fs::read_to_string("/proc/self/status")?;
    let of = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        value.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let mut variables: Vec<_> =
        env::vars().map(|(name, value)| format!("{name}={value}")).collect();
    variables.sort();
    Ok(format!(
        "directory={} uid={} gid={} groups={} {}",
        directory.display(),
        of("Uid:"),
        of("Gid:"),
        of("Groups:"),
        variables.join(" ")
    ))
}
