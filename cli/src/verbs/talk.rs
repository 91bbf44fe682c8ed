//! `bailey talk`

mod request;

use crate::{
    channel::{Channel, ChannelError, random},
    exit::{Advise, Exit, Outcome},
    output::{self, Audience},
    pcr_file::{self, PcrArgument},
    trust::trusted,
    vouch::{Challenge, Refusal, Terms, names_image, vouch},
};
use bailey_attestation::{DocumentSummary, InstanceBinding, TrustedRoots};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, Response, StatusCode, body::Incoming};
use request::{RequestFlags, Target};
use std::{fmt::Write as _, path::PathBuf, time::Duration};
use tokio::time::timeout;

/// Talk to a service in an enclave, once it has proven that it is the one
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// What to ask for: the URL of an HTTPS service
    url: Target,
    /// The measurements of its image: the manifest that the image's build wrote, the output of nitro-cli,
    /// or a JSON map
    #[arg(long, value_name = "FILE", required_unless_present = "pcrs")]
    expected_pcrs: Option<PathBuf>,
    /// A register's value, as N=HEX; may be given several times
    #[arg(long = "pcr", value_name = "N=HEX")]
    pcrs: Vec<PcrArgument>,
    /// Trust the root certificate in this PEM file instead of AWS's; may be given several times
    #[arg(long, value_name = "PEM")]
    root: Vec<PathBuf>,
    /// The EC2 instance on which the enclave must run
    #[arg(long, value_name = "ID")]
    instance_id: Option<String>,
    /// The role that the instance must have
    #[arg(long, value_name = "ARN", requires = "instance_id")]
    role_arn: Option<String>,
    /// Talk to an enclave in debug mode too, although its parent can read all of it
    #[arg(long)]
    allow_debug: bool,
    #[command(flatten)]
    request: RequestFlags,
    /// How long connecting and proving may take, and then the answer's head
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
}

const AFTER_HELP: &str = "\
It connects with TLS 1.3, taking any certificate, asks the service for an attestation document with a \
fresh nonce (GET /.well-known/attestation?nonce=HEX), and sends the request on that same connection \
only if the document is signed under the trusted root, has these measurements and this nonce, and \
vouches for the key of the certificate that this connection showed. The answer's body goes to standard \
output, what was proven to standard error.

Examples:
  bailey talk https://parent.example.internal:8443/ --expected-pcrs app.eif.manifest.json
  bailey talk https://10.0.0.7:8443/stamp --expected-pcrs app.eif.manifest.json --data @contract.pdf

Exit codes: 0 proven and answered, 1 refused, or answered with an error (HTTP 400 and above), 2 the \
service could not be reached, or a file not be read.";

/// As many random bytes as a nonce has.
const NONCE_LEN: usize = 32;

/// The longest document that is read, in bytes; genuine ones have a quarter of that.
const MAX_DOCUMENT: usize = 32 * 1024;

/// Where a service in an enclave answers with documents.
const DOCUMENT_PATH: &str = "/.well-known/attestation";

pub(crate) async fn run(args: Args) -> Outcome {
    let terms = terms(&args)?;
    // All that can be wrong with it is known before anybody is called.
    let request = args.request.request(&args.url)?;
    let limit = Duration::from_secs(args.timeout);
    let late = |_| TalkError::Late { seconds: args.timeout };
    let (mut channel, proven) = timeout(limit, prove(&args.url, &terms)).await.map_err(late)??;
    output::complain(&told(&args.url, &proven, &terms));
    let response = timeout(limit, channel.send(request)).await.map_err(late)??;
    let status = response.status();
    print(response).await?;
    if status.is_client_error() || status.is_server_error() {
        output::complain(&format!("bailey: the service answered {status}\n"));
        return Ok(Exit::Negative);
    }
    Ok(Exit::Done)
}

fn terms(args: &Args) -> Result<Terms, Box<dyn Advise>> {
    let mut pcrs = args.pcrs.clone();
    if let Some(file) = &args.expected_pcrs {
        let set = pcr_file::read(file)?;
        pcrs.extend(set.into_iter().map(|(index, value)| PcrArgument { index, value }));
    }
    if !names_image(&pcrs) {
        return Err(TalkError::AnyImage.into());
    }
    let role_arn = args.role_arn.clone();
    let instance = args.instance_id.clone();
    Ok(Terms {
        roots: trusted(&args.root)?,
        pcrs,
        instance: instance.map(|instance_id| InstanceBinding { instance_id, role_arn }),
        debug_allowed: args.allow_debug,
    })
}

