//! A virtual machine that boots an enclave image, with the devices that an enclave has; for tests only.
//!
//! QEMU emulates the machine; its vsock and, in one of two forms, its Nitro Secure Module are processes
//! of ours beside it, which it reaches over vhost-user.
//!
//! | machine | image | documents |
//! | --- | --- | --- |
//! | `nitro-enclave` | QEMU reads and measures it | QEMU's own, which are unsigned: nobody may accept them |
//! | `microvm` | taken apart here | those of the module behind a socket, under whatever root it has |
//!
//! Nothing of it is part of a production program: no crate outside of `tests/` depends on this one, as
//! a test checks.

pub mod command;
mod device;
mod image;
mod machine;
pub mod nsm;
pub mod vsock;

pub use device::DeviceError;
