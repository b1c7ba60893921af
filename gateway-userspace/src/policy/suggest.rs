//! The nearest word to a misspelt one.

/// The word of `known` that `word` most likely means, if one is near enough.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (distance(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, remove, replace, swap neighbours) between two words.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut current = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let removed = previous.get(j + 1).map_or(usize::MAX, |d| d + 1);
            let added = current.get(j).map_or(usize::MAX, |d| d + 1);
            let replaced = previous
                .get(j)
                .map_or(usize::MAX, |d| d + usize::from(x != y));
            let swapped = (i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x))
                .then(|| before.get(j - 1).map(|d| d + 1))
                .flatten()
                .unwrap_or(usize::MAX);
            current.push(removed.min(added).min(replaced).min(swapped));
        }
        before = std::mem::replace(&mut previous, current);
    }
    previous.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_keyboard_finds_its_word() {
        let verbs = [
            "select", "insert", "update", "delete", "truncate", "call", "ddl", "all",
        ];
        assert_eq!(nearest("selct", verbs), Some("select"));
        assert_eq!(nearest("SELECT", verbs), Some("select"));
        assert_eq!(nearest("udpate", verbs), Some("update"));
        assert_eq!(nearest("dll", verbs), Some("ddl"));
        assert_eq!(nearest("frobnicate", verbs), None);
        assert_eq!(nearest("x", []), None);
    }
}
