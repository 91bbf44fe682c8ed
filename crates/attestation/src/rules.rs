//! The rules of a policy, one check each, over what an authentic document says.

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::document::Claims;
use crate::policy::{
    BytesRule, DebugRule, InstanceBinding, ModuleIdRule, PcrRule, PcrWanted, Policy, VerifyTime,
};
use crate::{PcrValue, Rejection, pcr3_for_role, pcr4_for_instance};

/// One rule of a policy.
pub(crate) struct Rule<'p> {
    pub(crate) name: String,
    pub(crate) expected: String,
    /// The policy asks nothing here; `judge` only says what was found.
    pub(crate) waived: bool,
    judge: Box<Judge<'p>>,
}

/// Says what was found, or why the document is refused for it.
type Judge<'p> = dyn Fn(&Claims) -> Result<String, Rejection> + 'p;

impl<'p> Rule<'p> {
    pub(crate) fn judge(&self, claims: &Claims) -> Result<String, Rejection> {
        (self.judge)(claims)
    }

    fn asked(
        name: impl Into<String>,
        expected: String,
        judge: impl Fn(&Claims) -> Result<String, Rejection> + 'p,
    ) -> Self {
        Self { name: name.into(), expected, waived: false, judge: Box::new(judge) }
    }

    fn waived(name: &str, found: impl Fn(&Claims) -> String + 'p) -> Self {
        let judge = Box::new(move |claims: &Claims| Ok(found(claims)));
        Self { name: name.to_owned(), expected: "anything".to_owned(), waived: true, judge }
    }
}

/// All rules of `policy`, in the order in which they are checked.
pub(crate) fn of(policy: &Policy) -> Vec<Rule<'_>> {
    let mut rules = vec![timestamp(policy), age(policy), issued_at(policy)];
    rules.push(bytes_rule(&NONCE, &policy.nonce));
    rules.push(bytes_rule(&USER_DATA, &policy.user_data));
    rules.push(bytes_rule(&PUBLIC_KEY, &policy.public_key));
    rules.push(module_id(&policy.module_id));
    rules.extend(instance(policy.instance.as_ref()));
    rules.push(debug(policy.debug));
    rules.extend(policy.pcrs.iter().map(pcr));
    rules
}

fn timestamp(policy: &Policy) -> Rule<'_> {
    let VerifyTime::At(at_ms) = policy.time else {
        return Rule::waived("timestamp", |claims| claims.timestamp_ms.to_string());
    };
    let skew_ms = policy.skew_ms;
    let latest_ms = at_ms.saturating_add(skew_ms);
    Rule::asked("timestamp", format!("at most {latest_ms}"), move |claims| {
        let timestamp_ms = claims.timestamp_ms;
        if timestamp_ms > latest_ms {
            return Err(Rejection::TimestampInFuture { timestamp_ms, at_ms, skew_ms });
        }
        Ok(timestamp_ms.to_string())
    })
}

fn age(policy: &Policy) -> Rule<'_> {
    let VerifyTime::At(at_ms) = policy.time else {
        return Rule::waived("age", |_| "judged at the document's own time".to_owned());
    };
    let age_of = move |claims: &Claims| at_ms.saturating_sub(claims.timestamp_ms);
    let Some(max_age_ms) = policy.max_age_ms else {
        return Rule::waived("age", move |claims| format!("{} ms", age_of(claims)));
    };
    Rule::asked("age", format!("at most {max_age_ms} ms"), move |claims| {
        let age_ms = age_of(claims);
        if age_ms > max_age_ms {
            return Err(Rejection::TooOld { age_ms, max_age_ms });
        }
        Ok(format!("{age_ms} ms"))
    })
}

fn issued_at(policy: &Policy) -> Rule<'_> {
    let Some(issued_at_ms) = policy.issued_at_ms else {
        return Rule::waived("issued_at", |claims| claims.timestamp_ms.to_string());
    };
    let skew_ms = policy.skew_ms;
    let earliest_ms = issued_at_ms.saturating_sub(skew_ms);
    Rule::asked("issued_at", format!("at least {earliest_ms}"), move |claims| {
        let timestamp_ms = claims.timestamp_ms;
        if timestamp_ms < earliest_ms {
            return Err(Rejection::BeforeIssue { timestamp_ms, issued_at_ms, skew_ms });
        }
        Ok(timestamp_ms.to_string())
    })
}

/// A field of bytes, with the rejections that are its own.
struct BytesField {
    name: &'static str,
    of: fn(&Claims) -> Option<&[u8]>,
    missing: Rejection,
    mismatch: fn(expected: String, found: String) -> Rejection,
    unexpected: fn(found: String) -> Rejection,
}

static NONCE: BytesField = BytesField {
    name: "nonce",
    of: |claims| claims.nonce.as_deref(),
    missing: Rejection::NonceMissing,
    mismatch: |expected, found| Rejection::NonceMismatch { expected, found },
    unexpected: |found| Rejection::NonceUnexpected { found },
};

static USER_DATA: BytesField = BytesField {
    name: "user_data",
    of: |claims| claims.user_data.as_deref(),
    missing: Rejection::UserDataMissing,
    mismatch: |expected, found| Rejection::UserDataMismatch { expected, found },
    unexpected: |found| Rejection::UserDataUnexpected { found },
};

static PUBLIC_KEY: BytesField = BytesField {
    name: "public_key",
    of: |claims| claims.public_key.as_deref(),
    missing: Rejection::PublicKeyMissing,
    mismatch: |expected, found| Rejection::PublicKeyMismatch { expected, found },
    unexpected: |found| Rejection::PublicKeyUnexpected { found },
};

