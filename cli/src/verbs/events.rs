//! `bailey events`

use super::watch::Limit;
use crate::{
    CloudOptions,
    exit::{Advise, Exit, Outcome},
    following::{Following, News},
    ledger::{Ledger, Story},
    output::{self, Audience},
    render,
};
use bailey_lifecycle::ledger::Event;
use bailey_model::EnclaveId;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Show what happened to an enclave, as the coordinator's ledger tells it
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The enclave
    id: EnclaveId,
    /// Go on with what happens, until the enclave has ended and nothing more does
    #[arg(long)]
    follow: bool,
    /// Print each event as JSON, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limit: Limit,
    /// The coordinator's own table
    #[arg(
        long,
        value_name = "NAME",
        env = "BAILEY_LEDGER_TABLE",
        default_value = "bailey-ledger",
        help_heading = "Cloud"
    )]
    ledger_table: String,
}

const AFTER_HELP: &str = "\
Prints time, generation and text of each event, the newest forty at most. Events have numbers that \
are never used twice: when more came than are kept, it is said how many. --timeout counts with \
--follow only. Needs dynamodb:GetItem on the ledger's table, which a web app does not have.

Examples:
  bailey events demo
  bailey events demo --follow
  bailey events demo --json | jq -r .text

Exit codes: 0 shown, and with --follow ended; 1 --follow took longer than --timeout; 2 the ledger \
knows no such enclave, or could not be read.";

/// There is no event of DynamoDB that a reader could await. One look a second costs next to nothing
/// while somebody reads along.
const LOOK: Duration = Duration::from_secs(1);

/// A ledger that cannot be read for this many looks in a row, each with its own retries, is gone.
const FAILURES: u32 = 5;

pub(crate) async fn run(args: Args, cloud: &CloudOptions) -> Outcome {
    let ledger = Ledger::open(cloud, args.ledger_table.clone()).await;
    if args.follow {
        return follow(&ledger, &args).await;
    }
    let story = ledger.story(&args.id).await?.ok_or_else(|| ledger.unknown(&args.id))?;
    tell(Following::default().observe(story.events), args.json)?;
    Ok(Exit::Done)
}

async fn follow(ledger: &Ledger, args: &Args) -> Outcome {
    let deadline = args.limit.deadline(Instant::now());
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut following = Following::default();
    let mut failures = 0;
    loop {
        let looked = async {
            look.tick().await;
            ledger.story(&args.id).await
        };
        let looked = match deadline {
            None => Some(looked.await),
            Some(deadline) => tokio::time::timeout_at(deadline, looked).await.ok(),
        };
        let story = match looked {
            None => return Err(timed_out(args, following).into()),
            Some(Ok(story)) => story,
            Some(Err(error)) if error.passes() && failures < FAILURES => {
                failures += 1;
                continue;
            }
            Some(Err(error)) => return Err(error.into()),
        };
        failures = 0;
        // A request that was just written is taken up in a moment.
        let Some(story) = story else { continue };
        if advance(&mut following, story, args.json)? == Next::End {
            return Ok(Exit::Done);
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    End,
    Look,
}

/// Tells what is new. Once the enclave has ended, a look that shows nothing new is the last one.
fn advance(following: &mut Following, story: Story, json: bool) -> Result<Next, Box<dyn Advise>> {
    let is_over = story.is_over();
    let news = following.observe(story.events);
    let is_last = is_over && news.events.is_empty();
    let is_read = tell(news, json)? == Audience::Present;
    Ok(if is_last || !is_read { Next::End } else { Next::Look })
}

fn tell(news: News, json: bool) -> Result<Audience, Box<dyn Advise>> {
    if news.missed > 0 {
        // Not an event: whoever reads JSON sees it by the numbers.
        let text = render::missed(news.missed);
        if json {
            output::complain(&text);
        } else if output::print(&text)? == Audience::Gone {
            return Ok(Audience::Gone);
        }
    }
    for event in news.events {
        if print(&event, json)? == Audience::Gone {
            return Ok(Audience::Gone);
        }
    }
    Ok(Audience::Present)
}

fn print(event: &Event, json: bool) -> Result<Audience, Box<dyn Advise>> {
    Ok(if json { output::print_json_line(event)? } else { output::print(&render::event(event))? })
}

fn timed_out(args: &Args, following: Following) -> TimeoutError {
    let (id, seconds) = (args.id.clone(), args.limit.seconds());
    TimeoutError { id, seconds, is_known: following.has_begun() }
}

/// The enclave has not ended in time.
#[derive(Debug, thiserror::Error)]
#[error("`{id}` has not ended after {seconds} seconds")]
struct TimeoutError {
    id: EnclaveId,
    seconds: u64,
    /// Whether the ledger knows it.
    is_known: bool,
}

impl Advise for TimeoutError {
    fn exit(&self) -> Exit {
        Exit::Negative
    }

    fn advice(&self) -> Option<String> {
        Some(if self.is_known {
            "it goes on without a reader; without --follow the events so far are shown".to_owned()
        } else {
            "no coordinator has taken it up: is bailey-coordinator running on this ledger?"
                .to_owned()
        })
    }
}
