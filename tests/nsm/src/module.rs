//! The simulated module of one enclave.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_nitro_enclaves_nsm_api::api::{Digest, ErrorCode, Request, Response};
use serde_bytes::ByteBuf;

use crate::measurement::{PcrValue, extended, extended_from_zero};
use crate::signature::random_bytes;
use crate::{Chain, DocumentBuilder, InstanceAuthority, IssueError};

/// How many registers a module has (`max_pcrs` of a real one).
const REGISTERS: u8 = 32;

/// How many registers a module locks at boot, and so puts into every document.
const LOCKED_AT_BOOT: u8 = 16;

/// How many bytes a real module accepts in each of nonce, user data and public key.
const MAX_FIELD_BYTES: usize = 1_024;

/// A leaf is replaced when less than this of its 3 hours is left, in milliseconds.
const RENEWAL_MARGIN_MS: u64 = 30 * 60_000;

/// How an enclave was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// With `--debug-mode`: the image's registers (0, 1, 2 and 8) read as zeros.
    Debug,
    /// As in production.
    Production,
}

/// What the module knows of the enclave that it serves.
#[derive(Debug, Clone)]
pub struct Enclave {
    /// The module's name, `<instance id>-enc<hex>`.
    pub module_id: String,
    /// The image's registers (0, 1, 2, and 8 when it is signed). PCR3 and PCR4 come from the
    /// parent; the others are zeros.
    pub measurements: BTreeMap<u8, PcrValue>,
    /// How the enclave was started.
    pub mode: Mode,
}

/// What an attestation request asks to have signed; each at most 1,024 bytes.
#[derive(Debug, Clone, Default)]
pub struct Attestation {
    /// The verifier's nonce.
    pub nonce: Option<Vec<u8>>,
    /// The enclave's own data.
    pub user_data: Option<Vec<u8>>,
    /// A public key of the enclave's.
    pub public_key: Option<Vec<u8>>,
}

/// The simulated Nitro Secure Module of one enclave.
///
/// Certificates are renewed as time goes on, so that a module can outlive its leaf. Time is an
/// argument everywhere; the module has no clock of its own.
#[derive(Debug)]
pub struct SimulatedNsm {
    module_id: String,
    /// Those that were locked at boot.
    pcrs: BTreeMap<u8, PcrValue>,
    /// Those that are the enclave's own.
    own: Mutex<BTreeMap<u8, OwnRegister>>,
    certificates: Mutex<Certificates>,
}

/// A register that an enclave can extend, until it locks it.
#[derive(Clone, Copy, Debug)]
struct OwnRegister {
    value: PcrValue,
    is_locked: bool,
}

#[derive(Debug)]
struct Certificates {
    parent: InstanceAuthority,
    leaf: Option<Leaf>,
}

#[derive(Debug)]
struct Leaf {
    chain: Chain,
    valid_from_ms: u64,
    renew_at_ms: u64,
}

impl SimulatedNsm {
    /// The module of `enclave`, which runs on the given parent.
    #[must_use]
    pub fn new(parent: InstanceAuthority, enclave: Enclave) -> Self {
        let mut pcrs: BTreeMap<u8, PcrValue> =
            (0..LOCKED_AT_BOOT).map(|index| (index, [0; 48])).collect();
        if enclave.mode == Mode::Production {
            pcrs.extend(enclave.measurements);
        }
        pcrs.insert(3, extended_from_zero(parent.role_arn().as_bytes()));
        pcrs.insert(4, extended_from_zero(parent.instance_id().as_bytes()));
        Self {
            module_id: enclave.module_id,
            pcrs,
            own: Mutex::default(),
            certificates: Mutex::new(Certificates { parent, leaf: None }),
        }
    }

    /// The registers that its documents state: those that are locked.
    #[must_use]
    pub fn pcrs(&self) -> BTreeMap<u8, PcrValue> {
        let own = self.own();
        let locked = own.iter().filter(|(_, register)| register.is_locked);
        let own = locked.map(|(index, register)| (*index, register.value));
        self.pcrs.iter().map(|(index, value)| (*index, *value)).chain(own).collect()
    }

    /// Signs a document: an untagged COSE_Sign1.
    ///
    /// `now_ms` is in milliseconds since the Unix epoch and becomes the document's timestamp.
    pub fn attest(&self, asked: &Attestation, now_ms: u64) -> Result<Vec<u8>, IssueError> {
        let mut certificates = self.lock();
        let chain = certificates.chain_at(&self.module_id, now_ms)?;
        DocumentBuilder::new(&self.module_id, now_ms, &self.pcrs(), chain)
            .with_bytes("public_key", asked.public_key.as_deref())
            .with_bytes("user_data", asked.user_data.as_deref())
            .with_bytes("nonce", asked.nonce.as_deref())
            .sign(&chain.key)
    }

