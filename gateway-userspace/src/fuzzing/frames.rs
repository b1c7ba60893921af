//! Changes a stream of messages message by message, so that most of them still decode: bytes
//! turned over at random hardly ever get past the lengths.

use super::mutate::Dice;

/// Messages in front of which the mode and the read size of an input stand.
const MODES: usize = 2;

/// Changes one thing or a few of an input of `pg_frontend` or `pg_startup`, as the seed says.
pub fn mutate_wire(input: &[u8], seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut input = input.to_vec();
    for _ in 0..=dice.below(3) {
        change(&mut input, &mut dice);
    }
    input
}

fn change(input: &mut Vec<u8>, dice: &mut Dice) {
    let frames = frames(input);
    let kind = dice.below(12);
    if kind >= 7 || frames.is_empty() {
        return flip(input, dice);
    }
    let at = dice.below(frames.len());
    let Some(&(start, end)) = frames.get(at) else {
        return;
    };
    let frame = input.get(start..end).unwrap_or_default().to_vec();
    match kind {
        // Away, twice, or elsewhere.
        0 => drop(input.drain(start..end)),
        1 => drop(input.splice(end..end, frame)),
        2 => {
            let other = dice.below(frames.len());
            let to = frames.get(other).map_or(end, |other| other.0);
            input.splice(to..to, frame);
        }
        // Cut off, with the rest of the stream.
        3 => input.truncate(start + dice.below(frame.len() + 1)),
        // Another tag.
        4 => {
            const TAGS: &[u8] = b"QPBDECHSXdcfFp";
            let tag = TAGS.get(dice.below(TAGS.len()));
            if let (Some(tag), Some(byte)) = (tag, input.get_mut(start)) {
                *byte = *tag;
            }
        }
        // Another body, of the right length.
        5 => {
            let mut body = frame.get(5..).unwrap_or_default().to_vec();
            flip(&mut body, dice);
            let mut whole = frame.get(..1).unwrap_or_default().to_vec();
            let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
            whole.extend_from_slice(&length.to_be_bytes());
            whole.extend_from_slice(&body);
            input.splice(start..end, whole);
        }
        // A wrong length.
        _ => {
            const LENGTHS: [u32; 8] = [
                0,
                3,
                4,
                5,
                0x7fff_ffff,
                0x8000_0000,
                0xffff_ffff,
                0x0400_0001,
            ];
            let length = LENGTHS
                .get(dice.below(LENGTHS.len()))
                .copied()
                .unwrap_or_default();
            if let Some(word) = input.get_mut(start + 1..start + 5) {
                word.copy_from_slice(&length.to_be_bytes());
            }
        }
    }
}

fn flip(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.below(bytes.len() + 1);
    let byte = u8::try_from(dice.below(256)).unwrap_or_default();
    match dice.below(5) {
        0 if at < bytes.len() => drop(bytes.remove(at)),
        1 => bytes.insert(at, byte),
        2 => {
            let end = (at + dice.below(64)).min(bytes.len());
            let part = bytes.get(at..end).unwrap_or_default().to_vec();
            bytes.splice(at..at, part);
        }
        3 => {
            if let Some(one) = bytes.get_mut(at) {
                *one ^= 1 << dice.below(8);
            }
        }
        _ => {
            if let Some(one) = bytes.get_mut(at) {
                *one = byte;
            }
        }
    }
}

/// Where the messages of an input begin and end.
fn frames(input: &[u8]) -> Vec<(usize, usize)> {
    let mut frames = Vec::new();
    let mut at = MODES;
    while let Some(&[_, a, b, c, d]) = input.get(at..).and_then(|rest| rest.first_chunk::<5>()) {
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let end = at.saturating_add(1).saturating_add(length.max(4));
        if end > input.len() {
            break;
        }
        frames.push((at, end));
        at = end;
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_behind_the_modes() {
        let input = [0, 0, b'S', 0, 0, 0, 4, b'H', 0, 0, 0, 4, b'Q', 0, 0];
        assert_eq!(frames(&input), [(2, 7), (7, 12)]);
    }

    #[test]
    fn a_mutation_follows_from_its_seed() {
        let input = [0, 0, b'S', 0, 0, 0, 4, b'H', 0, 0, 0, 4];
        for seed in 0..100 {
            assert_eq!(mutate_wire(&input, seed), mutate_wire(&input, seed));
        }
    }
}
