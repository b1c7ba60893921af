//! Serves jobs in other network namespaces: containers, mostly.
//!
//! The warden listens there and hands the listeners over.

use std::{collections::HashMap, net::TcpListener as StdListener, sync::Arc};

use tokio::{net::TcpListener, sync::watch};

use super::Acceptor;
use crate::intercept::Claim;

/// The namespaces that are served.
pub struct Namespaces {
    acceptor: Arc<Acceptor>,
    /// By cookie; dropping one closes its listeners.
    open: HashMap<u64, watch::Sender<bool>>,
}

impl Namespaces {
    /// None is served yet.
    pub fn new(acceptor: Arc<Acceptor>) -> Self {
        Self {
            acceptor,
            open: HashMap::new(),
        }
    }

    /// Serves one from now on. To be called within a runtime.
    pub fn open(
        &mut self,
        netns_cookie: u64,
        listeners: Vec<StdListener>,
        claims: &Arc<dyn Claim>,
    ) {
        let (stop, stopped) = watch::channel(false);
        for listener in listeners {
            match TcpListener::from_std(listener) {
                Ok(listener) => {
                    let acceptor = self.acceptor.clone();
                    tokio::spawn(acceptor.run(listener, claims.clone(), stopped.clone()));
                }
                Err(error) => tracing::error!(%error, "a listener cannot be used"),
            }
        }
        self.open.insert(netns_cookie, stop);
    }

    /// Serves it no more: nobody is in it.
    pub fn close(&mut self, netns_cookie: u64) {
        self.open.remove(&netns_cookie);
    }
}
