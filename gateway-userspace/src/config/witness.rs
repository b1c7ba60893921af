//! Who cosigns the evidence's checkpoints.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rustls::RootCertStore;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{ConfigError, file, resolve::Place};

const DEFAULT_EVERY: Duration = Duration::from_secs(10);

/// Witnesses of the evidence.
#[derive(Clone, Debug)]
pub struct Witnesses {
    /// Each of them once; at least one.
    pub list: Vec<Witness>,
    /// How many must have cosigned what counts as witnessed.
    pub quorum: usize,
    /// How often a new checkpoint is shown to them.
    pub every: Duration,
}

/// One witness.
#[derive(Clone, Debug)]
pub struct Witness {
    /// Its public key.
    pub key: cordon_verify::Witness,
    /// Its submission prefix.
    pub url: reqwest::Url,
    /// Roots for its TLS connections; `None`: the system's.
    pub roots: Option<Arc<RootCertStore>>,
}

/// A witness as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WitnessFile {
    pub(super) url: Spanned<String>,
    pub(super) key: Spanned<String>,
    pub(super) ca_file: Option<Spanned<PathBuf>>,
}

impl Place<'_> {
    pub(super) fn witnesses(
        &self,
        written: &mut file::Evidence,
    ) -> Result<Option<Witnesses>, ConfigError> {
        let quorum = written.witness_quorum.take();
        let every = written.witness_every.take();
        let Some(witnesses) = written.witnesses.take() else {
            let place = quorum.map(|quorum| quorum.referenced);
            return match place.or_else(|| every.map(|every| every.referenced)) {
                Some(place) => {
                    Err(self.error(place, "there are no `witnesses` that this could be about"))
                }
                None => Ok(None),
            };
        };
        if witnesses.value.is_empty() {
            return Err(self.error(
                witnesses.referenced,
                "the list of witnesses is empty; name one, or leave it out",
            ));
        }
        let mut list: Vec<Witness> = Vec::with_capacity(witnesses.value.len());
        for witness in witnesses.value {
            self.url(&witness.url)?;
            let key = cordon_verify::Witness::parse(&witness.key.value)
                .map_err(|message| self.error(witness.key.referenced, message))?;
            if list.iter().any(|known| known.key == key) {
                return Err(self.error(
                    witness.key.referenced,
                    format!("the witness `{}` is named twice", key.name()),
                ));
            }
            list.push(Witness {
                key,
                url: reqwest::Url::parse(&witness.url.value)
                    .map_err(|error| self.error(witness.url.referenced, error.to_string()))?,
                roots: witness
                    .ca_file
                    .as_ref()
                    .map(|path| self.roots(path))
                    .transpose()?,
            });
        }
        let quorum = match quorum {
            None => list.len(),
            Some(quorum) if (1..=list.len()).contains(&quorum.value) => quorum.value,
            Some(quorum) => {
                return Err(self.error(
                    quorum.referenced,
                    format!(
                        "the quorum is a number from 1 to {}, that of the witnesses",
                        list.len()
                    ),
                ));
            }
        };
        Ok(Some(Witnesses {
            list,
            quorum,
            every: self.duration(
                every,
                DEFAULT_EVERY,
                Duration::from_secs(1)..=Duration::from_hours(24),
            )?,
        }))
    }
}
