//! What the programs counted.

use aya::maps::{MapData, MapError, PerCpuArray};
use gateway_common::Counter;

/// The programs' counters at one moment, summed over all CPUs. They start at zero when the daemon
/// starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    values: Vec<u64>,
}

impl Counters {
    pub(super) fn read(map: &PerCpuArray<MapData, u64>) -> Result<Self, MapError> {
        let values = Counter::ALL
            .iter()
            .map(|counter| {
                let per_cpu = map.get(&(*counter as u32), 0)?;
                Ok(per_cpu
                    .iter()
                    .fold(0_u64, |sum, value| sum.wrapping_add(*value)))
            })
            .collect::<Result<_, MapError>>()?;
        Ok(Self { values })
    }

    /// One of them.
    pub fn get(&self, counter: Counter) -> u64 {
        self.values
            .get(counter as usize)
            .copied()
            .unwrap_or_default()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Counter, u64)> + '_ {
        Counter::ALL
            .iter()
            .map(|counter| (*counter, self.get(*counter)))
    }
}
