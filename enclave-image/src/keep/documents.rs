//! Documents for the workload, with a key of its own.
//!
//! Whoever may choose a document's `public_key` can have secrets sent to the enclave encrypted for itself;
//! so this has a socket that the workload's user alone can open, inside of the enclave, and no way from the
//! parent leads there. The parent's port makes documents without a key, and this one none without: neither
//! can be used to get the other's.

use super::{
    answer::{answer_each, too_many},
    chain,
    connection::{Listener, remove_socket},
    nsm::{AttestationInput, NsmError, SecurityModule},
    serve::{ConverseError, Peer, Service},
};
use bailey_vsock::{AttestResponse, DocumentRequest, RefusalCode};
use nix::{
    sys::{
        socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket},
        stat::{Mode, fchmod},
    },
    unistd::{Uid, chown},
};
use std::{
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::AsRawFd as _,
        unix::{fs::DirBuilderExt as _, net::UnixListener},
    },
    path::{Path, PathBuf},
};

/// Makes the documents that a workload asks for.
#[derive(Debug)]
pub(super) struct Documents<N> {
    nsm: N,
    /// Held open for as long as somebody may come through it; see [`Socket`].
    _directory: Option<File>,
}

impl<N: SecurityModule> Documents<N> {
    fn answer(&self, body: &[u8]) -> AttestResponse {
        let request = match DocumentRequest::parse(body) {
            Ok(request) => request,
            Err(err) => {
                log::warn!(error = chain(&err).as_str(); "request of the workload refused");
                return AttestResponse::refused(RefusalCode::InvalidRequest, chain(&err));
            }
        };
        match self.document(&request) {
            Ok(document) => {
                log::info!("document issued to the workload");
                AttestResponse::Document(document)
            }
            Err(err) => {
                let error = chain(&err);
                log::error!(error = error.as_str(); "no document for the workload");
                AttestResponse::refused(RefusalCode::NsmFailed, error)
            }
        }
    }

    fn document(&self, request: &DocumentRequest) -> Result<Vec<u8>, NsmError> {
        self.nsm.attest(AttestationInput {
            user_data: request.user_data().map(<[u8]>::to_vec),
            nonce: request.nonce().map(<[u8]>::to_vec),
            public_key: Some(request.public_key().to_vec()),
        })
    }
}

impl<N: SecurityModule> Service for Documents<N> {
    fn converse(&self, peer: &mut Peer) -> Result<(), ConverseError> {
        answer_each(peer, |body| self.answer(body))
    }

    fn turned_away(&self, message: String) -> Option<Vec<u8>> {
        too_many(message)
    }
}

/// The socket, before anybody is served on it.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: Listener,
    /// Where clients find it: the path that was asked for, or, where that is longer than Unix addresses
    /// are, a short one through a descriptor of this process, as `keep run` needs deep below a directory
    /// of tests.
    pub(super) path: PathBuf,
    directory: Option<File>,
}

/// The longest path of a Unix socket, in bytes: `sun_path` of unix(7) less the zero at its end.
const MAX_SOCKET_PATH: usize = 107;

/// Nobody but the owner: connecting takes the right to write.
const OWNER_ALONE: Mode = Mode::from_bits_truncate(0o600);

/// How many connections wait until they are accepted.
const BACKLOG: i32 = 128;

impl Socket {
    /// Opens it at `path`, for `owner` alone; for this process's own user without one. The directory is made
    /// when it is missing.
    pub(super) fn open(path: &Path, owner: Option<Uid>) -> io::Result<Self> {
        let no_file = || io::Error::from(io::ErrorKind::InvalidInput);
        let (directory, name) = path.parent().zip(path.file_name()).ok_or_else(no_file)?;
        make(directory)?;
        let (directory, bound, shown) = if path.as_os_str().len() <= MAX_SOCKET_PATH {
            (None, path.to_owned(), path.to_owned())
        } else {
            let directory = File::open(directory)?;
            let descriptor = directory.as_raw_fd();
            let through = |process: &str| {
                Path::new("/proc").join(process).join("fd").join(descriptor.to_string()).join(name)
            };
            let (own, of_all) = (through("self"), through(&std::process::id().to_string()));
            (Some(directory), own, of_all)
        };
        let listener = Listener::Unix(bind_for_owner(&bound)?);
        if owner.is_some() {
            chown(&bound, owner, None)?;
        }
        Ok(Self { listener, path: shown, directory })
    }