fn bytes_rule<'p>(field: &'static BytesField, rule: &'p BytesRule) -> Rule<'p> {
    let shown = |bytes: Option<&[u8]>| bytes.map_or_else(|| "absent".to_owned(), hex::encode);
    match rule {
        BytesRule::Any => Rule::waived(field.name, move |claims| shown((field.of)(claims))),
        BytesRule::Absent => Rule::asked(field.name, "absent or empty".to_owned(), move |claims| {
            match (field.of)(claims) {
                None | Some([]) => Ok(shown((field.of)(claims))),
                Some(found) => Err((field.unexpected)(hex::encode(found))),
            }
        }),
        BytesRule::Exactly(expected) => {
            Rule::asked(field.name, hex::encode(expected), move |claims| {
                let found = (field.of)(claims).ok_or_else(|| field.missing.clone())?;
                verify_slices_are_equal(expected, found)
                    .map(|()| hex::encode(found))
                    .map_err(|_| (field.mismatch)(hex::encode(expected), hex::encode(found)))
            })
        }
    }
}

fn module_id(rule: &ModuleIdRule) -> Rule<'_> {
    match rule {
        ModuleIdRule::Any => Rule::waived("module_id", |claims| claims.module_id.clone()),
        ModuleIdRule::Exactly(expected) => Rule::asked("module_id", expected.clone(), |claims| {
            if claims.module_id == *expected {
                return Ok(claims.module_id.clone());
            }
            let found = claims.module_id.clone();
            Err(Rejection::ModuleId { expected: expected.clone(), found })
        }),
    }
}

fn instance(binding: Option<&InstanceBinding>) -> Vec<Rule<'_>> {
    let register = |index| move |claims: &Claims| shown_register(claims.pcrs.get(&index));
    let Some(InstanceBinding { instance_id, role_arn }) = binding else {
        return vec![
            Rule::waived("instance", |claims| claims.module_id.clone()),
            Rule::waived("instance_pcr", register(4)),
            Rule::waived("role_pcr", register(3)),
        ];
    };
    let role = match role_arn {
        None => Rule::waived("role_pcr", register(3)),
        Some(arn) => bound_register("role_pcr", 3, pcr3_for_role(arn), |expected, found| {
            Rejection::RolePcr { expected, found }
        }),
    };
    let instance_pcr =
        bound_register("instance_pcr", 4, pcr4_for_instance(instance_id), |expected, found| {
            Rejection::InstancePcr { expected, found }
        });
    vec![on_instance(instance_id), instance_pcr, role]
}

/// A module's name is `<instance id>-enc<hex>`; the separator keeps `i-1` from matching `i-12`.
fn on_instance(instance_id: &str) -> Rule<'_> {
    let prefix = format!("{instance_id}-enc");
    Rule::asked("instance", format!("{prefix}…"), move |claims| {
        if !instance_id.is_empty() && claims.module_id.starts_with(&prefix) {
            return Ok(claims.module_id.clone());
        }
        let found = claims.module_id.clone();
        Err(Rejection::Instance { expected: instance_id.to_owned(), found })
    })
}

fn bound_register(
    name: &'static str,
    index: u8,
    wanted: PcrValue,
    mismatch: fn(expected: String, found: String) -> Rejection,
) -> Rule<'static> {
    Rule::asked(name, hex::encode(wanted), move |claims| {
        let found = claims.pcrs.get(&index);
        if found == Some(&wanted) {
            return Ok(shown_register(found));
        }
        Err(mismatch(hex::encode(wanted), shown_register(found)))
    })
}

fn debug(rule: DebugRule) -> Rule<'static> {
    let mode = |claims: &Claims| if claims.is_debug() { "debug mode" } else { "not debug mode" };
    match rule {
        DebugRule::Allow => Rule::waived("debug", move |claims| mode(claims).to_owned()),
        DebugRule::Refuse => Rule::asked("debug", "not debug mode".to_owned(), move |claims| {
            if claims.is_debug() { Err(Rejection::Debug) } else { Ok(mode(claims).to_owned()) }
        }),
    }
}

fn pcr(rule: &PcrRule) -> Rule<'_> {
    let index = rule.index;
    let expected = shown_wanted(&rule.wanted);
    Rule::asked(format!("pcr_{index}"), expected.clone(), move |claims| {
        let value = claims.pcrs.get(&index).ok_or(Rejection::PcrMissing { index })?;
        let found = hex::encode(value);
        let is_zero = *value == [0; 48];
        let mismatch =
            || Rejection::PcrMismatch { index, expected: expected.clone(), found: found.clone() };
        match &rule.wanted {
            PcrWanted::Exactly(wanted) if value != wanted => Err(mismatch()),
            PcrWanted::OneOf(wanted) if !wanted.contains(value) => Err(mismatch()),
            PcrWanted::NonZero if is_zero => Err(Rejection::PcrZero { index }),
            PcrWanted::Zero if !is_zero => Err(Rejection::PcrNotZero { index, found }),
            _ => Ok(found),
        }
    })
}

fn shown_wanted(wanted: &PcrWanted) -> String {
    match wanted {
        PcrWanted::Exactly(value) => hex::encode(value),
        PcrWanted::NonZero => "not zero".to_owned(),
        PcrWanted::OneOf(values) if values.is_empty() => "no value".to_owned(),
        PcrWanted::OneOf(values) => values.iter().map(hex::encode).collect::<Vec<_>>().join(" or "),
        PcrWanted::Zero => "zero".to_owned(),
    }
}

fn shown_register(value: Option<&PcrValue>) -> String {
    value.map_or_else(|| "absent".to_owned(), hex::encode)
}
