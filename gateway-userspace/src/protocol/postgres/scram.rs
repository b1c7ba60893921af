//! The server's side of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, for clients that insist on it.
//!
//! RFC 5802, RFC 7677; PostgreSQL documentation, "SASL Authentication" (55.3). What a client proves
//! is that it knows the configured placeholder: who it is, the kernel has told already.

use std::num::NonZeroU32;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ring::{digest, hmac, pbkdf2, rand::SecureRandom};

/// The mechanism without channel binding.
pub const MECHANISM: &str = "SCRAM-SHA-256";
/// The mechanism with it, inside TLS.
pub const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";
/// The one binding type that PostgreSQL's clients know (RFC 5929).
const BINDING: &str = "tls-server-end-point";
/// As PostgreSQL's own `scram_iterations`.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("4096 is not 0");
const SALT_LEN: usize = 16;
/// As PostgreSQL's own server takes, in bytes before Base64.
const NONCE_LEN: usize = 18;

/// Why an exchange fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// The message is not what the RFC says.
    #[error("malformed SCRAM message: {0}")]
    Malformed(&'static str),
    /// It proves another password.
    #[error("the password is not the placeholder of the configuration")]
    Proof,
    /// The binding is of another TLS connection, or was stripped on the way.
    #[error("SCRAM channel binding check failed")]
    Binding,
    /// The operating system gave no random bytes.
    #[error("the system has no randomness")]
    Randomness,
}

/// What the server keeps of a password.
pub struct Verifier {
    salt: [u8; SALT_LEN],
    stored_key: [u8; digest::SHA256_OUTPUT_LEN],
    server_key: hmac::Key,
}

/// The server's first message has been sent.
#[derive(Debug)]
pub struct Challenge {
    gs2_header: String,
    /// What `c=` of the client's final message has to say.
    binding: String,
    first_bare: String,
    server_first: String,
    nonce: String,
}

impl Verifier {
    /// Derives the keys, with a salt of its own.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn new(password: &str, random: &dyn SecureRandom) -> Result<Self, ScramError> {
        let mut salt = [0; SALT_LEN];
        random
            .fill(&mut salt)
            .map_err(|_none| ScramError::Randomness)?;
        let mut salted = [0; digest::SHA256_OUTPUT_LEN];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            ITERATIONS,
            &salt,
            password.as_bytes(),
            &mut salted,
        );
        let salted = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        let server_key = hmac::sign(&salted, b"Server Key");
        Ok(Self {
            salt,
            stored_key: sha256(client_key.as_ref()),
            server_key: hmac::Key::new(hmac::HMAC_SHA256, server_key.as_ref()),
        })
    }

    /// Answers the client's first message. `certificate_hash`: the `tls-server-end-point` of the
    /// connection, if the mechanism chosen is the one with channel binding; `offered`: that
    /// mechanism was on offer.
    ///
    /// # Errors
    /// What is wrong with the message.
    pub fn challenge(
        &self,
        first: &[u8],
        certificate_hash: Option<&[u8]>,
        offered: bool,
        random: &dyn SecureRandom,
    ) -> Result<(Challenge, Vec<u8>), ScramError> {
        let first =
            std::str::from_utf8(first).map_err(|_not| ScramError::Malformed("not UTF-8"))?;
        let mut parts = first.splitn(3, ',');
        let (Some(flag), Some(authorization), Some(bare)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(ScramError::Malformed("no GS2 header"));
        };
        let binding: &[u8] = match (flag, certificate_hash) {
            // It would have bound, and was not offered to: somebody between us took that away.
            ("y", None) if offered => return Err(ScramError::Binding),
            ("n" | "y", None) => &[],
            (flag, Some(hash)) if flag.strip_prefix("p=") == Some(BINDING) => hash,
            _ => return Err(ScramError::Malformed("unexpected channel binding flag")),
        };
        if !authorization.is_empty() {
            return Err(ScramError::Malformed("an authorization identity"));
        }
        let gs2_header = format!("{flag},,");
        let mut attributes = bare.split(',');
        // The name in it does not count: the start-up message has it.
        if !attributes.next().is_some_and(|user| user.starts_with("n=")) {
            return Err(ScramError::Malformed("no user name"));
        }
        let client_nonce = attributes
            .next()
            .and_then(|nonce| nonce.strip_prefix("r="))
            .filter(|nonce| !nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_graphic()))
            .ok_or(ScramError::Malformed("no nonce"))?;
        let mut own = [0; NONCE_LEN];
        random
            .fill(&mut own)
            .map_err(|_none| ScramError::Randomness)?;
        let nonce = format!("{client_nonce}{}", BASE64.encode(own));
        let server_first = format!("r={nonce},s={},i={ITERATIONS}", BASE64.encode(self.salt));
        let mut bound = gs2_header.clone().into_bytes();
        bound.extend_from_slice(binding);
        let challenge = Challenge {
            binding: BASE64.encode(bound),
            gs2_header,
            first_bare: bare.to_owned(),
            server_first: server_first.clone(),
            nonce,
        };
        Ok((challenge, server_first.into_bytes()))
    }

    /// Checks the client's proof; gives the server's own.
    ///
    /// # Errors
    /// What is wrong with the message, or that it proves nothing.
    pub fn verify(&self, challenge: &Challenge, last: &[u8]) -> Result<Vec<u8>, ScramError> {
        let last = std::str::from_utf8(last).map_err(|_not| ScramError::Malformed("not UTF-8"))?;
        let (without_proof, proof) = last
            .rsplit_once(",p=")
            .ok_or(ScramError::Malformed("no proof"))?;
        let mut attributes = without_proof.split(',');
        let binding = attributes
            .next()
            .and_then(|binding| binding.strip_prefix("c="))
            .ok_or(ScramError::Malformed("no channel binding"))?;
        let nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r="));
        if nonce != Some(challenge.nonce.as_str()) {
            return Err(ScramError::Malformed("another nonce"));
        }
        if binding != challenge.binding {
            return Err(ScramError::Binding);
        }
        let message = format!(
            "{},{},{without_proof}",
            challenge.first_bare, challenge.server_first
        );
        let stored = hmac::Key::new(hmac::HMAC_SHA256, &self.stored_key);
        let signature = hmac::sign(&stored, message.as_bytes());
        let mut client_key = BASE64
            .decode(proof)
            .ok()
            .filter(|proof| proof.len() == signature.as_ref().len())
            .ok_or(ScramError::Malformed("a proof of another length"))?;
        for (byte, mask) in client_key.iter_mut().zip(signature.as_ref()) {
            *byte ^= mask;
        }
        if sha256(&client_key) != self.stored_key {
            return Err(ScramError::Proof);
        }
        let own = hmac::sign(&self.server_key, message.as_bytes());
        Ok(format!("v={}", BASE64.encode(own)).into_bytes())
    }
}