    /// Answers a request as `/dev/nsm` does.
    ///
    /// The registers from 16 on can be extended and locked, each once. What a later version of the
    /// interface adds is answered with `InvalidOperation`.
    #[must_use]
    pub fn handle(&self, request: Request, now_ms: u64) -> Response {
        match request {
            Request::Attestation { user_data, nonce, public_key } => {
                let asked = Attestation {
                    nonce: nonce.map(ByteBuf::into_vec),
                    user_data: user_data.map(ByteBuf::into_vec),
                    public_key: public_key.map(ByteBuf::into_vec),
                };
                self.answer_attestation(&asked, now_ms)
            }
            Request::DescribeNSM => self.describe(),
            Request::DescribePCR { index } => self.describe_pcr(index),
            Request::ExtendPCR { index, data } => match self.change(index, |register| {
                register.value = extended(&register.value, &data);
            }) {
                Ok(register) => Response::ExtendPCR { data: register.value.to_vec() },
                Err(code) => Response::Error(code),
            },
            Request::LockPCR { index } => {
                let lock = |register: &mut OwnRegister| register.is_locked = true;
                self.change(index, lock).map_or_else(Response::Error, |_| Response::LockPCR)
            }
            Request::LockPCRs { range } => self.lock_below(range),
            Request::GetRandom => random_bytes::<256>()
                .map_or(Response::Error(ErrorCode::InternalError), |bytes| Response::GetRandom {
                    random: bytes.to_vec(),
                }),
            _ => Response::Error(ErrorCode::InvalidOperation),
        }
    }

    fn answer_attestation(&self, asked: &Attestation, now_ms: u64) -> Response {
        let fields = [&asked.nonce, &asked.user_data, &asked.public_key];
        if fields.into_iter().flatten().any(|field| field.len() > MAX_FIELD_BYTES) {
            return Response::Error(ErrorCode::InputTooLarge);
        }
        self.attest(asked, now_ms).map_or(Response::Error(ErrorCode::InternalError), |document| {
            Response::Attestation { document }
        })
    }

    /// Changes one of the enclave's own registers, unless it is locked.
    fn change(
        &self,
        index: u16,
        change: impl FnOnce(&mut OwnRegister),
    ) -> Result<OwnRegister, ErrorCode> {
        let index = u8::try_from(index).ok().filter(|index| *index < REGISTERS);
        let index = index.ok_or(ErrorCode::InvalidIndex)?;
        if index < LOCKED_AT_BOOT {
            return Err(ErrorCode::ReadOnlyIndex);
        }
        let mut own = self.own();
        let zero = OwnRegister { value: [0; 48], is_locked: false };
        let register = own.entry(index).or_insert(zero);
        if register.is_locked {
            return Err(ErrorCode::ReadOnlyIndex);
        }
        change(register);
        Ok(*register)
    }

    /// Locks all registers below `range`, whether they are locked already or not.
    fn lock_below(&self, range: u16) -> Response {
        let Some(range) = u8::try_from(range).ok().filter(|range| *range <= REGISTERS) else {
            return Response::Error(ErrorCode::InvalidIndex);
        };
        for index in LOCKED_AT_BOOT..range {
            // One that is locked stays so.
            let _ = self.change(index.into(), |register| register.is_locked = true);
        }
        Response::LockPCRs
    }

    fn describe(&self) -> Response {
        Response::DescribeNSM {
            version_major: 1,
            version_minor: 0,
            version_patch: 0,
            module_id: self.module_id.clone(),
            max_pcrs: u16::from(REGISTERS),
            locked_pcrs: self.pcrs().keys().copied().map(u16::from).collect(),
            digest: Digest::SHA384,
        }
    }

    fn describe_pcr(&self, index: u16) -> Response {
        let Some(index) = u8::try_from(index).ok().filter(|index| *index < REGISTERS) else {
            return Response::Error(ErrorCode::InvalidIndex);
        };
        let at_boot = self.pcrs.get(&index).map(|value| (*value, true));
        let own = self.own().get(&index).map(|register| (register.value, register.is_locked));
        let (value, lock) = at_boot.or(own).unwrap_or(([0; 48], false));
        Response::DescribePCR { lock, data: value.to_vec() }
    }

    /// The same holds for registers as for certificates.
    fn own(&self) -> MutexGuard<'_, BTreeMap<u8, OwnRegister>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A panic elsewhere leaves certificates as good as before, so a poisoned lock is still used.
    fn lock(&self) -> MutexGuard<'_, Certificates> {
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Certificates {
    /// The chain to sign with at `now_ms`, renewed when it has become, or soon becomes, invalid.
    fn chain_at(&mut self, module_id: &str, now_ms: u64) -> Result<&Chain, IssueError> {
        let leaf = match self.leaf.take() {
            Some(leaf) if (leaf.valid_from_ms..leaf.renew_at_ms).contains(&now_ms) => leaf,
            _ => self.new_leaf(module_id, now_ms)?,
        };
        Ok(&self.leaf.insert(leaf).chain)
    }

    fn new_leaf(&mut self, module_id: &str, now_ms: u64) -> Result<Leaf, IssueError> {
        if !(self.parent.covers(now_ms) && self.parent.covers(now_ms + RENEWAL_MARGIN_MS)) {
            self.parent = self.parent.renewed(now_ms)?;
        }
        let leaf_end = now_ms + 3 * 60 * 60_000;
        let end = leaf_end.min(self.parent.not_after_ms());
        Ok(Leaf {
            chain: self.parent.issue_leaf(module_id, now_ms)?,
            valid_from_ms: now_ms,
            renew_at_ms: end.saturating_sub(RENEWAL_MARGIN_MS).max(now_ms + 1),
        })
    }
}
