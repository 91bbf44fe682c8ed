//! `keep-kms`: the calls as a command, for workloads that are not written in Rust.

use crate::{
    call::{Decrypt, EncryptionContext, GenerateDataKey, GenerateRandom},
    client::{Endpoint, Kms, KmsError, KmsNewError},
    credentials::Source,
    documents::KeepDocuments,
};
use bailey_model::chain;
use clap::Parser;
use std::{
    error::Error,
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// A ciphertext of KMS's has at most 6,144 bytes.
const MAX_CIPHERTEXT: u64 = 6_144;

/// Decrypt with AWS KMS inside an enclave: what KMS answers, only this enclave can read
#[derive(Debug, Parser)]
#[command(name = "keep-kms", version, after_help = AFTER_HELP)]
struct Args {
    /// The region of the key
    #[arg(long, env = "AWS_REGION", value_name = "REGION")]
    region: String,
    /// Another address than AWS's, https://...
    #[arg(long, env = "AWS_ENDPOINT_URL_KMS", value_name = "URL")]
    endpoint_url: Option<String>,
    /// The root certificates that are trusted, as PEM, instead of Mozilla's
    #[arg(long, env = "SSL_CERT_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Credentials as a `credential_process` prints them; without it, those of the environment
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

const AFTER_HELP: &str = "\
The attestation document comes from the socket that KEEP_DOCUMENTS names, the way to KMS is the proxy \
that HTTPS_PROXY names; keep sets both. The record has to list kms.REGION.amazonaws.com:443 in `egress`.

Examples:
  keep-kms --region eu-west-1 decrypt --input secret.kms --output /run/secret
  keep-kms --region eu-west-1 generate-data-key --key-id alias/mine --ciphertext key.kms > /run/key

Exit codes: 0 done, 1 failed, 2 wrong usage.";

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Write the plaintext of what KMS encrypted
    Decrypt {
        /// The key that it must have been encrypted with: id, ARN or alias
        #[arg(long, value_name = "KEY")]
        key_id: Option<String>,
        /// A pair of the encryption context; may be given several times
        #[arg(long = "context", value_name = "KEY=VALUE", value_parser = pair)]
        context: Vec<(String, String)>,
        /// The ciphertext, as bytes; standard input without it
        #[arg(long, value_name = "FILE")]
        input: Option<PathBuf>,
        /// Where the plaintext is written, readable by its owner only; standard output without it
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write a new symmetric key, and its encrypted form to a file
    GenerateDataKey {
        /// The key to encrypt it with: id, ARN or alias
        #[arg(long, value_name = "KEY")]
        key_id: String,
        /// Its length
        #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
        bytes: u16,
        /// A pair of the encryption context; may be given several times
        #[arg(long = "context", value_name = "KEY=VALUE", value_parser = pair)]
        context: Vec<(String, String)>,
        /// Where the encrypted key is written, to be kept
        #[arg(long, value_name = "FILE")]
        ciphertext: PathBuf,
        /// Where the key is written, readable by its owner only; standard output without it
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write random bytes of KMS's
    GenerateRandom {
        /// How many
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
        bytes: u16,
        /// Where they are written, readable by their owner only; standard output without it
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// Runs the program.
#[must_use]
pub fn run() -> ExitCode {
    let args = Args::parse();
    match carry_out(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("keep-kms: {}", chain(&err));
            ExitCode::FAILURE
        }
    }
}

fn carry_out(args: Args) -> Result<(), CommandError> {
    let Args { region, endpoint_url: url, ca_file: roots, credentials, verb } = args;
    let documents = KeepDocuments::from_environment().map_err(CommandError::Documents)?;
    let credentials = credentials.map_or(Source::Environment, Source::File);
    let kms = Kms::new(Endpoint { region, url, roots }, credentials, Box::new(documents))?;
    match verb {
        Verb::Decrypt { key_id, context, input, output } => {
            let ciphertext_blob = read(input.as_deref())?.into();
            let encryption_context = EncryptionContext::from_iter(context);
            let secret = kms.decrypt(&Decrypt { ciphertext_blob, key_id, encryption_context })?;
            write(output.as_deref(), secret.as_slice())
        }
        Verb::GenerateDataKey { key_id, bytes, context, ciphertext, output } => {
            let encryption_context = EncryptionContext::from_iter(context);
            let call = GenerateDataKey { key_id, number_of_bytes: bytes, encryption_context };
            let key = kms.generate_data_key(&call)?;
            write(Some(&ciphertext), &key.ciphertext)?;
            write(output.as_deref(), key.plaintext.as_slice())
        }
        Verb::GenerateRandom { bytes, output } => {
            let secret = kms.generate_random(GenerateRandom { number_of_bytes: bytes })?;
            write(output.as_deref(), secret.as_slice())
        }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("no `=` in it")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn read(path: Option<&Path>) -> Result<Vec<u8>, CommandError> {
    let name = || path.map_or_else(|| "standard input".into(), |path| path.display().to_string());
    let failed = |source| CommandError::Read { name: name(), source };
    let mut source: Box<dyn io::Read> = match path {
        Some(path) => Box::new(fs::File::open(path).map_err(failed)?),
        None => Box::new(io::stdin().lock()),
    };
    let mut bytes = Vec::new();
    // One more than there may be, so that more is noticed.
    source
        .by_ref()
        .take(MAX_CIPHERTEXT.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    match u64::try_from(bytes.len()) {
        Ok(1..=MAX_CIPHERTEXT) => Ok(bytes),
        _ => Err(CommandError::Length { name: name() }),
    }
}

fn write(path: Option<&Path>, bytes: &[u8]) -> Result<(), CommandError> {
    let outcome = match path {
        Some(path) => OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .and_then(|mut file| file.write_all(bytes)),
        None => io::stdout().lock().write_all(bytes).and_then(|()| io::stdout().flush()),
    };
    let name = path.map_or_else(|| "standard output".into(), |path| path.display().to_string());
    outcome.map_err(|source| CommandError::Write { name, source })
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("nobody makes attestation documents")]
    Documents(#[source] Box<dyn Error + Send + Sync>),
    #[error("{name} holds no ciphertext of KMS's: those have 1 to {MAX_CIPHERTEXT} bytes")]
    Length { name: String },
    #[error(transparent)]
    Kms(#[from] KmsError),
    #[error(transparent)]
    New(#[from] KmsNewError),
    #[error("cannot read {name}")]
    Read { name: String, source: io::Error },
    #[error("cannot write {name}")]
    Write { name: String, source: io::Error },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn what_is_written_is_its_owners_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write(Some(&path), b"hush").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(Some(&path)).unwrap(), b"hush");
        fs::write(&path, vec![0; 6_145]).unwrap();
        assert!(read(Some(&path)).unwrap_err().to_string().contains("1 to 6144 bytes"));
        fs::write(&path, []).unwrap();
        assert!(matches!(read(Some(&path)), Err(CommandError::Length { .. })));
    }
}
