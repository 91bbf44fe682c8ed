//! Taking a request to deploy: a new generation begins.

use crate::{
    config::Config,
    judge::names_image,
    launch::Place,
    ledger::{Entry, Spec, State},
};
use bailey_model::{
    Generation, UnixMillis,
    failure::{Failure, FailureCode},
    instance_type::{Fit, InstanceType, fit, fit_strictly},
    record::{Configuration, Request},
};
use std::collections::BTreeMap;

/// The entry with which a new generation of `request` begins, after `previous`.
pub(crate) fn accept(
    previous: Option<&Entry>,
    request: &Request,
    config: &Config,
    now: UnixMillis,
) -> Entry {
    let blank = blank(previous, request, now);
    let spec = request
        .configuration
        .as_ref()
        .map_err(|error| Failure::new(FailureCode::InvalidConfiguration, error.to_string(), now))
        .and_then(|configuration| spec(configuration, config, now));
    match spec {
        Ok(spec) => {
            let promoted_because = spec.promoted_because.clone();
            let mut entry = Entry { spec: Some(spec), ..blank }.moved(State::Accepting, now);
            if let Some(reason) = promoted_because {
                entry.note(now, reason);
            }
            entry
        }
        Err(failure) => Entry { failure: Some(failure), ..blank }.moved(State::Refusing, now),
    }
}

/// What a generation starts from: only the generation's number, the version, the chain of reports
/// and the events go on from one generation to the next.
pub(crate) fn blank(previous: Option<&Entry>, request: &Request, now: UnixMillis) -> Entry {
    Entry {
        id: request.id.clone(),
        version: previous.map_or(0, |entry| entry.version),
        generation: previous.map_or(Generation(1), |entry| entry.generation.next()),
        accepted_at: now,
        spec: None,
        attempts: 0,
        losses: 0,
        issued: 0,
        manifest: None,
        state: State::Accepting,
        entered: BTreeMap::new(),
        failure: None,
        refused: None,
        attested: None,
        chain: previous.and_then(|entry| entry.chain.clone()),
        unstored: previous.and_then(|entry| entry.unstored.clone()),
        absent_since: None,
        notice: None,
        events: previous.map(|entry| entry.events.clone()).unwrap_or_default(),
        notified: previous.map_or(0, |entry| entry.notified),
    }
}

fn spec(configuration: &Configuration, config: &Config, now: UnixMillis) -> Result<Spec, Failure> {
    let may_be_named =
        names_image(&configuration.expected_pcrs) || !config.manifest_keys.is_empty();
    if configuration.require_verified && (configuration.debug_mode || !may_be_named) {
        let message = "require_verified can only be met with debug_mode false and expected_pcrs that \
             name the image: 0, or 1 and 2, or 8; this coordinator trusts no manifest_keys";
        return Err(Failure::new(FailureCode::NotVerified, message, now));
    }
    if let Some(zone) = configuration.availability_zones.iter().find(|it| !config.subnets.has(it)) {
        let known: Vec<_> = config.subnets.zones().collect();
        let message = format!(
            "configuration.availability_zones: `{zone}` has no subnet here; those with one: {}",
            known.join(", ")
        );
        return Err(Failure::new(FailureCode::InvalidConfiguration, message, now));
    }
    let asked = &configuration.instance_type;
    let fitted = if config.strict_instance_types {
        fit_strictly(asked, configuration.need()).map(Fit::AsAsked)
    } else {
        fit(asked, configuration.need())
    };
    let fitted = fitted.map_err(|unfit| {
        let message = format!("configuration.instance_type: {unfit}");
        Failure::new(FailureCode::InvalidConfiguration, message, now)
    })?;
    let (instance_type, promoted_because) = match fitted {
        Fit::AsAsked(_) => (asked.clone(), None),
        Fit::Promoted { to, because, .. } => {
            let reason = format!("{to} is used instead of {asked}: {because}");
            (to, Some(reason))
        }
    };
    let places = places(configuration, &instance_type, config);
    Ok(Spec { configuration: configuration.clone(), instance_type, promoted_because, places })
}

/// Every zone with the best type, then every zone with the next. Whoever names no zone takes each that has
/// a subnet.
fn places(configuration: &Configuration, best: &InstanceType, config: &Config) -> Vec<Place> {
    let zones: Vec<Option<String>> = match configuration.availability_zones.as_slice() {
        [] if config.subnets.is_empty() => vec![None],
        [] => config.subnets.zones().map(|zone| Some(zone.to_owned())).collect(),
        zones => zones.iter().cloned().map(Some).collect(),
    };
    let fits =
        |other: &&InstanceType| *other != best && fit_strictly(other, configuration.need()).is_ok();
    let types = std::iter::once(best).chain(config.fallback_types.iter().filter(fits));
    let place = |instance_type: &InstanceType, availability_zone: &Option<String>| Place {
        instance_type: instance_type.clone(),
        availability_zone: availability_zone.clone(),
    };
    types.flat_map(|one| zones.iter().map(move |zone| place(one, zone))).collect()
}
