//! Documents as the module makes them, with random contents, and random terms about these.

use std::collections::BTreeMap;

use bailey_simulated_nsm::{DocumentBuilder, PayloadMap, PcrValue};

use crate::common::{CHAIN, INSTANCE, MADE_MS, NOW_MS, ROLE, registers};
use crate::index::{Bytes, Pcr, Terms, Wanted};
use crate::judgement::Case;
use crate::random::Random;

pub(crate) fn case(random: &mut Random) -> Case {
    let made_ms = MADE_MS + u64::try_from(random.below(2_000)).unwrap();
    let module_id = format!("{INSTANCE}-enc{:016x}", random.below(usize::MAX));
    let pcrs = some_registers(random);
    let fields = ["nonce", "user_data", "public_key"].map(|name| (name, some_bytes(random)));
    let mut builder = DocumentBuilder::new(&module_id, made_ms, &pcrs, &CHAIN);
    for (name, value) in &fields {
        builder = match value {
            None if random.one_in(2) => builder.without(name),
            value => builder.with_bytes(name, value.as_deref()),
        };
    }
    builder.tagged = random.one_in(2);
    if random.one_in(2) {
        builder.payload_map = PayloadMap::Definite;
    }
    let [(_, nonce), (_, user_data), (_, public_key)] = fields;
    let terms = Terms {
        at_ms: (!random.one_in(8)).then_some(NOW_MS),
        skew_ms: *random.pick(&[0, 1, 500, 1_000]),
        max_age_ms: *random.pick(&[None, None, Some(1), Some(1_000)]),
        issued_at_ms: *random.pick(&[None, None, Some(MADE_MS), Some(made_ms + 1)]),
        nonce: terms_about(random, nonce.as_deref()),
        user_data: terms_about(random, user_data.as_deref()),
        public_key: terms_about(random, public_key.as_deref()),
        module_id: random.one_in(4).then_some(module_id),
        instance_id: random.one_in(4).then(|| INSTANCE.to_owned()),
        role_arn: random.one_in(2).then(|| ROLE.to_owned()),
        refuse_debug: random.one_in(4),
        pcrs: random.one_in(4).then(|| register_terms(random, &pcrs)).into_iter().collect(),
        ..Terms::authentic()
    };
    Case { what: format!("{terms:?}"), document: builder.sign(&CHAIN.key).unwrap(), terms }
}

/// The registers of a parent's enclave, some left out, some measured otherwise, up to all 32.
fn some_registers(random: &mut Random) -> BTreeMap<u8, PcrValue> {
    let mut pcrs = registers();
    for _ in 0..random.below(6) {
        let index = *random.pick(&[0, 1, 2, 3, 4, 5, 8, 16, 17, 31]);
        match random.below(3) {
            0 => drop(pcrs.remove(&index)),
            1 => drop(pcrs.insert(index, [0; 48])),
            _ => drop(pcrs.insert(index, [random.byte(); 48])),
        }
    }
    if random.one_in(8) {
        pcrs.extend([0, 1, 2].map(|index| (index, [0; 48])));
    }
    pcrs
}

fn some_bytes(random: &mut Random) -> Option<Vec<u8>> {
    let length = *random.pick(&[0, 1, 23, 24, 255, 256, 512, 1_023, 1_024, 1_025]);
    let keep = length <= 1_024 || random.one_in(4);
    (keep && !random.one_in(4)).then(|| random.bytes(length))
}

/// Mostly what is there, so that many documents are accepted.
fn terms_about(random: &mut Random, value: Option<&[u8]>) -> Option<Bytes> {
    match random.below(12) {
        0 => Some(Bytes::Absent),
        1 => Some(Bytes::Exactly(hex::encode(random.bytes(4)))),
        2..=4 => Some(value.map_or(Bytes::Absent, |value| Bytes::Exactly(hex::encode(value)))),
        _ => None,
    }
}

fn register_terms(random: &mut Random, pcrs: &BTreeMap<u8, PcrValue>) -> Pcr {
    let index = *random.pick(&[0, 5, 8, 16, 31]);
    let found = hex::encode(pcrs.get(&index).unwrap_or(&[7; 48]));
    let wanted = match random.below(4) {
        0 => Wanted::Exactly(found),
        1 => Wanted::OneOf(vec!["01".repeat(48), found]),
        2 => Wanted::NonZero,
        _ => Wanted::Zero,
    };
    Pcr { index, wanted }
}
