//! User names and ids, through the system's name service (files, LDAP, sssd ..).

use nix::unistd::{Uid, User};

use super::{GATEWAY_USER, GatewayUser};

/// The uid of a user written as name or id.
pub(super) fn resolve(written: &str) -> Result<u32, String> {
    if !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit()) {
        return written
            .parse()
            .map_err(|_not_a_number| format!("`{written}` is not a user id"));
    }
    match User::from_name(written) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err(format!(
            "there is no user `{written}` on this host; create it, or correct the name"
        )),
        Err(error) => Err(format!("cannot look up the user `{written}`: {error}")),
    }
}

/// The user of the gateway: as written, or the usual one if there is one.
pub(super) fn gateway(written: Option<&str>) -> Result<Option<GatewayUser>, String> {
    let (uid, known) = match written {
        None => match User::from_name(GATEWAY_USER) {
            Ok(Some(user)) => (user.uid.as_raw(), Some(user)),
            Ok(None) => return Ok(None),
            Err(error) => return Err(format!("cannot look up the user `{GATEWAY_USER}`: {error}")),
        },
        Some(written) => {
            let uid = resolve(written)?;
            let known = User::from_uid(Uid::from_raw(uid));
            (
                uid,
                known.map_err(|error| format!("cannot look up the user {uid}: {error}"))?,
            )
        }
    };
    if uid == 0 {
        return Err(
            "the gateway must not be root; name a user of its own, whose processes no job can be"
                .to_owned(),
        );
    }
    // A number that no user has is its own group, too.
    let gid = known.map_or(uid, |user| user.gid.as_raw());
    Ok(Some(GatewayUser { uid, gid }))
}
