//! The store: objects below a prefix, each written once, with its SHA-256.

use std::{path::Path as FilePath, sync::Arc, time::Duration};

use object_store::{
    ClientOptions, ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig,
    aws::{AmazonS3Builder, Checksum},
    path::Path,
};
use zeroize::Zeroizing;

use super::Bundle;

/// Where the evidence goes.
#[derive(Clone)]
pub struct StoreConfig {
    /// URL of the service; `None`: AWS, by region.
    pub endpoint: Option<String>,
    /// Region.
    pub region: String,
    /// Bucket.
    pub bucket: String,
    /// Objects' names begin with this.
    pub prefix: String,
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: Zeroizing<String>,
}

impl std::fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreConfig")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// The store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is not set up well.
    #[error("the store for evidence cannot be used: {0}")]
    Setup(String),
    /// It refused, or is out of reach.
    #[error("the store for evidence failed at {key}: {problem}")]
    Failed {
        /// The object.
        key: String,
        /// Why.
        problem: String,
    },
    /// What it holds is not evidence, or not all of it.
    #[error("what is stored at {key} is no evidence: {problem}")]
    Malformed {
        /// The object.
        key: String,
        /// What is wrong.
        problem: &'static str,
    },
}

/// A store.
pub struct Store {
    pub(super) store: Arc<dyn ObjectStore>,
    prefix: String,
}

impl Store {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// If the configuration makes no sense.
    pub fn new(config: &StoreConfig) -> Result<Self, StoreError> {
        let plain = config
            .endpoint
            .as_deref()
            .is_some_and(|endpoint| endpoint.starts_with("http://"));
        let options = ClientOptions::new()
            .with_timeout(Duration::from_secs(30))
            .with_connect_timeout(Duration::from_secs(5))
            .with_allow_http(plain);
        let mut builder = AmazonS3Builder::new()
            .with_region(&config.region)
            .with_bucket_name(&config.bucket)
            .with_access_key_id(&config.access_key)
            .with_secret_access_key(config.secret_key.as_str())
            .with_checksum_algorithm(Checksum::SHA256)
            .with_client_options(options)
            .with_retry(RetryConfig {
                max_retries: 2,
                retry_timeout: Duration::from_secs(20),
                ..RetryConfig::default()
            });
        if let Some(endpoint) = &config.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let store = builder
            .build()
            .map_err(|error| StoreError::Setup(error.to_string()))?;
        Ok(Self {
            store: Arc::new(store),
            prefix: config.prefix.trim_matches('/').to_owned(),
        })
    }

    pub(super) fn key(&self, name: &str) -> Path {
        Path::from(format!("{}/{name}", self.prefix))
    }

    async fn write(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let key = self.key(name);
        self.store
            .put(&key, PutPayload::from(bytes))
            .await
            .map(drop)
            .map_err(|error| failed(&key, &error))
    }

    /// What a log's entries name goes first, then the entries, then what signs them: whoever reads
    /// in the other order finds everything.
    pub(super) async fn put(&self, bundle: &Bundle) -> Result<(), StoreError> {
        let place = format!("{:020}/{:020}", bundle.segment, bundle.offset);
        if !bundle.parts.is_empty() {
            self.write(&format!("parts/{place}"), bundle.parts.clone())
                .await?;
        }
        if !bundle.frames.is_empty() {
            self.write(&format!("segments/{place}"), bundle.frames.clone())
                .await?;
        }
        if !bundle.checkpoints.is_empty() {
            let name = format!("checkpoints/{:020}", bundle.checkpoint);
            self.write(&name, bundle.checkpoints.clone().into_bytes())
                .await?;
        }
        if !bundle.cosigned_notes.is_empty() {
            let name = format!("cosigned/{:020}", bundle.cosigned);
            self.write(&name, bundle.cosigned_notes.clone().into_bytes())
                .await?;
        }
        Ok(())
    }

    /// The public keys.
    pub(super) async fn put_keys(&self, dir: &FilePath) -> Result<(), StoreError> {
        for name in ["keys/log.pub", "keys/rotations"] {
            match tokio::fs::read(dir.join(name)).await {
                Ok(bytes) => self.write(name, bytes).await?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::Setup(error.to_string())),
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

pub(super) fn failed(key: &Path, error: &object_store::Error) -> StoreError {
    let mut problem = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !problem.contains(&cause_text) {
            problem = format!("{problem}: {cause_text}");
        }
        source = cause.source();
    }
    StoreError::Failed {
        key: key.to_string(),
        problem,
    }
}
