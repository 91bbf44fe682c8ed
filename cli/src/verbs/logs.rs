//! `bailey logs`

use super::watch::Limit;
use crate::{
    CloudOptions,
    exit::{Advise, Exit, Outcome},
    output::{self, Audience},
};
use bailey_model::{EnclaveId, UnixMillis};
use bailey_runtime::{
    aws,
    calls::Calls,
    logs::{APPLICATION, LogEvent, Logs, LogsError, SYSTEM, group},
    signed::ClientError,
};
use serde::Serialize;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// Show what an enclave's workload prints, and what becomes of it
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The enclave
    id: EnclaveId,
    /// Go on with what comes, until interrupted
    #[arg(long)]
    follow: bool,
    /// Which of the two streams; both when left out
    #[arg(long, value_name = "NAME", value_parser = [APPLICATION, SYSTEM])]
    stream: Option<String>,
    /// Print each line as JSON: timestamp (milliseconds), stream, message
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limit: Limit,
    /// What the log groups are called before the enclave's id
    #[arg(
        long,
        value_name = "PREFIX",
        env = "BAILEY_LOG_GROUP_PREFIX",
        default_value = "/aws/ec2/enclave/",
        help_heading = "Cloud"
    )]
    group_prefix: String,
}

const AFTER_HELP: &str = "\
Reads CloudWatch Logs, to which agents send output when `log_group_prefix` is in their configuration and \
in the coordinator's, which makes the groups; without it, `journalctl -u bailey-agent ENCLAVE_ID=<id>` on the parent shows the same. `application` is \
what the workload prints, `system` what becomes of it. Both come through the parent, and nothing proves \
them. --timeout counts with --follow only. Needs logs:GetLogEvents on the group.

Examples:
  bailey logs demo
  bailey logs demo --follow
  bailey logs demo --stream application --json | jq -r .message

Exit codes: 0 shown, or --follow ended after --timeout; 2 there are no logs of this enclave, or they could \
not be read.";

/// There is no event that a reader could await.
const LOOK: Duration = Duration::from_secs(1);

/// A stream, and how far it was read.
struct Cursor {
    stream: &'static str,
    next: Option<String>,
    /// Whether it exists.
    is_there: bool,
}

/// A line of a log as JSON.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    timestamp: u64,
    stream: &'static str,
    message: &'a str,
}

pub(crate) async fn run(args: Args, cloud: &CloudOptions) -> Outcome {
    let config = aws::load(cloud.region.as_deref()).await;
    let logs = Logs::new(&config, Calls::default()).map_err(ReadError::Client)?;
    let group = group(&args.group_prefix, args.id.as_str());
    let wanted = |stream: &&str| args.stream.as_deref().is_none_or(|only| only == *stream);
    let mut cursors: Vec<Cursor> = [APPLICATION, SYSTEM]
        .into_iter()
        .filter(wanted)
        .map(|stream| Cursor { stream, next: None, is_there: false })
        .collect();
    let deadline = args.limit.deadline(Instant::now());
    loop {
        let round = read(&logs, &group, &mut cursors)
            .await
            .map_err(|source| ReadError::Call { group: group.clone(), source })?;
        let is_quiet = round.is_empty();
        if show(round, args.json)? == Audience::Gone {
            return Ok(Exit::Done);
        }
        if is_quiet && !args.follow {
            let is_there = cursors.iter().any(|cursor| cursor.is_there);
            return if is_there { Ok(Exit::Done) } else { Err(ReadError::None { group }.into()) };
        }
        if is_quiet {
            match deadline {
                None => sleep(LOOK).await,
                Some(deadline) if timeout_at(deadline, sleep(LOOK)).await.is_ok() => {}
                Some(_) => return Ok(Exit::Done),
            }
        }
    }
}

/// The next part of each stream, together in the order of time.
async fn read(
    logs: &Logs,
    group: &str,
    cursors: &mut [Cursor],
) -> Result<Vec<(&'static str, LogEvent)>, LogsError> {
    let mut lines = Vec::new();
    for cursor in cursors {
        match logs.page(group, cursor.stream, cursor.next.as_deref()).await {
            Ok(page) => {
                cursor.is_there = true;
                cursor.next = page.next.or_else(|| cursor.next.take());
                lines.extend(page.events.into_iter().map(|event| (cursor.stream, event)));
            }
            // Made with the first line.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    lines.sort_by_key(|(_, event)| event.timestamp);
    Ok(lines)
}

fn show(lines: Vec<(&'static str, LogEvent)>, json: bool) -> Result<Audience, Box<dyn Advise>> {
    for (stream, event) in lines {
        let audience = if json {
            let LogEvent { timestamp, message } = &event;
            output::print_json_line(&Shown { timestamp: *timestamp, stream, message })?
        } else {
            output::print(&line(stream, &event))?
        };
        if audience == Audience::Gone {
            return Ok(Audience::Gone);
        }
    }
    Ok(Audience::Present)
}

fn line(stream: &str, event: &LogEvent) -> String {
    let at = UnixMillis(event.timestamp);
    // In one line, and with its indentation: a stack trace is read by it.
    format!("{at}  {stream:<11}  {}\n", event.message.replace(['\n', '\r'], " "))
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    /// CloudWatch Logs refused or did not answer.
    #[error("cannot read log group `{group}`")]
    Call { group: String, source: LogsError },
    /// There is no client.
    #[error("cannot reach CloudWatch Logs")]
    Client(#[source] ClientError),
    /// Nothing was ever written.
    #[error("there is no log group `{group}`, or nothing in it")]
    None { group: String },
}

impl Advise for ReadError {
    fn advice(&self) -> Option<String> {
        match self {
            Self::None { .. } => Some(
                "set `log_group_prefix` in the agents' and the coordinator's configuration, or read the \
                 journal of the parent: journalctl -u bailey-agent ENCLAVE_ID=<id>"
                    .to_owned(),
            ),
            Self::Call { .. } | Self::Client(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_whatever_is_in_it() {
        let event = LogEvent { timestamp: 0, message: "\tup\n2025 forged".to_owned() };
        let shown = "1970-01-01T00:00:00Z  application  \tup 2025 forged\n";
        assert_eq!(line(APPLICATION, &event), shown);
    }
}
