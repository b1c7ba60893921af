//! The embedded object and its maps.

use aya::{
    Ebpf, EbpfLoader, Pod, include_bytes_aligned,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf, SkStorage},
};
use gateway_common::{ConnKey, ConnRecord, Endpoint, PORT_WORDS, Settings};

use super::InterceptError;

/// The programs, built by `cargo xtask build` and found by the build script.
static OBJECT: &[u8] = include_bytes_aligned!(env!("CORDON_EBPF_OBJECT"));

/// A set the daemon keeps in the kernel; the values mean nothing.
pub(super) struct KernelSet<K: Pod> {
    name: &'static str,
    map: HashMap<MapData, K, u32>,
}

impl<K: Pod + PartialEq> KernelSet<K> {
    pub(super) fn add(&mut self, key: &K) -> Result<(), InterceptError> {
        self.map
            .insert(key, 1, 0)
            .map_err(map_error("add an entry", self.name))
    }

    /// Removing what is not there is no error.
    pub(super) fn remove(&mut self, key: &K) -> Result<(), InterceptError> {
        match self.map.remove(key) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(())
            }
            Err(error) => Err(map_error("remove an entry", self.name)(error)),
        }
    }

    /// Makes the set equal to `wanted`. Adds before it removes.
    pub(super) fn replace(&mut self, wanted: &[K]) -> Result<(), InterceptError> {
        let present = self
            .map
            .keys()
            .collect::<Result<Vec<_>, _>>()
            .map_err(map_error("list the entries", self.name))?;
        for key in wanted {
            self.add(key)?;
        }
        for key in present.iter().filter(|key| !wanted.contains(key)) {
            self.remove(key)?;
        }
        Ok(())
    }
}

/// The ports of protected destinations, which the programs look at first.
pub(super) struct PortSet {
    map: Array<MapData, u64>,
    words: Vec<u64>,
}

impl PortSet {
    /// Adds these ports.
    pub(super) fn add(&mut self, ports: impl Iterator<Item = u16>) -> Result<(), InterceptError> {
        let mut words = self.words.clone();
        mark(&mut words, ports);
        self.write(&words)
    }

    /// Makes the set equal to these ports.
    pub(super) fn replace(
        &mut self,
        ports: impl Iterator<Item = u16>,
    ) -> Result<(), InterceptError> {
        let mut words = vec![0; PORT_WORDS];
        mark(&mut words, ports);
        self.write(&words)
    }

    fn write(&mut self, words: &[u64]) -> Result<(), InterceptError> {
        for ((at, new), old) in (0..).zip(words).zip(&mut self.words) {
            if new != old {
                self.map
                    .set(at, new, 0)
                    .map_err(map_error("write a word", "PORTS"))?;
                *old = *new;
            }
        }
        Ok(())
    }
}

fn mark(words: &mut [u64], ports: impl Iterator<Item = u16>) {
    for port in ports {
        if let Some(word) = words.get_mut(usize::from(port >> 6)) {
            *word |= 1 << (port & 63);
        }
    }
}

/// The maps of one load, taken out of it.
pub(super) struct Maps {
    pub(super) protected: KernelSet<Endpoint>,
    pub(super) ports: PortSet,
    pub(super) jobs: KernelSet<u64>,
    pub(super) scope: KernelSet<u64>,
    pub(super) exceptions: KernelSet<Endpoint>,
    pub(super) settings: Array<MapData, Settings>,
    pub(super) listeners: SkStorage<MapData, u64>,
    pub(super) connections: HashMap<MapData, ConnKey, ConnRecord>,
    pub(super) counters: PerCpuArray<MapData, u64>,
    pub(super) attempts: RingBuf<MapData>,
    pub(super) namespaces: RingBuf<MapData>,
}

/// Loads the object with maps of its own. Nothing is attached yet.
pub(super) fn load() -> Result<(Ebpf, Maps), InterceptError> {
    let mut ebpf = EbpfLoader::new()
        .load(OBJECT)
        .map_err(|error| InterceptError::Load(Box::new(error)))?;
    let maps = Maps {
        protected: set(&mut ebpf, "PROTECTED")?,
        ports: PortSet {
            map: take(&mut ebpf, "PORTS")?,
            words: vec![0; PORT_WORDS],
        },
        jobs: set(&mut ebpf, "JOBS")?,
        scope: set(&mut ebpf, "SCOPE")?,
        exceptions: set(&mut ebpf, "EXCEPTIONS")?,
        settings: take(&mut ebpf, "SETTINGS")?,
        listeners: take(&mut ebpf, "LISTENERS")?,
        connections: take(&mut ebpf, "CONNECTIONS")?,
        counters: take(&mut ebpf, "COUNTERS")?,
        attempts: take(&mut ebpf, "ATTEMPTS")?,
        namespaces: take(&mut ebpf, "NAMESPACES")?,
    };
    Ok((ebpf, maps))
}

pub(super) fn map_error(
    action: &'static str,
    map: &'static str,
) -> impl FnOnce(MapError) -> InterceptError {
    move |error| InterceptError::Map {
        action,
        map,
        source: Box::new(error),
    }
}

fn set<K: Pod>(ebpf: &mut Ebpf, name: &'static str) -> Result<KernelSet<K>, InterceptError> {
    Ok(KernelSet {
        name,
        map: take(ebpf, name)?,
    })
}

fn take<M: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, InterceptError> {
    let map = ebpf
        .take_map(name)
        .ok_or(InterceptError::Missing { kind: "map", name })?;
    M::try_from(map).map_err(map_error("use the layout", name))
}
