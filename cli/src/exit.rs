//! How the program ends.

use std::{error::Error, io, process::ExitCode};

/// The exit codes, as `bailey --help` documents them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// 0: done, or as it should be.
    Done,
    /// 1: the thing asked about failed or was rejected.
    Negative,
    /// 2: wrong usage, or something could not be read or reached.
    Unable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Negative => Self::from(1),
            Exit::Unable => Self::from(2),
        }
    }
}

/// What a verb comes to.
pub(crate) type Outcome = Result<Exit, Box<dyn Advise>>;

/// An error that ends the program.
pub(crate) trait Advise: Error {
    /// The exit code that tells a script what kind of end it is.
    fn exit(&self) -> Exit {
        Exit::Unable
    }

    /// What its reader can do about it.
    fn advice(&self) -> Option<String> {
        None
    }
}

impl<E: Advise + 'static> From<E> for Box<dyn Advise> {
    fn from(error: E) -> Self {
        Box::new(error)
    }
}

/// The program's own event loop could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the event loop")]
pub(crate) struct StartError {
    pub(crate) source: io::Error,
}

impl Advise for StartError {}
