//! Blots out what detectors find, in place: for what is kept of texts that nobody masks.

use super::{Detector, Scanner};
use crate::masking::mask::TextMask;

/// Blots out everything that looks like personal data or a secret. Digits become `0` and letters
/// `x`, so that a number stays a number and SQL stays SQL.
#[derive(Debug)]
pub struct Blotter(Scanner);

impl Default for Blotter {
    fn default() -> Self {
        // Which mask is of no matter: nothing is written with it.
        let masks = [const { Some(TextMask::Redact) }; Detector::WORDS.len()];
        Self(Scanner { masks })
    }
}

impl Blotter {
    /// Blots out what is found in `text`; true if there was anything.
    pub fn blot(&self, text: &mut [u8]) -> bool {
        let findings = self.0.find(text);
        for finding in &findings {
            for byte in text.get_mut(finding.start..finding.end).unwrap_or_default() {
                *byte = match *byte {
                    b'0'..=b'9' => b'0',
                    b'a'..=b'z' | b'A'..=b'Z' | 0x80.. => b'x',
                    other => other,
                };
            }
        }
        !findings.is_empty()
    }

    /// As [`Blotter::blot`], for a text that is kept as it is if nothing is found.
    pub fn blotted(&self, text: &str) -> Option<String> {
        let mut bytes = text.as_bytes().to_vec();
        // Findings begin and end at characters; if one did not, the text would be kept in full.
        self.blot(&mut bytes)
            .then(|| String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::Blotter;

    #[test]
    fn what_is_blotted_out_keeps_its_shape() {
        let blotter = Blotter::default();
        for (text, kept) in [
            (
                "SELECT * FROM c WHERE email = 'Zoë@example.com' AND id = 7",
                Some("SELECT * FROM c WHERE email = 'xxxx@xxxxxxx.xxx' AND id = 7"),
            ),
            (
                "INSERT INTO cards VALUES (4111111111111111)",
                Some("INSERT INTO cards VALUES (0000000000000000)"),
            ),
            ("SELECT count(*) FROM orders WHERE id > 1000", None),
            ("", None),
        ] {
            assert_eq!(blotter.blotted(text).as_deref(), kept, "{text}");
        }
    }
}
