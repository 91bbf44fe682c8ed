//! The `bailey` command line: asks for enclaves, shows what became of them, judges their proofs.
//!
//! It writes what a web app would write, the request on a record, and reads what the coordinator
//! wrote, `events` in the ledger too, and `logs` what agents sent to CloudWatch Logs; it needs neither of them to be reachable. `verify`, `eif measure` and `image` work offline, and `talk` needs the enclave alone.
//!
//! | module | holds |
//! | --- | --- |
//! | `verbs` | one file per verb: its flags, and its steps |
//! | `render` | what people read, as pure functions from data to text |
//! | `watching`, `following` | which line of a deploy's life, or of its events, to print next |
//! | `evidence`, `judge`, `claims` | what `verify` reads, judges, and compares |
//! | `history` | an enclave's chain of reports, and what is wrong with it |
//! | `table`, `ledger` | the records, and the events in the coordinator's own table |
//! | `objects`, `archive` | S3, and an enclave's reports in it |
//! | `upload` | an image on its way to S3 |
//! | `channel`, `vouch` | a connection to an enclave, and whether that is the one that was meant |

mod archive;
mod call_error;
mod channel;
mod claims;
mod digest;
mod evidence;
mod exit;
mod following;
mod history;
mod instant;
mod judge;
mod ledger;
mod nonce;
mod objects;
mod output;
mod pcr_file;
mod render;
#[cfg(test)]
mod report_schema;
mod screen;
mod table;
mod trust;
mod upload;
mod verbs;
mod view;
mod vouch;
mod watching;

use clap::{Parser, Subcommand};
use exit::{Advise, Exit, Outcome};
use std::process::ExitCode;
use verbs::{
    deploy, destroy, eif, events, image, logs, ls, pause, report, resume, show, talk, verify, watch,
};

/// A control plane for AWS Nitro Enclaves: deploy enclaves, watch them, check their proofs
#[derive(Debug, Parser)]
#[command(name = "bailey", version, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(flatten)]
    cloud: CloudOptions,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit codes:
  0  done, or the thing asked about is as it should be
  1  the thing asked about failed or was rejected
  2  wrong usage, or something could not be read or reached

Credentials and region come from the usual AWS settings (AWS_PROFILE, AWS_REGION, …); a local \
cloud is reached with AWS_ENDPOINT_URL.

Examples:
  bailey deploy demo --eif s3://images/demo.eif --expected-pcrs demo.eif.manifest.json --wait
  bailey report demo --out report.json
  bailey verify report.json --require-production
  bailey destroy demo --wait";

/// Which cloud the verbs speak to.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Cloud")]
struct CloudOptions {
    /// The table of enclave records
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "BAILEY_ENCLAVES_TABLE",
        default_value = "bailey-enclaves"
    )]
    table: String,
    /// The AWS region; the AWS settings' own when left out
    #[arg(long, global = true, value_name = "REGION")]
    region: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Deploy(deploy::Args),
    Destroy(destroy::Args),
    #[command(subcommand)]
    Eif(eif::Command),
    Events(events::Args),
    #[command(subcommand)]
    Image(image::Command),
    Logs(logs::Args),
    Ls(ls::Args),
    Pause(pause::Args),
    Report(report::Args),
    Resume(resume::Args),
    Show(show::Args),
    Talk(talk::Args),
    Verify(verify::Args),
    Watch(watch::Args),
}

/// Does what the command line asks, and says how it went.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    dispatch(cli).unwrap_or_else(|error| explain(error.as_ref())).into()
}

fn dispatch(cli: Cli) -> Outcome {
    let cloud = &cli.cloud;
    match cli.command {
        Command::Deploy(args) => on_runtime(deploy::run(args, cloud)),
        Command::Destroy(args) => on_runtime(destroy::run(args, cloud)),
        Command::Eif(eif::Command::Measure(args)) => eif::measure(args),
        Command::Eif(eif::Command::Publish(args)) => on_runtime(eif::publish::run(args, cloud)),
        Command::Events(args) => on_runtime(events::run(args, cloud)),
        Command::Image(command) => image::run(command),
        Command::Logs(args) => on_runtime(logs::run(args, cloud)),
        Command::Ls(args) => on_runtime(ls::run(args, cloud)),
        Command::Pause(args) => on_runtime(pause::run(args, cloud)),
        Command::Report(args) => on_runtime(report::run(args, cloud)),
        Command::Resume(args) => on_runtime(resume::run(args, cloud)),
        Command::Show(args) => on_runtime(show::run(args, cloud)),
        Command::Talk(args) => on_runtime(talk::run(args)),
        Command::Verify(args) => verify::run(args),
        Command::Watch(args) => on_runtime(watch::run(args, cloud)),
    }
}

/// One thread serves a program that makes one call after the other.
fn on_runtime(verb: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| exit::StartError { source })?;
    runtime.block_on(verb)
}

fn explain(error: &dyn Advise) -> Exit {
    let mut text = format!("bailey: {}\n", bailey_runtime::chain(error));
    if let Some(advice) = error.advice() {
        text.push_str("        ");
        text.push_str(&advice);
        text.push('\n');
    }
    output::complain(&text);
    error.exit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_shows_an_example_in_its_help() {
        let command = Cli::command();
        for verb in command.get_subcommands().filter(|verb| !verb.has_subcommands()) {
            let help = verb.clone().render_long_help().to_string();
            assert!(help.contains("Example"), "{} shows no example", verb.get_name());
            assert!(help.contains("Exit code"), "{} is silent on exit codes", verb.get_name());
        }
    }

    /// Every command of the page about networks is one that this program understands.
    #[test]
    fn the_commands_of_the_networking_page_are_understood() {
        let page = include_str!("../../docs/networking.md").replace("\\\n", " ");
        let blocks = page.split("```sh").skip(1).filter_map(|rest| rest.split("```").next());
        let lines =
            blocks.flat_map(str::lines).chain(page.split('`').filter(|it| !it.contains('\n')));
        let commands: Vec<&str> = lines.filter(|line| line.starts_with("bailey ")).collect();
        let understood = |line: &&str| {
            let words = line.split('#').next().unwrap_or(line).split_whitespace();
            let parsed = Cli::try_parse_from(words);
            parsed.inspect_err(|error| eprintln!("{line}\n{error}")).is_ok()
        };
        let whole = commands.iter().filter(|line| line.contains(" --")).collect::<Vec<_>>();
        assert!(whole.len() >= 3, "{whole:?}");
        assert!(whole.iter().all(|line| understood(line)));
    }
}
