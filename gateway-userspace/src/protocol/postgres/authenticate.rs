//! Asks a client for the placeholder password, where the configuration names one.
//!
//! Clients with `channel_binding=require` or `require_auth=scram-sha-256` go on only after a real
//! exchange. It does not tell who they are: the kernel does.

use bytes::{Buf, BufMut, BytesMut};
use ring::rand::SystemRandom;

use super::{
    close::Close,
    scram::{MECHANISM, MECHANISM_PLUS, ScramError, Verifier},
    startup::STARTUP_TIMEOUT,
    wire::{Body, put_cstr, put_message},
};
use crate::transport::Channel;

/// Longest message of the exchange, in bytes; the server's own limit (`PG_MAX_SASL_MESSAGE_LENGTH`).
const MAX_MESSAGE: usize = 1024;

const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

/// Runs the exchange. `certificate_hash` is the SHA-256 of our certificate, inside TLS.
///
/// # Errors
/// If the client does not follow, is too slow, or gives another password.
pub async fn authenticate(
    channel: &mut Channel,
    verifier: &Verifier,
    certificate_hash: Option<&[u8]>,
) -> Result<(), Close> {
    tokio::time::timeout(
        STARTUP_TIMEOUT,
        exchange(channel, verifier, certificate_hash),
    )
    .await
    .map_err(|_elapsed| Close::Silent("no answer to the request for authentication in time"))?
}

async fn exchange(
    channel: &mut Channel,
    verifier: &Verifier,
    certificate_hash: Option<&[u8]>,
) -> Result<(), Close> {
    put_message(&mut channel.tx, b'R', |out| {
        out.put_u32(SASL);
        if certificate_hash.is_some() {
            put_cstr(out, MECHANISM_PLUS.as_bytes());
        }
        put_cstr(out, MECHANISM.as_bytes());
        out.put_u8(0);
    });
    let message = answer(channel).await?;
    let mut body = Body(&message);
    let malformed = |_| Close::protocol("malformed SASL response");
    let mechanism = body.cstr().map_err(malformed)?;
    let bound = if mechanism == MECHANISM.as_bytes() {
        None
    } else if mechanism == MECHANISM_PLUS.as_bytes() && certificate_hash.is_some() {
        certificate_hash
    } else {
        return Err(Close::protocol(
            "client selected an invalid SASL authentication mechanism",
        ));
    };
    let length = body.i32().map_err(malformed)?;
    // Without a first message (-1) the mechanism has nothing to answer.
    let length = usize::try_from(length).map_err(|_negative| malformed(super::wire::Malformed))?;
    let first = body.bytes(length).map_err(malformed)?;
    body.end().map_err(malformed)?;
    let random = SystemRandom::new();
    let (challenge, reply) = verifier
        .challenge(first, bound, certificate_hash.is_some(), &random)
        .map_err(refused)?;
    put_message(&mut channel.tx, b'R', |out| {
        out.put_u32(SASL_CONTINUE);
        out.put_slice(&reply);
    });
    let last = answer(channel).await?;
    let proof = verifier.verify(&challenge, &last).map_err(refused)?;
    put_message(&mut channel.tx, b'R', |out| {
        out.put_u32(SASL_FINAL);
        out.put_slice(&proof);
    });
    Ok(())
}

/// Sends what is due and reads one `p` message; gives its body.
async fn answer(channel: &mut Channel) -> Result<BytesMut, Close> {
    channel.drain().await.map_err(Close::client)?;
    channel.fill_to(5).await.map_err(Close::client)?;
    let mut head = channel.rx.split_to(5);
    if head.get_u8() != b'p' {
        return Err(Close::protocol("expected a SASL response"));
    }
    let length = head.get_u32() as usize;
    if !(4..=MAX_MESSAGE).contains(&length) {
        return Err(Close::protocol("invalid length of a SASL response"));
    }
    channel.fill_to(length - 4).await.map_err(Close::client)?;
    Ok(channel.rx.split_to(length - 4))
}

fn refused(error: ScramError) -> Close {
    match error {
        ScramError::Malformed(_) | ScramError::Binding => Close::protocol(error.to_string()),
        ScramError::Proof => Close::Fatal {
            code: "28P01",
            message: format!(
                "cordon: {error}; a job's connection string carries what `client_password` of the database says there"
            ),
        },
        ScramError::Randomness => Close::Fatal {
            code: "58000",
            message: format!("cordon: {error}"),
        },
    }
}
