//! Words that say what a number is.

/// How far before a number its name may stand.
const REACH: usize = 32;

/// True if one of the words (lower case) stands shortly before `at`.
pub(super) fn says(text: &[u8], at: usize, words: &[&str]) -> bool {
    let before = text.get(at.saturating_sub(REACH)..at).unwrap_or_default();
    words.iter().any(|word| {
        before
            .windows(word.len())
            .enumerate()
            .any(|(place, window)| {
                window.eq_ignore_ascii_case(word.as_bytes())
                    && place
                        .checked_sub(1)
                        .and_then(|place| before.get(place))
                        .is_none_or(|byte| !byte.is_ascii_alphabetic())
                    && before
                        .get(place + word.len())
                        .is_none_or(|byte| !byte.is_ascii_lowercase())
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_counts_if_it_is_whole_and_near() {
        let says = |text: &str| says(text.as_bytes(), text.len(), &["ssn", "tel"]);
        assert!(says("SSN: "));
        assert!(says("customer_ssn="));
        assert!(says("tel "));
        assert!(!says("hotel "));
        assert!(!says("telling "));
        assert!(!says(&format!("ssn {}", " ".repeat(40))));
        assert!(!says(""));
    }
}
