//! Logs on standard error, for people and for collectors that read it.

use env_logger::{Builder, Env};

/// Sends the `log` crate's records, key-values included, to standard error.
///
/// `RUST_LOG` sets what is shown; Bailey's own records from `info` on and warnings of libraries
/// otherwise.
pub fn to_stderr() {
    let defaults = Env::default().default_filter_or(DEFAULT_FILTER);
    // A second call leaves the first logger in place, which is what a test wants.
    let _ = Builder::from_env(defaults).format_target(false).try_init();
}

/// What is shown when `RUST_LOG` says nothing.
pub const DEFAULT_FILTER: &str = "warn,bailey_agent=info,bailey_coordinator=info,\
    bailey_lifecycle=info,bailey_local_cloud=info,bailey_runtime=info";
