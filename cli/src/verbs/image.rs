//! `bailey image`

pub(crate) mod inspect;
pub(crate) mod kms_policy;

use crate::{
    exit::{Advise, Exit, Outcome},
    output, render,
};
use bailey_enclave_image::command::{BuildArgs, CommandError};
use bailey_manifest::{ENVELOPE_SUFFIX, KeyError, SignError, SigningKey};
use bailey_model::{Pcr, manifest::Manifest};
use sha2::{Digest as _, Sha384};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// Build enclave images, look into them, sign their manifests
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Build(Box<Args>),
    Inspect(inspect::Args),
    KmsPolicy(kms_policy::Args),
    NewKey(NewKeyArgs),
    Sign(SignArgs),
}

/// Build an enclave image and its manifest (FILE.manifest.json)
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    image: BuildArgs,
    /// Print JSON with the field names of `nitro-cli build-enclave`
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
The same files give the same image, byte for byte. The manifest can be given to \
`bailey deploy --expected-pcrs`.

Examples:
  bailey image build --kernel-dir /usr/share/nitro_enclaves/blobs --keep keep \\
      --add /app=target/release/app --output demo.eif -- /app --port 8080
  docker save my-app -o my-app.tar
  bailey image build --kernel-dir /usr/share/nitro_enclaves/blobs --keep keep \\
      --image my-app.tar --output my-app.eif

Exit codes: 0 built, 2 a part could not be used or the image could not be written.";

/// Make a key pair for signing manifests
#[derive(Debug, clap::Args)]
#[command(after_help = NEW_KEY_AFTER_HELP)]
pub(crate) struct NewKeyArgs {
    /// The private key to write; the public key goes to FILE.pub
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

const NEW_KEY_AFTER_HELP: &str = "\
ECDSA over P-384. The private key is written unencrypted, for its owner's eyes only (mode 0600); an existing \
file is never overwritten. Any such key serves, one that OpenSSL made too.

Example:
  bailey image new-key images.key
  # coordinator.toml: manifest_keys = [\"/etc/bailey/images.key.pub\"]

Exit codes: 0 written, 2 not written.";

/// Sign an image's manifest, so that the coordinator believes it
#[derive(Debug, clap::Args)]
#[command(after_help = SIGN_AFTER_HELP)]
pub(crate) struct SignArgs {
    /// The image whose manifest (FILE.manifest.json) is to be signed
    #[arg(value_name = "FILE")]
    image: PathBuf,
    /// The private key, PEM
    #[arg(long, value_name = "FILE", env = "BAILEY_MANIFEST_KEY")]
    key: PathBuf,
}

const SIGN_AFTER_HELP: &str = "\
Checks first that the manifest is about this very file. The signed manifest goes to FILE.manifest.dsse.json; \
upload it beside the image, under the image's key with the same ending. A coordinator whose manifest_keys hold \
the public key then expects these measurements of every record that states none.

Example:
  bailey image sign demo.eif --key images.key
  aws s3 cp demo.eif s3://your-bucket/demo.eif
  aws s3 cp demo.eif.manifest.dsse.json s3://your-bucket/demo.eif.manifest.dsse.json

Exit codes: 0 signed, 2 not signed.";

pub(crate) fn run(command: Command) -> Outcome {
    match command {
        Command::Build(args) => build(*args),
        Command::Inspect(args) => inspect::run(args),
        Command::KmsPolicy(args) => kms_policy::run(&args),
        Command::NewKey(args) => new_key(&args.file),
        Command::Sign(args) => sign(&args.image, &args.key),
    }
}

fn build(args: Args) -> Outcome {
    let image = args.image.output.clone();
    let built = args.image.run().map_err(|source| BuildError { image, source })?;
    if args.json {
        output::print_json(&render::description(&built.measurement))?;
    } else {
        output::print(&render::measurement(&built.measurement))?;
    }
    Ok(Exit::Done)
}

fn new_key(file: &Path) -> Outcome {
    let failed = |source| NewKeyError::Key { source };
    let private = SigningKey::generate_pem().map_err(failed)?;
    let key = SigningKey::from_pem(&private).map_err(failed)?;
    let public_file = with_suffix(file, ".pub");
    write_new(file, 0o600, &private)?;
    write_new(&public_file, 0o644, &key.public_key_pem().map_err(failed)?)?;
    let id = key.public_key().map_err(failed)?;
    output::print(&format!(
        "private key: {}\npublic key:  {}\nkey id:      {}\n",
        file.display(),
        public_file.display(),
        id.id()
    ))?;
    Ok(Exit::Done)
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), NewKeyError> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    opened
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| NewKeyError::Write { path: path.to_owned(), source })
}

fn sign(image: &Path, key: &Path) -> Outcome {
    let read = |path: &Path| {
        fs::read(path).map_err(|source| SignImageError::Read { path: path.to_owned(), source })
    };
    let pem = String::from_utf8(read(key)?).unwrap_or_default();
    let key = SigningKey::from_pem(&pem)
        .map_err(|source| SignImageError::Key { path: key.to_owned(), source })?;
    let manifest_file = with_suffix(image, ".manifest.json");
    let text = read(&manifest_file)?;
    let unusable = |source| SignImageError::Manifest { path: manifest_file.clone(), source };
    let envelope = bailey_manifest::sign(&text, &key).map_err(unusable)?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(SignError::Manifest).map_err(unusable)?;
    let found = sha384_of(image)?;
    if found != manifest.eif_sha384 {
        let (image, stated) = (image.to_owned(), manifest.eif_sha384);
        return Err(SignImageError::OtherFile { image, stated, found }.into());
    }
    let signed = with_suffix(image, ENVELOPE_SUFFIX);
    fs::write(&signed, envelope + "\n")
        .map_err(|source| SignImageError::Write { path: signed.clone(), source })?;
    output::print(&format!("signed manifest: {}\n", signed.display()))?;
    Ok(Exit::Done)
}

fn sha384_of(image: &Path) -> Result<Pcr, SignImageError> {
    let mut hash = Sha384::new();
    let hashed = File::open(image).and_then(|mut file| io::copy(&mut file, &mut hash));
    hashed.map_err(|source| SignImageError::Read { path: image.to_owned(), source })?;
    Ok(Pcr(hash.finalize().into()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Why there is no key pair.
#[derive(Debug, thiserror::Error)]
enum NewKeyError {
    /// The cryptographic library fails.
    #[error("cannot make a key")]
    Key { source: KeyError },
    /// A file cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl Advise for NewKeyError {}

/// Why a manifest is not signed.
#[derive(Debug, thiserror::Error)]
enum SignImageError {
    /// The key cannot be used.
    #[error("the key `{}` cannot be used", path.display())]
    Key { path: PathBuf, source: KeyError },
    /// The manifest cannot be signed.
    #[error("the manifest `{}` cannot be signed", path.display())]
    Manifest { path: PathBuf, source: SignError },
    /// The manifest is about another file.
    #[error("the manifest is about the file {stated}, and `{}` is {found}", image.display())]
    OtherFile { image: PathBuf, stated: Pcr, found: Pcr },
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The signed manifest cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl Advise for SignImageError {}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
#[error("cannot build `{}`", image.display())]
struct BuildError {
    image: PathBuf,
    source: CommandError,
}

impl Advise for BuildError {}
