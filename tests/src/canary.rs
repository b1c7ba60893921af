//! The protected values of the shop. None may reach a job, in any message, or stand in clear in
//! the evidence.

use anyhow::{Result, bail};

/// Clear values, or parts of them long enough to be told from anything else: the local parts of
/// e-mail addresses (a mask may show the first character and the domain), tax numbers, secrets.
pub const PROTECTED: &[&str] = &[
    "alice.kq7vd",
    "bob.zx3wm",
    "chloe.pf9rt",
    "dmitri.hn2yb",
    "zed.uj8ce",
    "078-05-1101",
    "078-05-1102",
    "078-05-1103",
    "078-05-1104",
    "078-05-1190",
    "sk_live_canary_w5n8q0",
    "canary-hmac-r3t6y1",
];

/// Recognisable pieces, for values that come out cut, reversed or in another encoding (the last
/// line: hex and base64 of `kq7vd` and `078-05-11`).
const PIECES: &[&str] = &[
    "kq7vd",
    "dv7qk",
    "zx3wm",
    "mw3xz",
    "pf9rt",
    "tr9fp",
    "hn2yb",
    "by2nh",
    "uj8ce",
    "ec8ju",
    "78-05-11",
    "0780511",
    "11-50-870",
    "w5n8q0",
    "r3t6y1", //
    "6b71377664",
    "a3E3dmQ",
    "3037382d30352d3131",
    "MDc4LTA1LTEx",
];

/// The protected values found in `text`, in clear or in a simple disguise.
pub fn found(text: &str) -> Vec<&'static str> {
    let lower = text.to_lowercase();
    let mut found: Vec<&str> = PROTECTED
        .iter()
        .copied()
        .filter(|value| lower.contains(value))
        .collect();
    found.extend(
        PIECES
            .iter()
            .copied()
            .filter(|piece| text.contains(piece) || lower.contains(piece)),
    );
    found
}

/// Fails if `text` shows a protected value.
pub fn none_in(what: &str, text: &str) -> Result<()> {
    let found = found(text);
    if !found.is_empty() {
        bail!("{what} shows protected values {found:?}:\n{text}");
    }
    Ok(())
}

/// Passwords that only the gateway holds.
pub const GATEWAY_PASSWORDS: &[&str] =
    &["gateway-only-agent-rw-9f1c7e", "gateway-only-reader-51d0aa"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protected_value_is_found_in_clear_and_in_disguise() {
        assert!(none_in("x", "a*****@canary.example").is_ok());
        for text in [
            "alice.KQ7VD@canary.example",
            "dv7qk.ecila",
            "6b71377664",
            "078-05-1103",
        ] {
            assert!(none_in("x", text).is_err(), "{text}");
        }
    }
}
