//! The secret of `token` and `digits` masks.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use aes::Aes256;
use fpe::ff1::{BinaryNumeralString, FF1, FlexibleNumeralString};
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use zeroize::Zeroizing;

const SECRET_BYTES: usize = 32;

/// The key of `token` and `digits` masks. The same key gives the same token for the same value, so
/// that joins on tokens work; without it tokens cannot be made from guessed values.
#[derive(Clone)]
pub struct MaskKey(Arc<Keys>);

struct Keys {
    hmac: hmac::Key,
    /// Decimal digits.
    digits: FF1<Aes256>,
    /// Bits.
    bits: FF1<Aes256>,
}

impl MaskKey {
    /// A key from 32 secret bytes.
    ///
    /// # Panics
    /// Never: 2 and 10 are radixes that FF1 takes.
    pub fn new(secret: &[u8; 32]) -> Self {
        let hmac = hmac::Key::new(hmac::HMAC_SHA256, secret);
        // Keys of their own, so that no use of one tells anything of another.
        let derived = |label: &[u8], radix| {
            let key = hmac::sign(&hmac, label);
            FF1::new(key.as_ref(), radix).expect("2 and 10 are radixes")
        };
        Self(Arc::new(Keys {
            digits: derived(b"cordon mask key: decimal digits", 10),
            bits: derived(b"cordon mask key: bits", 2),
            hmac,
        }))
    }

    /// The key kept in a file, which is made, readable by its owner only, if there is none. It is
    /// never made anew in place of one that cannot be read: tokens would change unnoticed.
    pub fn open(path: &Path) -> io::Result<Self> {
        match File::open(path) {
            Ok(file) => Self::read(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(path),
            Err(error) => Err(error),
        }
    }

    fn read(file: File) -> io::Result<Self> {
        if file.metadata()?.mode() & 0o077 != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "other users may read the key; run chmod 600 on it and, if they might have, remove it",
            ));
        }
        let mut secret = Zeroizing::new(Vec::with_capacity(SECRET_BYTES + 1));
        file.take(SECRET_BYTES as u64 + 1)
            .read_to_end(&mut secret)?;
        let secret = <&[u8; SECRET_BYTES]>::try_from(secret.as_slice()).map_err(|_length| {
            let message =
                "the key does not have 32 bytes; restore it, or remove it to make another";
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?;
        Ok(Self::new(secret))
    }

    fn make(path: &Path) -> io::Result<Self> {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        SystemRandom::new()
            .fill(secret.as_mut())
            .map_err(|_unspecified| io::Error::other("the system gives no random numbers"))?;
        // Whole or not at all, whatever ends the process in between.
        let unfinished = path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(secret.as_ref())?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(Self::new(&secret))
    }

    pub(super) fn sign(&self, value: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0.hmac, value)
    }

    /// Other digits in place of these (values 0 to 9), one to one under a tweak. `None`: fewer
    /// than six, which FF1 does not hide.
    pub(super) fn permute_digits(&self, digits: &[u8], tweak: &[u8]) -> Option<Vec<u8>> {
        let plain: Vec<u16> = digits.iter().map(|digit| u16::from(*digit)).collect();
        let hidden = self
            .0
            .digits
            .encrypt(tweak, &FlexibleNumeralString::from(plain))
            .ok()?;
        Vec::from(hidden)
            .into_iter()
            .map(|digit: u16| u8::try_from(digit).ok())
            .collect()
    }

    /// Other bytes in place of these, one to one. `None`: fewer than three.
    pub(super) fn permute_bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let hidden = self
            .0
            .bits
            .encrypt(&[], &BinaryNumeralString::from_bytes_le(bytes))
            .ok()?;
        Some(hidden.to_bytes_le())
    }
}

impl fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MaskKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn token(key: &MaskKey) -> Vec<u8> {
        key.sign(b"value").as_ref().to_vec()
    }

    #[test]
    fn a_key_is_made_once_and_kept_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mask.key");
        let first = MaskKey::open(&path).unwrap();
        assert_eq!(token(&first), token(&MaskKey::open(&path).unwrap()));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let other = MaskKey::open(&dir.path().join("other.key")).unwrap();
        assert_ne!(token(&first), token(&other));
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            2,
            "nothing unfinished stays"
        );
    }

    #[test]
    fn a_key_that_is_damaged_or_open_to_others_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mask.key");
        for length in [0, 31, 33] {
            fs::write(&path, vec![1; length]).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let error = MaskKey::open(&path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{length}");
        }
        fs::write(&path, [1; 32]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(
            MaskKey::open(&path).unwrap_err().kind(),
            io::ErrorKind::PermissionDenied
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(MaskKey::open(&path).is_ok());
    }
}
