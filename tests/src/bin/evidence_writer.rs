//! Writes a small log of evidence, so that tests can kill it and break its disk at every system
//! call: `evidence_writer FOLDER ENTRIES`. Says which entries are acknowledged.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use cordon::audit::{Durability, Event, Fsync, Heartbeat, Log, LogConfig};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().context("which folder?")?;
    let entries: u64 = arguments.next().context("how many entries?")?.parse()?;
    let mut config = LogConfig::new(dir, Fsync::Always, "host.example");
    // So that a few entries rotate it, and are signed as they come.
    config.tuning.segment_bytes = 1_500;
    config.tuning.checkpoint_entries = 1;
    config.tuning.checkpoint_every = std::time::Duration::from_millis(2);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (log, recovery) = Log::open(config)?;
        say(&format!("opened {}", recovery.entries))?;
        let mut acknowledged = 0;
        while acknowledged < entries {
            let event = Event::Heartbeat(Heartbeat {});
            match log.append(event, Durability::Now).await {
                Ok(receipt) => {
                    acknowledged += 1;
                    say(&format!("acknowledged {}", receipt.index()))?;
                }
                Err(error) => {
                    say(&format!("refused: {error}"))?;
                    tokio::task::yield_now().await;
                }
            }
        }
        log.close("written").await?;
        say("closed")
    })
}

/// In one system call, so that what is said is said.
fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{text}\n").as_bytes())?;
    out.flush().context("nobody listens")
}
