//! How often one address may log in.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Requests of one address at once.
const BURST: u32 = 30;
/// One more after this.
const REFILL: Duration = Duration::from_secs(2);
/// Addresses that are remembered.
const MAX_ADDRESSES: usize = 10_000;

/// A bucket of requests for each address.
#[derive(Debug, Default)]
pub struct Rate {
    used: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    used: u32,
    since: Instant,
}

impl Bucket {
    fn drain(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since).as_millis() / REFILL.as_millis();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        self.used = self.used.saturating_sub(passed);
        self.since += REFILL.saturating_mul(passed).min(now - self.since);
    }
}

impl Rate {
    /// Whether one more request from this address may be served; counts it if so.
    pub fn allows(&self, from: IpAddr, now: Instant) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= MAX_ADDRESSES {
            used.retain(|_, bucket| {
                bucket.drain(now);
                bucket.used > 0
            });
            // Still full: many addresses at once, and none of them gets more.
            if used.len() >= MAX_ADDRESSES && !used.contains_key(&network(from)) {
                return false;
            }
        }
        let bucket = used.entry(network(from)).or_insert(Bucket {
            used: 0,
            since: now,
        });
        bucket.drain(now);
        let allowed = bucket.used < BURST;
        bucket.used += u32::from(allowed);
        allowed
    }
}

/// A host of IPv6 has a whole /64 to itself.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_a_burst_then_one_at_a_time_and_others_are_not_concerned() {
        let (rate, now) = (Rate::default(), Instant::now());
        let (one, other): (IpAddr, IpAddr) =
            ("2001:db8::1".parse().unwrap(), "10.0.0.1".parse().unwrap());
        for _ in 0..BURST {
            assert!(rate.allows(one, now));
        }
        assert!(!rate.allows(one, now));
        assert!(
            !rate.allows("2001:db8::2".parse().unwrap(), now),
            "same network"
        );
        assert!(rate.allows(other, now));
        assert!(rate.allows(one, now + REFILL));
        assert!(!rate.allows(one, now + REFILL));
    }
}
