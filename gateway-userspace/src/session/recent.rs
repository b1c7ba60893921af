//! What a session did lately, for whoever is asked to approve its next statement.

use std::sync::Arc;

use super::Understood;
use crate::admin::EarlierView;

/// How many statements are remembered.
const STATEMENTS: usize = 5;
/// Longest text shown, in bytes.
const MAX_TEXT: usize = 500;

/// The last statements that were sent, and whether their transaction is open.
#[derive(Debug, Default)]
pub(super) struct Recent {
    ring: [Option<(u64, Arc<Understood>)>; STATEMENTS],
    next: usize,
    /// A transaction block is open.
    block: bool,
    /// Statements were sent that no ReadyForQuery has followed: they share a transaction with the
    /// next one.
    batch: bool,
}

impl Recent {
    pub(super) fn sent(&mut self, number: u64, understood: &Arc<Understood>) {
        if let Some(place) = self.ring.get_mut(self.next) {
            *place = Some((number, understood.clone()));
        }
        self.next = (self.next + 1) % STATEMENTS;
        self.batch = true;
    }

    /// The server's transaction status at ReadyForQuery.
    pub(super) fn status(&mut self, status: u8) {
        self.block = status != b'I';
        self.batch = false;
    }

    /// True if what was sent before keeps its locks until the next statement has ended.
    pub(super) fn keeps_locks(&self) -> bool {
        self.block || self.batch
    }

    /// Oldest first.
    pub(super) fn shown(&self) -> Vec<EarlierView> {
        let (newer, older) = self.ring.split_at(self.next.min(STATEMENTS));
        older
            .iter()
            .chain(newer)
            .flatten()
            .map(|(number, understood)| EarlierView {
                number: *number,
                statement: cut(understood.text()),
            })
            .collect()
    }
}

fn cut(text: &str) -> String {
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    let mut end = MAX_TEXT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", text.get(..end).unwrap_or_default())
}
