//! A stand-in for nitro-cli that runs an image's responder as a local process.
//!
//! The local cloud and the tests give it to the agent in the place of `/usr/bin/nitro-cli`. It
//! takes the same arguments, prints the same JSON and fails with the same texts and exit codes,
//! but its enclaves are processes: the responder found in the image's ramdisks, beside a simulated
//! Nitro Secure Module. Nothing isolates them, so this is for development and tests only.
//!
//! With `BAILEY_SIM_VM` naming the program `enclave-vm` (and `BAILEY_QEMU` a QEMU for it), enclaves are
//! virtual machines instead that boot the whole image: kernel, init, and the driver of `/dev/nsm`.
//!
//! A simulated parent is a directory, made by [`host::create`] and named by the environment
//! variable [`host::ENVIRONMENT`]; no other part of the machine is read or written.

mod allocation;
pub mod allocator;
pub mod arguments;
pub mod commands;
pub mod cpu_list;
mod enclave_process;
pub mod enclaves;
pub mod failure;
pub mod host;
pub mod image;
mod launch;
pub mod output;
pub mod ramdisk;
pub mod rogue;
pub mod slot;
