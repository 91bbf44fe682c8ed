//! `bailey watch`, and the waiting of `deploy --wait` and `destroy --wait`.

use crate::{
    CloudOptions,
    exit::{Advise, Exit, Outcome},
    instant,
    output::Audience,
    render,
    screen::Screen,
    table::{Table, TableError},
    view::RecordView,
    view::{ViewError, view},
    watching::{Progress, Watching, progress},
};
use bailey_model::{EnclaveId, Status, UnixMillis};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Watch an enclave until it is deployed, destroyed or failed
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The enclave
    id: EnclaveId,
    /// Watch until one of these statuses; any at which nothing more happens when left out
    #[arg(long, value_name = "STATUS", num_args = 1..)]
    until: Vec<Status>,
    #[command(flatten)]
    limit: Limit,
}

/// How long to wait.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Limit {
    /// Give up after so many seconds; never when left out
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
}

impl Limit {
    /// When to give up.
    pub(crate) fn deadline(self, now: Instant) -> Option<Instant> {
        self.timeout.map(|seconds| now + Duration::from_secs(seconds))
    }

    /// How long that is; zero when it is for ever.
    pub(crate) fn seconds(self) -> u64 {
        self.timeout.unwrap_or_default()
    }
}

const AFTER_HELP: &str = "\
Prints a line for each phase, with the time since the first one. On a terminal a live line shows \
what is going on; piped, only the lines are printed. A failure ends the watch, whatever it waits \
for; a destroyed enclave too.

Examples:
  bailey watch demo
  bailey watch demo --until DEPLOYED FAILED --timeout 1800

Exit codes: 0 it is as waited for, 1 it failed, ended otherwise, or took longer than --timeout, \
2 there is no such enclave or the table could not be read.";

pub(crate) async fn run(args: Args, cloud: &CloudOptions) -> Outcome {
    let table = Table::open(cloud).await;
    let goal = Goal { until: args.until, limit: args.limit };
    follow(&table, &args.id, Watching::everything(), goal).await
}

/// What to wait for, and how long.
#[derive(Debug)]
pub(crate) struct Goal {
    pub(crate) until: Vec<Status>,
    pub(crate) limit: Limit,
}

/// The record has no event that a reader could await, for DynamoDB lets only two programs read a
/// stream and the coordinator is one. Five looks a second cost next to nothing while one watches.
const LOOK: Duration = Duration::from_millis(200);

/// A table that cannot be read for this many looks in a row, each with its own retries, is gone.
const FAILURES: u32 = 5;

/// Shows the enclave's way until the goal is reached or missed.
pub(crate) async fn follow(
    table: &Table,
    id: &EnclaveId,
    mut watching: Watching,
    goal: Goal,
) -> Outcome {
    let screen = Screen::open();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let deadline = goal.limit.deadline(Instant::now());
    let mut failures = 0;
    let mut seen_phase = None;
    loop {
        look.tick().await;
        let looked = match deadline {
            None => Some(snapshot(table, id).await),
            Some(deadline) => tokio::time::timeout_at(deadline, snapshot(table, id)).await.ok(),
        };
        let view = match looked {
            None => return Err(timed_out(id, &goal, seen_phase).into()),
            Some(Ok(view)) => view,
            Some(Err(error)) if error.passes() && failures < FAILURES => {
                failures += 1;
                continue;
            }
            Some(Err(error)) => return Err(error.into()),
        };
        failures = 0;
        seen_phase = view.projection.as_ref().map(|projection| projection.phase.clone());
        if tell(&screen, &mut watching, &view)? == Audience::Gone {
            return Ok(Exit::Done);
        }
        let exit = match progress(&goal.until, view.known_status()) {
            Progress::Continue => continue,
            Progress::Missed => Exit::Negative,
            Progress::Reached => Exit::Done,
        };
        let after = watching.after(written_at(&view));
        screen.close(&render::closing(&view, after))?;
        return Ok(exit);
    }
}

async fn snapshot(table: &Table, id: &EnclaveId) -> Result<RecordView, WatchError> {
    let record = table.read(id).await.map_err(WatchError::Table)?;
    view(&record).map_err(WatchError::View)
}

fn tell(
    screen: &Screen,
    watching: &mut Watching,
    view: &RecordView,
) -> Result<Audience, Box<dyn Advise>> {
    for line in watching.observe(view, written_at(view)) {
        if screen.show(&line)? == Audience::Gone {
            return Ok(Audience::Gone);
        }
    }
    Ok(Audience::Present)
}

/// When the coordinator wrote what is seen now.
fn written_at(view: &RecordView) -> UnixMillis {
    let written = view.updated_at.as_deref().and_then(instant::parse);
    written.unwrap_or_else(bailey_runtime::now)
}

fn timed_out(id: &EnclaveId, goal: &Goal, phase: Option<String>) -> TimeoutError {
    TimeoutError { id: id.clone(), seconds: goal.limit.seconds(), phase }
}

/// Why a look at the record showed nothing.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error(transparent)]
    Table(TableError),
    #[error(transparent)]
    View(ViewError),
}

impl WatchError {
    /// Whether the next look may succeed.
    fn passes(&self) -> bool {
        matches!(self, Self::Table(TableError::Call { source, .. }) if source.code().is_none())
    }
}

impl Advise for WatchError {
    fn advice(&self) -> Option<String> {
        match self {
            Self::Table(error) => error.advice(),
            Self::View(error) => error.advice(),
        }
    }
}

/// What was waited for did not come in time.
#[derive(Debug, thiserror::Error)]
#[error("`{id}` is not there yet after {seconds} seconds{}", phase.as_ref().map_or_else(
    String::new, |phase| format!("; it is in phase {phase}")
))]
struct TimeoutError {
    id: EnclaveId,
    seconds: u64,
    /// The phase that was seen last; none when no coordinator has written one.
    phase: Option<String>,
}

impl Advise for TimeoutError {
    fn exit(&self) -> Exit {
        Exit::Negative
    }

    fn advice(&self) -> Option<String> {
        Some(if self.phase.is_some() {
            format!("it goes on without a watcher; `bailey show {}` tells how far it is", self.id)
        } else {
            "no coordinator has taken it up: is bailey-coordinator running on this table?"
                .to_owned()
        })
    }
}
