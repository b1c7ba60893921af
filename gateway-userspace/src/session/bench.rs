//! A session without a client and a server, for benchmarks: its texts are understood, judged and
//! kept as those of any other, and nothing is ever sent.

use std::{error::Error, fs, path::PathBuf};

use tokio::runtime::Runtime;

use super::{
    Session,
    seat::{example, gate, seat},
};

const POLICY: &str = "version: 1\ngrants:\n  - name: bench\n    who: { issuer: i }\n    database: shop\n    role: { login: l }\n    allow: [{ all: '*.*' }]\n    mask: [{ column: '*.*.ssn', with: redact, where: equality }]\n";

/// The session.
pub struct Desk {
    session: Session,
    runtime: Runtime,
    folder: PathBuf,
}

impl Desk {
    /// Opens it over the catalog of the example.
    pub fn open() -> Result<Self, Box<dyn Error>> {
        let folder = std::env::temp_dir().join(format!("cordon-bench-{}", std::process::id()));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let gate = gate(&folder, POLICY)?;
        let session = runtime.block_on(seat(&gate, "i", "agent", &example()?))?;
        Ok(Self {
            session,
            runtime,
            folder,
        })
    }

    /// Understands and judges a text that the session has not seen, and keeps what is known of it.
    pub fn read(&mut self, text: &str) -> Result<(), String> {
        self.session.forget();
        let Self {
            session, runtime, ..
        } = self;
        runtime.block_on(async {
            let parsed = session
                .split(text)
                .await
                .map_err(|refusal| format!("{refusal:?}"))?;
            for one in &parsed {
                let understood = session
                    .analyze(one)
                    .await
                    .map_err(|error| error.to_string())?;
                session.confirm(&understood);
                session.remember(text, &understood);
            }
            Ok(())
        })
    }

    /// What a protocol does with a text first; true if it was seen and still holds.
    pub fn again(&mut self, text: &str) -> bool {
        let Some(understood) = self.session.cached(text) else {
            return false;
        };
        std::hint::black_box(self.session.names_due());
        self.session.is_current(&understood) && self.session.unconfirmed(&understood).is_none()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
