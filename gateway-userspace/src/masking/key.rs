//! The secret of `token` masks.

use std::fmt;

use ring::hmac;

/// The key of `token` masks. The same key gives the same token for the same value, so that joins
/// on tokens work; without it tokens cannot be made from guessed values.
#[derive(Clone)]
pub struct MaskKey(hmac::Key);

impl MaskKey {
    /// A key from 32 secret bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    pub(super) fn sign(&self, value: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0, value)
    }
}

impl fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MaskKey(..)")
    }
}
