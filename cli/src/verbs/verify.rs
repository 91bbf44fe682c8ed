//! `bailey verify`

use crate::{
    digest::Digest,
    evidence::Evidence,
    exit::{Advise, Exit, Outcome},
    history::{self, Ends, Entry},
    judge::{AsOf, Demands, judge},
    nonce::NonceArgument,
    output,
    pcr_file::PcrArgument,
    render,
    trust::trusted,
};
use bailey_attestation::InstanceBinding;
use bailey_manifest::{KeyError, PublicKey, TrustedKeys};
use bailey_model::UnixMillis;
use std::{
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

/// Judge an attestation report or document again, offline
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// A report, or a document (COSE_Sign1, binary or base64); - reads standard input
    #[arg(required_unless_present = "chain")]
    file: Option<PathBuf>,
    /// Check an enclave's whole history: a directory of its reports, as they lie in the bucket
    #[arg(long, value_name = "DIR", requires = "head", conflicts_with_all = ["file", "nonce"])]
    chain: Option<PathBuf>,
    /// The SHA-256 with which the history must end
    #[arg(long, value_name = "SHA256", requires = "chain")]
    head: Option<Digest>,
    /// The SHA-256 of the report before the first, when the directory does not reach back to it
    #[arg(long, value_name = "SHA256", requires = "chain")]
    from: Option<Digest>,
    /// Trust the root certificate in this PEM file instead of AWS's; may be given several times
    #[arg(long, value_name = "PEM")]
    root: Vec<PathBuf>,
    /// Judge as of this time, in milliseconds since 1970, or as of the `document`'s own time
    /// [default: when the report was made; now for a document]
    #[arg(long, value_name = "EPOCH_MS|document")]
    at: Option<At>,
    /// The nonce that the document must carry, in hex or base64
    #[arg(long, value_name = "NONCE")]
    nonce: Option<NonceArgument>,
    /// A register's value, as N=HEX; may be given several times
    #[arg(long = "pcr", value_name = "N=HEX")]
    pcrs: Vec<PcrArgument>,
    /// Require a manifest in the report that the public key in this PEM file signed; may be given
    /// several times
    #[arg(long = "manifest-key", value_name = "PEM")]
    manifest_keys: Vec<PathBuf>,
    /// Refuse debug mode and images that measure to zero
    #[arg(long)]
    require_production: bool,
    /// The EC2 instance on which the enclave must run
    #[arg(long, value_name = "ID")]
    instance_id: Option<String>,
    /// The role that the instance must have
    #[arg(long, value_name = "ARN", requires = "instance_id")]
    role_arn: Option<String>,
    /// Refuse a document older than this
    #[arg(long, value_name = "SECONDS")]
    max_age: Option<u64>,
    /// Print the judgement as JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Without further flags it judges authenticity alone: that the document was signed under the trusted \
root. What no flag asked for is listed as not checked. A report must also say of its document what \
the document says of itself.

With --chain, every report must also name the SHA-256 of the one before it, from the first up to \
the head: what is missing, edited, moved or foreign is named. A report of a rejection is not \
accepted there either.

Examples:
  bailey verify report.json --require-production --pcr 0=3f9a…
  bailey verify document.bin --nonce 00ff… --max-age 300
  bailey verify report.json --root local-root.pem --at document
  bailey verify --chain reports/demo --head 9f86d081…

Exit codes: 0 accepted, 1 rejected, 2 a file could not be read.";

/// As of when to judge.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum At {
    Document,
    Time(UnixMillis),
}

impl At {
    fn as_of(self) -> AsOf {
        match self {
            Self::Document => AsOf::DocumentsOwn,
            Self::Time(at) => AsOf::Stated(at),
        }
    }
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "document" => Ok(Self::Document),
            _ => text
                .parse()
                .map(|ms| Self::Time(UnixMillis(ms)))
                .map_err(|_| "write milliseconds since 1970, or `document`".to_owned()),
        }
    }
}

pub(crate) fn run(args: Args) -> Outcome {
    match (&args.file, &args.chain, args.head) {
        (_, Some(directory), Some(head)) => {
            let entries = history::read(directory)?;
            let ends = Ends { from: args.from, head };
            verify_chain(entries, ends, args)
        }
        (Some(file), ..) => {
            let evidence = Evidence::read(file)?;
            verify_file(&evidence, args)
        }
        (None, ..) => Err(NothingToVerify.into()),
    }
}

