//! A workload that talks: its callers name a destination, and hear what is heard there.

use std::{
    env,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    thread,
};

/// Serves for ever.
pub(crate) fn serve(port: u16) -> io::Result<u8> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    loop {
        let (caller, _) = listener.accept()?;
        thread::spawn(move || {
            if let Err(err) = relay(caller) {
                eprintln!("relay: {err}");
            }
        });
    }
}

fn relay(mut caller: TcpStream) -> io::Result<()> {
    let mut target = String::new();
    BufReader::new(&caller).read_line(&mut target)?;
    let answer = fetch(target.trim())?;
    caller.write_all(answer.as_bytes())?;
    caller.shutdown(Shutdown::Write)
}

/// What is said at the target, through the proxy of the environment; or how that refuses.
fn fetch(target: &str) -> io::Result<String> {
    let proxy = env::var("HTTPS_PROXY").map_err(io::Error::other)?;
    let address = proxy.strip_prefix("http://").ok_or(io::ErrorKind::InvalidInput)?;
    let mut proxy = TcpStream::connect(address)?;
    proxy.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes())?;
    let mut heard = String::new();
    proxy.read_to_string(&mut heard)?;
    Ok(heard)
}
