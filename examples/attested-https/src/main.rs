//! An HTTPS service on the enclave's loopback; see the library.
//!
//! usage: attested-https PORT

use bailey_attested_https::{identity::Identity, serve::serve, service::Service};
use bailey_vsock::documents::Client;
use std::{env, error::Error, net::Ipv4Addr, process::ExitCode};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("attested-https: {err}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let port: u16 = env::args().nth(1).ok_or("usage: attested-https PORT")?.parse()?;
    let identity = Identity::generate()?;
    let service = Service::new(&identity, Client::from_env()?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("attested-https: listening on {}", listener.local_addr()?);
    serve(listener, &identity, service).await;
    Ok(())
}
