//! Precision and recall over a labelled sample: `testdata/generated.jsonl`, made by the script
//! beside it, and `testdata/hard.jsonl`, written by hand.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Detections, Detector, Finding, Scanner};
use crate::masking::{MaskKey, MaskKind};

const SAMPLES: [(&str, &str); 2] = [
    ("generated", include_str!("../testdata/generated.jsonl")),
    ("hard", include_str!("../testdata/hard.jsonl")),
];

/// What each detector must reach, in percent.
const LEAST: [(Detector, f64, f64); 9] = [
    (Detector::Email, 99.0, 99.0),
    (Detector::CreditCard, 93.0, 99.0),
    (Detector::Iban, 99.0, 99.0),
    (Detector::UsSsn, 99.0, 99.0),
    (Detector::Phone, 99.0, 99.0),
    (Detector::Ip, 99.0, 99.0),
    (Detector::Mac, 99.0, 99.0),
    (Detector::NationalId, 98.0, 99.0),
    (Detector::Secret, 98.0, 98.0),
];

#[derive(Deserialize)]
struct Line {
    text: String,
    found: Vec<(String, String)>,
}

#[derive(Default)]
struct Score {
    hits: u32,
    misses: Vec<String>,
    false_alarms: Vec<String>,
}

impl Score {
    fn precision(&self) -> f64 {
        share(self.hits, self.false_alarms.len())
    }

    fn recall(&self) -> f64 {
        share(self.hits, self.misses.len())
    }
}

fn share(hits: u32, others: usize) -> f64 {
    let others = u32::try_from(others).unwrap_or(u32::MAX);
    100.0 * f64::from(hits) / f64::from((hits + others).max(1))
}

/// Every detector.
pub(super) fn everything() -> Scanner {
    let mut detections = Detections::default();
    for (detector, _) in Detector::WORDS {
        detections.add(detector, MaskKind::Redact);
    }
    Scanner::new(&detections, &MaskKey::new(&[7; 32]))
}

/// A finding counts if it covers what was planted, and nothing was planted elsewhere.
fn judge(line: &Line, findings: &[Finding], scores: &mut BTreeMap<Detector, Score>) {
    let mut planted: Vec<(Detector, usize, usize)> = Vec::new();
    let mut from = 0;
    for (word, value) in &line.found {
        let (detector, _) = Detector::WORDS
            .iter()
            .find(|(_, known)| known == word)
            .expect("a detector's word");
        let start = from
            + line.text[from..]
                .find(value)
                .expect("the value is in the text");
        from = start + value.len();
        planted.push((*detector, start, from));
    }
    for (detector, start, end) in &planted {
        let hit = findings.iter().any(|finding| {
            finding.detector == *detector && finding.start <= *start && finding.end >= *end
        });
        let score = scores.entry(*detector).or_default();
        if hit {
            score.hits += 1;
        } else {
            score.misses.push(line.text.clone());
        }
    }
    for finding in findings {
        let meant = planted.iter().any(|(detector, start, end)| {
            *detector == finding.detector && finding.start < *end && finding.end > *start
        });
        if !meant {
            scores
                .entry(finding.detector)
                .or_default()
                .false_alarms
                .push(line.text.clone());
        }
    }
}

#[test]
fn precision_and_recall_hold_on_the_sample() {
    let scanner = everything();
    let mut scores = BTreeMap::new();
    let mut texts = 0;
    for (name, sample) in SAMPLES {
        for line in sample.lines() {
            let line: Line = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{name}.jsonl: {error}: {line}"));
            judge(&line, &scanner.find(line.text.as_bytes()), &mut scores);
            texts += 1;
        }
    }
    println!("{texts} texts");
    println!("| detector | precision | recall | found | missed | false alarms |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for (detector, score) in &scores {
        println!(
            "| `{}` | {:.1} % | {:.1} % | {} | {} | {} |",
            detector.word(),
            score.precision(),
            score.recall(),
            score.hits,
            score.misses.len(),
            score.false_alarms.len()
        );
    }
    for (detector, precision, recall) in LEAST {
        let score = &scores[&detector];
        assert!(
            score.precision() >= precision && score.recall() >= recall,
            "{detector:?}: precision {:.1}, recall {:.1}\nmissed: {:#?}\nfalse alarms: {:#?}",
            score.precision(),
            score.recall(),
            &score.misses[..score.misses.len().min(10)],
            &score.false_alarms[..score.false_alarms.len().min(10)],
        );
    }
}

/// Every case written by hand is right, one by one.
#[test]
fn the_hard_cases_are_right() {
    let scanner = everything();
    let mut wrong = Vec::new();
    for line in SAMPLES[1].1.lines() {
        let line: Line = serde_json::from_str(line).expect("a line of hard.jsonl");
        let found: Vec<(String, String)> = scanner
            .find(line.text.as_bytes())
            .iter()
            .map(|finding| {
                (
                    finding.detector.word().to_owned(),
                    line.text[finding.start..finding.end].to_owned(),
                )
            })
            .collect();
        if found != line.found {
            wrong.push(format!("{:?}: {found:?}", line.text));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// How often a plain number is taken for something: what `docs/masking.md` says.
#[test]
fn few_plain_numbers_are_taken_for_something() {
    let scanner = everything();
    let (mut numbers, mut taken) = (0_u32, 0_u32);
    for line in SAMPLES[0].1.lines() {
        let line: Line = serde_json::from_str(line).expect("a line of generated.jsonl");
        let digits = line.text.bytes().filter(u8::is_ascii_digit).count();
        if !line.found.is_empty() || !(9..=16).contains(&digits) {
            continue;
        }
        numbers += 1;
        taken += u32::from(!scanner.find(line.text.as_bytes()).is_empty());
    }
    println!("{taken} of {numbers} texts with 9 to 16 digits and nothing planted");
    assert!(numbers > 2000 && f64::from(taken) < 0.01 * f64::from(numbers));
}