impl Challenge {
    /// The client bound the exchange to the TLS connection.
    pub fn is_bound(&self) -> bool {
        self.gs2_header.starts_with("p=")
    }
}

fn sha256(data: &[u8]) -> [u8; digest::SHA256_OUTPUT_LEN] {
    let mut out = [0; digest::SHA256_OUTPUT_LEN];
    out.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
    use ring::rand::SystemRandom;

    use super::*;

    const HASH: [u8; 32] = [7; 32];

    /// Runs an exchange against another implementation of the client's side.
    fn exchange(
        password: &str,
        binding: ChannelBinding,
        certificate_hash: Option<&[u8]>,
        offered: bool,
    ) -> Result<(), ScramError> {
        let random = SystemRandom::new();
        let verifier = Verifier::new("placeholder", &random)?;
        let mut client = ScramSha256::new(password.as_bytes(), binding);
        let (challenge, server_first) =
            verifier.challenge(client.message(), certificate_hash, offered, &random)?;
        client.update(&server_first).unwrap();
        let server_final = verifier.verify(&challenge, client.message())?;
        client.finish(&server_final).unwrap();
        Ok(())
    }

    #[test]
    fn another_implementation_is_satisfied_with_both_mechanisms() {
        assert_eq!(
            exchange("placeholder", ChannelBinding::unsupported(), None, false),
            Ok(())
        );
        let bound = ChannelBinding::tls_server_end_point(HASH.to_vec());
        assert_eq!(exchange("placeholder", bound, Some(&HASH), true), Ok(()));
    }

    #[test]
    fn another_password_proves_nothing() {
        let outcome = exchange("guess", ChannelBinding::unsupported(), None, false);
        assert_eq!(outcome, Err(ScramError::Proof));
    }

    #[test]
    fn another_tls_connection_is_noticed() {
        let bound = ChannelBinding::tls_server_end_point(vec![8; 32]);
        let outcome = exchange("placeholder", bound, Some(&HASH), true);
        assert_eq!(outcome, Err(ScramError::Binding));
    }

    /// The client would have bound the exchange; what we offered did not reach it.
    #[test]
    fn a_downgrade_is_noticed() {
        let outcome = exchange("placeholder", ChannelBinding::unsupported(), None, true);
        assert!(outcome.is_ok(), "n: the client does not bind");
        let outcome = exchange("placeholder", ChannelBinding::unrequested(), None, true);
        assert_eq!(outcome, Err(ScramError::Binding), "y: it would have");
        let outcome = exchange("placeholder", ChannelBinding::unrequested(), None, false);
        assert_eq!(outcome, Ok(()), "y: and nothing was offered");
    }

    #[test]
    fn malformed_messages_are_refused() {
        let random = SystemRandom::new();
        let verifier = Verifier::new("placeholder", &random).unwrap();
        for first in [
            &b""[..],
            b"n",
            b"n,,",
            b"n,a=root,n=,r=abc",
            b"n,,r=abc",
            b"n,,n=,r=",
            b"n,,n=,r=a b",
            b"n,,m=x,n=,r=abc",
            b"p=tls-unique,,n=,r=abc",
            b"p=tls-server-end-point,,n=,r=abc",
            b"n,,n=\xff,r=abc",
        ] {
            let outcome = verifier.challenge(first, None, false, &random);
            assert!(
                matches!(outcome, Err(ScramError::Malformed(_))),
                "{first:?}: {outcome:?}"
            );
        }
        let (challenge, _) = verifier
            .challenge(b"n,,n=,r=abc", None, false, &random)
            .unwrap();
        for last in ["", "c=biws", "c=biws,r=abc,p=AAAA", "p=AAAA", "c=biws,p=x"] {
            let outcome = verifier.verify(&challenge, last.as_bytes());
            assert!(
                matches!(outcome, Err(ScramError::Malformed(_))),
                "{last}: {outcome:?}"
            );
        }
    }
}
