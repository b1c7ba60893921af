//! Proofs, tiles and checkpoints, judged by our verifier and by an independent implementation of
//! the C2SP formats.

use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{
    Hash, HashReader as _, Tile, TileHashReader, TileReader, check_record, check_tree, record_hash,
    stored_hash_index,
};

use super::*;

/// A log of about this many entries with a checkpoint for almost every size; its notes, oldest
/// first.
async fn log_of(dir: &Path, entries: u64) -> Vec<(u64, String)> {
    let mut config = quiet(dir);
    config.tuning.checkpoint_entries = 1;
    config.tuning.segment_bytes = 16 * 1024;
    let (log, _) = Log::open(config).unwrap();
    for statement in 0..entries {
        log.append(decided("s", statement, "SELECT 1"), Durability::Now)
            .await
            .unwrap();
    }
    log.close("test").await.unwrap();
    drop(log);
    let text = fs::read_to_string(dir.join("checkpoints")).unwrap();
    let parts: Vec<&str> = text.split("\n\n").collect();
    let notes: Vec<_> = parts
        .chunks_exact(2)
        .map(|pair| {
            let note = format!("{}\n\n{}\n", pair[0], pair[1]);
            (note_size(&note).unwrap(), note)
        })
        .filter(|(size, _)| *size > 0)
        .collect();
    assert!(
        notes.len() as u64 > entries / 4,
        "only {} checkpoints",
        notes.len()
    );
    notes
}

fn public_key(dir: &Path) -> String {
    fs::read_to_string(dir.join("keys/log.pub")).unwrap()
}

/// The checkpoint, read and verified by the other implementation.
fn checkpoint(note: &str, key: &str) -> tlog_tiles::Checkpoint {
    let verifier = StandardVerifier::new(key.trim()).unwrap();
    let note = Note::from_bytes(note.as_bytes()).unwrap();
    let (verified, _) = note
        .verify(&VerifierList::new(vec![Box::new(verifier)]))
        .unwrap();
    assert_eq!(verified.len(), 1);
    tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap()
}

/// The hashes of a proof.
fn hashes(proof: &str) -> Vec<Hash> {
    let (head, _) = proof.split_once("\n\n").unwrap();
    head.lines()
        .filter(|line| line.len() == 44)
        .map(|line| Hash::parse_hash(line).unwrap())
        .collect()
}

#[tokio::test]
async fn proofs_of_entries_and_of_growth_satisfy_both_implementations() {
    let dir = tempdir();
    let notes = log_of(dir.path(), 150).await;
    let key = public_key(dir.path());
    for (place, (size, note)) in notes.iter().enumerate() {
        let other = checkpoint(note, &key);
        assert_eq!(other.size(), *size);
        for index in [0, size / 3, size / 2, size - 1] {
            let (proof, entry) = prove_entry(dir.path(), index, *size, note).unwrap();
            assert_eq!(
                check_proof(&proof, Claim::Entry(&entry), &key),
                Ok(Proven::Entry { index, size: *size })
            );
            let leaf = record_hash(&entry);
            check_record(&hashes(&proof), *size, *other.hash(), index, leaf).unwrap();
            // No other entry, index, tree or key will do.
            let mut changed = entry.clone();
            changed[40] ^= 1;
            assert!(check_proof(&proof, Claim::Entry(&changed), &key).is_err());
            let elsewhere = proof.replace(&format!("index {index}\n"), "index 1000\n");
            assert!(check_proof(&elsewhere, Claim::Entry(&entry), &key).is_err());
            let (cut, end) = proof.split_once("\n\n").unwrap();
            let cut = cut.rsplit_once('\n').unwrap().0;
            assert!(check_proof(&format!("{cut}\n\n{end}"), Claim::Entry(&entry), &key).is_err());
        }
        for (old, older) in notes.iter().take(place + 1).step_by(7) {
            let proof = prove_growth(dir.path(), *old, *size, note).unwrap();
            assert_eq!(
                check_proof(&proof, Claim::Since(older), &key),
                Ok(Proven::Growth {
                    old: *old,
                    size: *size
                })
            );
            let root = *checkpoint(older, &key).hash();
            check_tree(&hashes(&proof), *size, *other.hash(), *old, root).unwrap();
        }
    }
    let (_, last) = notes.last().unwrap();
    assert!(prove_entry(dir.path(), 0, 10_000, last).is_err());
}

#[tokio::test]
async fn a_log_that_was_rewritten_proves_nothing_against_an_old_checkpoint() {
    let (one, two) = (tempdir(), tempdir());
    let notes = log_of(one.path(), 40).await;
    // The same key signs another history.
    fs::create_dir_all(two.path().join("keys")).unwrap();
    for name in ["keys/log.key", "keys/log.pub"] {
        fs::copy(one.path().join(name), two.path().join(name)).unwrap();
    }
    let rewritten = log_of(two.path(), 60).await;
    let key = public_key(one.path());
    let (size, note) = rewritten.last().unwrap();
    for (old, older) in &notes {
        let proof = prove_growth(two.path(), *old, *size, note).unwrap();
        assert!(check_proof(&proof, Claim::Since(older), &key).is_err());
    }
}

struct Folder<'d>(&'d Path);

impl TileReader for Folder<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        Ok(tiles
            .iter()
            .map(|tile| {
                // Its paths name the height, which is always 8 in tlog-tiles.
                let path = tile.path().replacen("tile/8/", "tile/", 1);
                fs::read(self.0.join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"))
            })
            .collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

#[tokio::test]
async fn exported_tiles_are_read_by_another_implementation() {
    let (dir, to) = (tempdir(), tempdir());
    log_of(dir.path(), 600).await;
    let key = public_key(dir.path());
    let note = latest_checkpoint(dir.path(), Some(&key)).unwrap();
    let size = note_size(&note).unwrap();
    let written = export_tiles(dir.path(), size, &note, to.path(), |_| {}).unwrap();
    assert_eq!(written.entries, size);
    let note = fs::read_to_string(to.path().join("checkpoint")).unwrap();
    let head = checkpoint(&note, &key);
    let folder = Folder(to.path());
    let reader = TileHashReader::new(size, *head.hash(), &folder);
    // Reads every tile of level 0, and proves each against the root.
    let indexes: Vec<u64> = (0..size).map(|n| stored_hash_index(0, n)).collect();
    let leaves = reader.read_hashes(&indexes).unwrap();
    let mut bundles = Vec::new();
    for n in 0..size.div_ceil(256) {
        let width = (size - n * 256).min(256);
        let name = if width == 256 {
            format!("tile/entries/{n:03}")
        } else {
            format!("tile/entries/{n:03}.p/{width}")
        };
        bundles.extend(fs::read(to.path().join(name)).unwrap());
    }
    let mut rest = bundles.as_slice();
    for (index, leaf) in leaves.iter().enumerate() {
        let (length, tail) = rest.split_first_chunk::<2>().unwrap();
        let (entry, tail) = tail.split_at(usize::from(u16::from_be_bytes(*length)));
        assert_eq!(record_hash(entry).0, leaf.0, "entry {index}");
        rest = tail;
    }
    assert!(rest.is_empty());
    let mut lines = Vec::new();
    export_entries(dir.path(), size, 5, &mut lines).unwrap();
    let lines: Vec<serde_json::Value> = lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(lines.len() as u64, size - 5);
    assert_eq!(lines[0]["index"], 5);
}
