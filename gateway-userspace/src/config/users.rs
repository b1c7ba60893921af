//! User names and ids, through the system's name service (files, LDAP, sssd ..).

use nix::unistd::User;

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
