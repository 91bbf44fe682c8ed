//! Where EC2 was short of capacity a little while ago, so that the next launch starts elsewhere.

use bailey_lifecycle::launch::Place;
use bailey_model::UnixMillis;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How long a shortage is remembered; capacity comes back within minutes.
const REMEMBERED: Duration = Duration::from_mins(3);

/// The places that were short. Nothing depends on it.
#[derive(Debug, Default)]
pub struct Shortages(Mutex<HashMap<Place, UnixMillis>>);

impl Shortages {
    /// Notes that EC2 had nothing to give there.
    pub fn note(&self, place: Place, now: UnixMillis) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(place, now);
    }

    /// The places that were short within the last minutes.
    #[must_use]
    pub fn current(&self, now: UnixMillis) -> Vec<Place> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|_, at| now.since(*at) < REMEMBERED);
        places.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_forgotten_after_a_while() {
        let shortages = Shortages::default();
        let place = Place { instance_type: "m5.xlarge".parse().unwrap(), availability_zone: None };
        shortages.note(place.clone(), UnixMillis(0));
        assert_eq!(shortages.current(UnixMillis(179_999)), [place]);
        assert_eq!(shortages.current(UnixMillis(180_000)), []);
    }
}