/// A connection to an enclave that has proven to be the one, and what it proved.
async fn prove(
    target: &Target,
    terms: &Terms,
) -> Result<(Channel, DocumentSummary), Box<dyn Advise>> {
    let mut channel = Channel::open(target.host(), target.port()).await?;
    let nonce: [u8; NONCE_LEN] = random()?;
    let document = document(&mut channel, target, &nonce).await?;
    let now = bailey_runtime::now();
    let challenge = Challenge { nonce: &nonce, public_key: channel.public_key(), now };
    let proven =
        vouch(&document, challenge, terms).map_err(|source| TalkError::Refused { source })?;
    Ok((channel, proven))
}

async fn document(
    channel: &mut Channel,
    target: &Target,
    nonce: &[u8],
) -> Result<Vec<u8>, Box<dyn Advise>> {
    let uri = format!("{DOCUMENT_PATH}?nonce={}", hex::encode(nonce));
    let request = Request::get(uri).header("host", target.authority()).body(Full::default());
    let response = channel.send(request.map_err(|source| TalkError::Ask { source })?).await?;
    if response.status() != StatusCode::OK {
        return Err(TalkError::NoDocument { status: response.status() }.into());
    }
    let body = Limited::new(response.into_body(), MAX_DOCUMENT).collect().await;
    let body = body.map_err(|source| TalkError::Document { source })?;
    Ok(body.to_bytes().to_vec())
}

/// Prints the body as it comes.
async fn print(response: Response<Incoming>) -> Result<(), Box<dyn Advise>> {
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| ChannelError::Http { source })?;
        let Ok(data) = frame.into_data() else { continue };
        if output::print_bytes(&data)? == Audience::Gone {
            break;
        }
    }
    Ok(())
}

/// What was proven, for people.
fn told(target: &Target, proven: &DocumentSummary, terms: &Terms) -> String {
    let mut text = String::new();
    // Writing to a text cannot fail.
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<8} {}", output::one_line(value));
    };
    line("enclave", &proven.module_id);
    line("key", "vouched for: it is that of this connection's certificate");
    line("nonce", "fresh: the document answers this very connection");
    for PcrArgument { index, value } in &terms.pcrs {
        let found = proven.pcrs.get(index).map_or("", String::as_str);
        let as_expected = found == value.to_string();
        line(&format!("PCR{index}"), if as_expected { found } else { "zero, in debug mode" });
    }
    let root = if terms.roots == TrustedRoots::aws() {
        "AWS's root G1".to_owned()
    } else {
        format!("not AWS's, but SHA-256 {}", terms.roots)
    };
    line("root", &root);
    let parent = terms.instance.as_ref().map(|instance| instance.instance_id.as_str());
    line("parent", parent.unwrap_or("any; --instance-id names one"));
    let verdict = if proven.debug {
        "PROVEN, BUT IN DEBUG MODE: its parent can read all that is said"
    } else {
        "proven to be the enclave that was meant"
    };
    format!("bailey: {}: {verdict}\n{text}", target.authority())
}

/// Why nothing was said.
#[derive(Debug, thiserror::Error)]
enum TalkError {
    /// The measurements leave open which code runs.
    #[error("these measurements name no image")]
    AnyImage,
    /// The request for the document cannot be made.
    #[error("cannot ask for a document")]
    Ask { source: hyper::http::Error },
    /// The document is too long, or broke off.
    #[error("the document did not come")]
    Document { source: Box<dyn std::error::Error + Send + Sync> },
    /// The service did not answer in time.
    #[error("no answer within {seconds} s")]
    Late { seconds: u64 },
    /// The service has no document.
    #[error("the service proves nothing: it answered {status} when it was asked for a document")]
    NoDocument { status: StatusCode },
    /// It is not the one.
    #[error("nothing was sent")]
    Refused { source: Refusal },
}

impl Advise for TalkError {
    fn exit(&self) -> Exit {
        match self {
            Self::NoDocument { .. } | Self::Refused { .. } => Exit::Negative,
            _ => Exit::Unable,
        }
    }

    fn advice(&self) -> Option<String> {
        match self {
            Self::AnyImage => Some("give PCR0, PCR1 and PCR2, or PCR8".to_owned()),
            _ => None,
        }
    }
}