fn verify_file(evidence: &Evidence, args: Args) -> Outcome {
    let as_of = as_of(args.at, evidence, bailey_runtime::now());
    let json = args.json;
    let judgement = judge(evidence, &demands(args)?, as_of);
    if json {
        output::print_json(&judgement)?;
    } else {
        output::print(&render::verification(&judgement))?;
    }
    Ok(if judgement.accepted { Exit::Done } else { Exit::Negative })
}

fn verify_chain(entries: Vec<Entry>, ends: Ends, args: Args) -> Outcome {
    let (at, json) = (args.at, args.json);
    let as_of = |judged_at| at.map_or(AsOf::Report(judged_at), At::as_of);
    let history = history::judge_all(entries, ends, &demands(args)?, as_of);
    if json {
        output::print_json(&history)?;
    } else {
        output::print(&render::history(&history))?;
    }
    Ok(if history.accepted { Exit::Done } else { Exit::Negative })
}

/// A report is judged as of its own time, since its certificates live for hours; a document, which
/// names no other time than one of its own, as of now.
fn as_of(asked: Option<At>, evidence: &Evidence, now: UnixMillis) -> AsOf {
    match (asked, evidence) {
        (Some(at), _) => at.as_of(),
        (None, Evidence::Report(report)) => AsOf::Report(report.judged_at),
        (None, Evidence::Document(_)) => AsOf::Now(now),
    }
}

fn demands(args: Args) -> Result<Demands, Box<dyn Advise>> {
    let role_arn = args.role_arn;
    Ok(Demands {
        roots: trusted(&args.root)?,
        nonce: args.nonce,
        pcrs: args.pcrs,
        manifest_keys: manifest_keys(&args.manifest_keys)?,
        max_age_ms: args.max_age.map(|seconds| seconds.saturating_mul(1_000)),
        instance: args.instance_id.map(|instance_id| InstanceBinding { instance_id, role_arn }),
        production: args.require_production,
    })
}

fn manifest_keys(files: &[PathBuf]) -> Result<TrustedKeys, KeysError> {
    let key = |file: &PathBuf| {
        PublicKey::from_pem(&read(file)?)
            .map_err(|source| KeysError::Key { file: file.clone(), source })
    };
    files.iter().map(key).collect::<Result<_, _>>().map(TrustedKeys::new)
}

fn read(file: &Path) -> Result<String, KeysError> {
    fs::read_to_string(file).map_err(|source| KeysError::Read { file: file.to_owned(), source })
}

/// The command line names neither a file nor a history.
#[derive(Debug, thiserror::Error)]
#[error("there is nothing to verify: name a file, or --chain and --head")]
struct NothingToVerify;

impl Advise for NothingToVerify {}

/// Why a manifest's signature cannot be checked.
#[derive(Debug, thiserror::Error)]
enum KeysError {
    /// The file holds no public key.
    #[error("`{}` is no key for manifests", file.display())]
    Key { file: PathBuf, source: KeyError },
    /// The file cannot be read.
    #[error("cannot read `{}`", file.display())]
    Read { file: PathBuf, source: io::Error },
}

impl Advise for KeysError {
    fn advice(&self) -> Option<String> {
        match self {
            Self::Key { .. } => Some("give the public half of a P-384 key in PEM".to_owned()),
            Self::Read { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_document_is_judged_now_unless_asked_otherwise() {
        let document = Evidence::Document(vec![1]);
        let now = UnixMillis(5);
        assert_eq!(as_of(None, &document, now), AsOf::Now(now));
        assert_eq!(as_of(Some(At::Document), &document, now), AsOf::DocumentsOwn);
        let stated = UnixMillis(7);
        assert_eq!(as_of(Some(At::Time(stated)), &document, now), AsOf::Stated(stated));
    }

    #[test]
    fn a_time_is_milliseconds_or_the_documents_own() {
        assert_eq!("document".parse(), Ok(At::Document));
        assert_eq!("1735732800000".parse(), Ok(At::Time(UnixMillis(1_735_732_800_000))));
        assert!("yesterday".parse::<At>().is_err());
    }
}
