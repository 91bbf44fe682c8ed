//! From a name to addresses.

use bailey_model::network::HostName;
use std::{
    future::Future,
    io,
    net::{IpAddr, ToSocketAddrs as _},
    sync::Arc,
};
use tokio::{sync::Semaphore, task::spawn_blocking};

/// Who knows the addresses of names.
pub trait Resolver: Send + Sync + 'static {
    /// The addresses of a name, in the order in which to try them.
    fn resolve(&self, name: &HostName) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send;
}

/// The system's resolver. Names are taken as they are: no search domain is put behind them.
///
/// One for each enclave: a lookup that hangs holds a thread until it ends, and no more than a few
/// belong to one enclave.
#[derive(Clone, Debug)]
pub struct SystemResolver(Arc<Semaphore>);

/// Lookups of one enclave at the same time.
const LOOKUPS: usize = 16;

impl Default for SystemResolver {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LOOKUPS)))
    }
}

impl Resolver for SystemResolver {
    async fn resolve(&self, name: &HostName) -> io::Result<Vec<IpAddr>> {
        let seat = Arc::clone(&self.0).acquire_owned().await.map_err(io::Error::other)?;
        // With a dot behind it a name is absolute.
        let name = format!("{name}.");
        let looking_up = spawn_blocking(move || {
            let _seat = seat;
            let addresses = (name.as_str(), 0).to_socket_addrs()?;
            Ok(addresses.map(|address| address.ip()).collect())
        });
        looking_up.await.map_err(io::Error::other)?
    }
}
