//! Any bytes at all may come before a session is open: in clear, inside TLS, and in the middle of
//! a SCRAM exchange.

use std::{cell::RefCell, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::{BufMut, BytesMut};
use ring::{digest, hmac, pbkdf2};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    client::{exchange, messages, startup, with_stand},
    stand::{Arrival, Cut, PLACEHOLDER, Stand},
};
use crate::protocol::postgres::wire::{put_cstr, put_message};

const RULES: &str = "    allow: [{ all: '*.*' }]\n";
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];

thread_local! {
    static STAND: RefCell<Option<Stand>> = const { RefCell::new(None) };
}

/// Connects and says anything: the first byte of the input tells how, the second how it is cut
/// into reads.
///
/// # Panics
/// If something does not hold.
pub fn pg_startup(input: &[u8]) {
    let [mode, reads, rest @ ..] = input else {
        return;
    };
    let arrival = Arrival {
        cut: Cut::pieces(*reads),
        ..Arrival::default()
    };
    with_stand(&STAND, RULES, |stand| match mode % 8 {
        // Inside TLS, that was asked for or begun with.
        1 | 2 => {
            let certificate = stand.certificate.clone();
            stand.connect(arrival, |stream| async move {
                if let Some(tls) = inside_tls(stream, &certificate, mode % 8 == 1).await {
                    exchange(tls, rest).await;
                }
            });
        }
        3 => stand.connect(arrival, |stream| scram(stream, rest)),
        _ => {
            let seen = stand.connect(arrival, |stream| exchange(stream, rest));
            if rest.starts_with(&SSL_REQUEST) && rest.len() > 8 {
                assert!(
                    !seen.windows(5).any(|part| part == b"Z\0\0\0\x05"),
                    "what came in clear behind an SSLRequest opened a session"
                );
            }
        }
    });
}

async fn inside_tls(
    mut stream: DuplexStream,
    certificate: &str,
    asks: bool,
) -> Option<TlsStream<DuplexStream>> {
    if asks {
        stream.write_all(&SSL_REQUEST).await.ok()?;
        assert_eq!(stream.read_u8().await.ok()?, b'S');
    }
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
    roots.add(certificate).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    let name = ServerName::try_from("localhost").expect("a name");
    let tls = TlsConnector::from(Arc::new(config)).connect(name, stream);
    Some(tls.await.expect("a handshake with a sound client"))
}

/// A SCRAM exchange: the client's first and last message with a `|` between them. `%n` in the last
/// stands for the server's nonce, `%p` for the proof of the placeholder.
async fn scram(mut stream: DuplexStream, input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == b'|');
    let (first, last) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let hello = startup(&[("user", "u"), ("database", "asks")]);
    let mut initial = BytesMut::new();
    put_message(&mut initial, b'p', |out| {
        put_cstr(out, b"SCRAM-SHA-256");
        out.put_i32(i32::try_from(first.len()).unwrap_or(i32::MAX));
        out.put_slice(first);
    });
    if stream.write_all(&hello).await.is_err() || stream.write_all(&initial).await.is_err() {
        return;
    }
    let mut seen = Vec::new();
    let challenge = loop {
        match stream.read_buf(&mut seen).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let challenge = messages(&seen).into_iter().find_map(|(tag, body)| {
            let body = body.strip_prefix(&[0, 0, 0, 11]).filter(|_| tag == b'R')?;
            String::from_utf8(body.to_vec()).ok()
        });
        if let Some(challenge) = challenge {
            break challenge;
        }
    };
    let first = String::from_utf8_lossy(first).into_owned();
    let bare = first.splitn(3, ',').nth(2).unwrap_or_default();
    let nonce = attribute(&challenge, "r=");
    let last = String::from_utf8_lossy(last).replace("%n", nonce);
    let unproven = last.split(",p=").next().unwrap_or_default();
    let proof = prove(&challenge, &format!("{bare},{challenge},{unproven}"));
    let last = last.replace("%p", &proof);
    let mut response = BytesMut::new();
    put_message(&mut response, b'p', |out| out.put_slice(last.as_bytes()));
    let seen = exchange(stream, &response).await;
    let welcome = messages(&seen)
        .into_iter()
        .any(|(tag, body)| tag == b'R' && body == [0, 0, 0, 0]);
    assert!(
        !welcome || (last.contains(&proof) && attribute(&last, "r=") == nonce),
        "welcome without a proof"
    );
}

fn attribute<'t>(text: &'t str, name: &str) -> &'t str {
    text.split(',')
        .find_map(|part| part.strip_prefix(name))
        .unwrap_or_default()
}

fn prove(challenge: &str, message: &str) -> String {
    let salt = BASE64.decode(attribute(challenge, "s=")).expect("a salt");
    let iterations = attribute(challenge, "i=").parse().expect("a number");
    let mut salted = [0; digest::SHA256_OUTPUT_LEN];
    let password = PLACEHOLDER.as_bytes();
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        iterations,
        &salt,
        password,
        &mut salted,
    );
    let salted = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let client_key = hmac::sign(&salted, b"Client Key");
    let stored = digest::digest(&digest::SHA256, client_key.as_ref());
    let signature = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, stored.as_ref()),
        message.as_bytes(),
    );
    let proof: Vec<u8> = client_key
        .as_ref()
        .iter()
        .zip(signature.as_ref())
        .map(|(key, mask)| key ^ mask)
        .collect();
    BASE64.encode(proof)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::{client::to_its_end, mutate_wire, seeds};

    #[test]
    fn what_must_hold_holds_for_the_seeds_and_their_mutations() {
        to_its_end(|| {
            for (_, seed) in seeds::startup() {
                pg_startup(&seed);
                for round in 0..20 {
                    pg_startup(&mutate_wire(&seed, round));
                }
            }
        });
    }

    #[test]
    fn the_right_proof_opens_a_session_and_another_does_not() {
        let welcome = |input: &'static [u8]| {
            with_stand(&STAND, RULES, |stand| {
                stand.connect(Arrival::default(), |stream| scram(stream, input));
            });
        };
        welcome(b"n,,n=,r=abc|c=biws,r=%n,p=%p");
        welcome(b"n,,n=,r=abc|c=biws,r=%n,p=AAAA");
    }
}
