//! `keep document`: documents for workloads that are scripts.

use super::{USAGE, chain};
use bailey_vsock::{
    DocumentRequest, DocumentRequestError,
    documents::{Client, DocumentsError},
};
use std::{
    fs::File,
    io::{self, Read, Write as _},
    path::PathBuf,
    process::ExitCode,
};

/// Prints a document, as the flags ask for it.
pub(super) fn document(flags: &[&str]) -> ExitCode {
    let Some(flags) = Flags::parse(flags) else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    match print(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("keep: {}", chain(&err));
            ExitCode::FAILURE
        }
    }
}

fn print(flags: &Flags) -> Result<(), CommandError> {
    let keep = Client::from_env().map_err(CommandError::Keep)?;
    let document = keep.document(&flags.request()?).map_err(CommandError::Keep)?;
    let mut out = io::stdout().lock();
    out.write_all(&document).and_then(|()| out.flush()).map_err(CommandError::Print)
}

/// The flags as they were given.
#[derive(Debug, Eq, PartialEq)]
struct Flags {
    public_key: PathBuf,
    nonce: Option<Vec<u8>>,
    user_data: Option<PathBuf>,
}

impl Flags {
    /// Each flag once at most, and the key always.
    fn parse(mut flags: &[&str]) -> Option<Self> {
        let (mut public_key, mut nonce, mut user_data) = (None, None, None);
        while let [flag, value, rest @ ..] = flags {
            let given = match *flag {
                "--public-key" => public_key.replace(PathBuf::from(value)).is_some(),
                "--nonce" => nonce.replace(hex::decode(value).ok()?).is_some(),
                "--user-data" => user_data.replace(PathBuf::from(value)).is_some(),
                _ => return None,
            };
            if given {
                return None;
            }
            flags = rest;
        }
        flags.is_empty().then_some(Self { public_key: public_key?, nonce, user_data })
    }

    fn request(&self) -> Result<DocumentRequest, CommandError> {
        let mut request =
            DocumentRequest::new(read(&self.public_key)?).map_err(CommandError::Request)?;
        if let Some(nonce) = &self.nonce {
            request = request.with_nonce(nonce.clone()).map_err(CommandError::Request)?;
        }
        if let Some(file) = &self.user_data {
            request = request.with_user_data(read(file)?).map_err(CommandError::Request)?;
        }
        Ok(request)
    }
}

/// More than any field of a document takes; so a file that is too long is still refused for its length.
const MOST: u64 = 64 * 1024;

fn read(path: &PathBuf) -> Result<Vec<u8>, CommandError> {
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().take(MOST).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut bytes))
    };
    read.map(|_| bytes).map_err(|source| CommandError::Read { path: path.clone(), source })
}

/// Why nothing was printed.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("there is no document")]
    Keep(#[source] DocumentsError),
    #[error("cannot print the document")]
    Print(#[source] io::Error),
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("no document can hold that")]
    Request(#[source] DocumentRequestError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flag_is_taken_once_and_the_key_is_needed() {
        let parse = |words: &str| Flags::parse(&words.split(' ').collect::<Vec<_>>());
        let expected = Flags {
            public_key: "key.der".into(),
            nonce: Some(vec![0x00, 0xff]),
            user_data: Some("-".into()),
        };
        assert_eq!(parse("--nonce 00ff --public-key key.der --user-data -"), Some(expected));
        for words in [
            "",
            "--nonce 00ff",
            "--public-key",
            "--public-key a --nonce xyz",
            "--public-key a --public-key b",
            "--public-key a --nonce 00 --nonce 01",
            "--public-key a --pubic-key b",
            "--public-key a b",
        ] {
            assert_eq!(parse(words), None, "{words}");
        }
    }

    #[test]
    fn a_file_that_no_document_holds_is_refused_for_its_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, vec![7; 1_025]).unwrap();
        let flags = Flags { public_key: path, nonce: None, user_data: None };
        let said = "no document can hold that: public_key has 1025 bytes, allowed are 1 to 1024";
        assert_eq!(chain(&flags.request().unwrap_err()), said);
    }
}
