//! The enclave's one network interface: loopback.

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use std::{io, os::fd::AsRawFd as _};

/// Brings loopback up; the kernel gives it its addresses then.
///
/// By one message of rtnetlink (rtnetlink(7), `RTM_NEWLINK`), because the older way is an ioctl,
/// which cannot be called without `unsafe`.
pub(super) fn bring_loopback_up() -> io::Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let descriptor = socket.as_raw_fd();
    sendto(descriptor, &request(), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 256];
    let length = recv(descriptor, &mut answer, MsgFlags::empty())?;
    outcome(answer.get(..length).unwrap_or_default())
}

/// `struct nlmsghdr` and `struct ifinfomsg` of `linux/netlink.h` and `linux/rtnetlink.h`.
fn request() -> [u8; LENGTH] {
    let mut message = [0; LENGTH];
    let (interface, up) = (1_i32.to_ne_bytes(), 1_u32.to_ne_bytes());
    let fields: [(usize, &[u8]); 7] = [
        (0, &32_u32.to_ne_bytes()),
        (4, &RTM_NEWLINK.to_ne_bytes()),
        (6, &(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes()),
        (8, &1_u32.to_ne_bytes()),
        // The family and type are left at 0; loopback is always interface 1.
        (20, &interface),
        (24, &up),
        // Of the flags only IFF_UP is meant.
        (28, &up),
    ];
    for (offset, bytes) in fields {
        if let Some(place) = message.get_mut(offset..offset + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
    message
}

const LENGTH: usize = 32;
const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;

/// From `struct nlmsgerr`: a negative error number, or 0.
fn outcome(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let error = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, error) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(error)) => {
            Err(io::Error::from_raw_os_error(error.saturating_neg()))
        }
        _ => Err(io::Error::other("the kernel's answer is not the expected one")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sched::{CloneFlags, unshare};
    use std::net::{TcpListener, TcpStream};

    /// In a network of its own, whose loopback is down at first.
    #[test]
    fn loopback_can_be_used_once_it_is_up() {
        let in_new_network = || {
            if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET) {
                eprintln!("NOT TRIED: only root can make a network ({errno})");
                return;
            }
            let connect = || {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                TcpStream::connect(listener.local_addr()?)
            };
            assert!(connect().is_err());
            bring_loopback_up().unwrap();
            connect().unwrap();
        };
        std::thread::spawn(in_new_network).join().unwrap();
    }

    #[test]
    fn a_refusal_of_the_kernels_is_its_error() {
        let mut answer = [0; 36];
        answer[4..6].copy_from_slice(&2_u16.to_ne_bytes());
        outcome(&answer).unwrap();
        answer[16..20].copy_from_slice(&(-1_i32).to_ne_bytes());
        assert_eq!(outcome(&answer).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(outcome(&[]).is_err());
    }
}