    /// The listener, and who answers on it.
    pub(super) fn service<N: SecurityModule>(self, nsm: N) -> (Listener, Documents<N>) {
        (self.listener, Documents { nsm, _directory: self.directory })
    }
}

/// Binds a socket that its owner alone can open, from its first moment on: Linux takes the permissions from
/// the socket, before it has a name. What is changed afterwards can be opened before.
fn bind_for_owner(path: &Path) -> io::Result<UnixListener> {
    remove_socket(path)?;
    let family = AddressFamily::Unix;
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    fchmod(&socket, OWNER_ALONE)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(UnixListener::from(socket))
}

/// Makes the directory: anybody may pass, its owner alone may see or change what is in it.
fn make(directory: &Path) -> io::Result<()> {
    if let Some(above) = directory.parent() {
        fs::create_dir_all(above)?;
    }
    match DirBuilder::new().mode(0o711).create(directory) {
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keep::serve::{Limits, serve};
    use bailey_vsock::documents::{Client, DocumentsError};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    /// Names what it was asked to sign; refuses the nonce `no`.
    #[derive(Debug)]
    struct NamingNsm;

    impl SecurityModule for NamingNsm {
        fn attest(&self, input: AttestationInput) -> Result<Vec<u8>, NsmError> {
            match input.nonce.as_deref() {
                Some(b"no") => Err(NsmError::Refused { code: "InternalError".into() }),
                _ => Ok(format!("{input:?}").into_bytes()),
            }
        }
    }

    fn serving(path: &Path) -> Client {
        let socket = Socket::open(path, None).unwrap();
        let client = Client::new(&socket.path);
        let (listener, documents) = socket.service(NamingNsm);
        std::thread::spawn(move || serve(&listener, documents, Limits::default()));
        client
    }

    fn key() -> DocumentRequest {
        DocumentRequest::new(*b"key").unwrap()
    }

    #[test]
    fn a_document_holds_the_workloads_key_and_what_else_it_asked_for_and_nothing_more() {
        let dir = tempfile::tempdir().unwrap();
        let client = serving(&dir.path().join("run/keep/documents.sock"));
        let expected = AttestationInput { public_key: Some(b"key".to_vec()), ..Default::default() };
        assert_eq!(client.document(&key()).unwrap(), format!("{expected:?}").into_bytes());
        let full = key().with_nonce(*b"nonce").unwrap().with_user_data(*b"data").unwrap();
        let expected = AttestationInput {
            nonce: Some(b"nonce".to_vec()),
            user_data: Some(b"data".to_vec()),
            ..expected
        };
        assert_eq!(client.document(&full).unwrap(), format!("{expected:?}").into_bytes());
    }

    #[test]
    fn a_refusal_of_the_modules_is_passed_on() {
        let dir = tempfile::tempdir().unwrap();
        let client = serving(&dir.path().join("socket"));
        let refused = client.document(&key().with_nonce(*b"no").unwrap()).unwrap_err();
        assert!(matches!(refused, DocumentsError::Refused(refusal)
            if refusal.code == RefusalCode::NsmFailed && refusal.message == "NSM refused: InternalError"));
    }

    /// What this would sign, no agent and no coordinator takes.
    #[test]
    fn a_parents_request_gets_no_document_here() {
        let documents = Documents { nsm: NamingNsm, _directory: None };
        let body = br#"{"version":1,"enclave_id":"enc_1","generation":1,"nonce":"bm9uY2U="}"#;
        let refusal = documents.answer(body).into_document().unwrap_err();
        assert_eq!(refusal.code, RefusalCode::InvalidRequest);
    }

    #[test]
    fn its_owner_alone_can_open_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/keep/documents.sock");
        let owner = fs::metadata(dir.path()).unwrap().uid();
        // Only root can give it to somebody else.
        let wanted = if owner == 0 { 4_000 } else { owner };
        let _socket = Socket::open(&path, Some(Uid::from_raw(wanted))).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.permissions().mode() & 0o777), (wanted, 0o600));
        let directory = fs::metadata(path.parent().unwrap()).unwrap();
        assert_eq!((directory.uid(), directory.permissions().mode() & 0o777), (owner, 0o711));
    }

    #[test]
    fn a_path_that_is_too_long_for_a_socket_has_a_short_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x".repeat(120)).join("documents.sock");
        let client = serving(&path);
        assert!(client.document(&key()).is_ok());
        assert!(path.exists());
    }

    #[test]
    fn a_socket_that_an_earlier_process_left_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        drop(Socket::open(&path, None).unwrap());
        assert!(serving(&path).document(&key()).is_ok());
    }
}
