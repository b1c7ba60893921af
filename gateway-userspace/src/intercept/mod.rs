//! What the kernel saw of a connection, and the programs that see it.
//!
//! The rest of the daemon knows only [`InterceptedConn`] and the [`Claim`] trait, and starts the
//! programs by [`Interceptor`]; everything that speaks to the kernel (loading, pinning, maps)
//! stays in this folder.
//!
//! The programs outlive the daemon: their links are pinned on bpffs, so that while no daemon
//! listens, connects to protected databases are refused and not let through.

mod address;
mod attempts;
mod cgroup;
mod conn;
mod counters;
mod error;
mod interceptor;
mod kernel;
mod links;
mod listener;
mod loader;
mod namespaces;
mod pin_dir;
mod recognise;
mod scope;
pub(crate) mod sock_diag;

pub use address::AddressChanges;
pub(crate) use address::is_local;
pub use attempts::{AttemptStream, Attempts, BypassAttempt};
pub use conn::{Claim, InterceptedConn};
pub use counters::Counters;
pub use error::InterceptError;
pub use gateway_common::{Counter, Way};
pub use interceptor::{InterceptConfig, Interceptor};
pub use links::{Attachment, attachments, detach_all, probe};
pub use namespaces::{NamespaceFile, NamespaceListeners, NamespaceStream, NamespaceWanted};
pub use pin_dir::is_bpffs;
pub use recognise::{Recognise, RecogniseAction};
pub use scope::Scope;
