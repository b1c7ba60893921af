//! One question to one witness: `add-checkpoint`.

use std::{fmt::Write as _, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Response, StatusCode, header::CONTENT_TYPE};

use super::{Answer, Cosignature, WitnessAddress};
use crate::audit::{blocking::blocking, place::Place, proof::growth_from};

/// Longest answer that is read, in bytes.
const ANSWER_BYTES: usize = 16 * 1024;

/// Shows the witness the checkpoint `note` of `size` entries, with the proof that the log has only
/// grown since the one of `known` entries. If the witness knows another one, it is asked once more,
/// with the proof from there.
pub(super) async fn ask(
    witness: &WitnessAddress,
    dir: &Path,
    note: &str,
    size: u64,
    known: u64,
    place: Option<Place>,
) -> Answer {
    let mut answer = Answer {
        outcome: Err(String::new()),
        size: known,
        place,
    };
    for _ in 0..2 {
        let said = match prove(dir, note, size, &mut answer).await {
            Ok(body) => post(witness, body, note).await,
            Err(problem) => Err(problem),
        };
        match said {
            Ok(Said::Cosigned(cosignature)) => {
                answer.size = size;
                answer.outcome = Ok(cosignature);
                return answer;
            }
            Ok(Said::Knows(other)) if other > size => {
                answer.outcome = Err(format!(
                    "it has cosigned {other} entries of this log, which has {size}: the log was cut back or written anew, or another host writes under its name"
                ));
                return answer;
            }
            Ok(Said::Knows(other)) if other == answer.size => {
                answer.outcome = Err(format!(
                    "it has cosigned another log of {other} entries under this name: the log was written anew, or another host writes under its name"
                ));
                return answer;
            }
            Ok(Said::Knows(other)) => {
                answer.outcome = Err(format!("it knows now {other} entries, now others"));
                answer.size = other;
            }
            Err(problem) => {
                answer.outcome = Err(problem);
                return answer;
            }
        }
    }
    answer
}

/// The body of the request; the place moves on to the end of the checkpoint's log.
async fn prove(dir: &Path, note: &str, size: u64, answer: &mut Answer) -> Result<String, String> {
    let old = answer.size;
    let mut body = format!("old {old}\n");
    if old > 0 && old < size {
        let (dir, place) = (dir.to_owned(), answer.place.take());
        let (hashes, place) = blocking(move || {
            let place = place
                .filter(|place| place.size() == old)
                .map_or_else(|| Place::before(&dir, old), Ok);
            let mut place = place.map_err(|error| error.to_string())?;
            let hashes = growth_from(&mut place, &dir, old, size);
            hashes
                .map(|hashes| (hashes, place))
                .map_err(|error| error.to_string())
        })
        .await
        .map_err(|error| format!("the proof for it cannot be made: {error}"))?;
        answer.place = Some(place);
        for hash in hashes {
            let _ = writeln!(body, "{}", STANDARD.encode(hash));
        }
    }
    let _ = write!(body, "\n{note}");
    Ok(body)
}

/// What a witness has said.
enum Said {
    Cosigned(Cosignature),
    /// It knows a checkpoint of so many entries, and not the one that the proof begins at.
    Knows(u64),
}

async fn post(witness: &WitnessAddress, body: String, note: &str) -> Result<Said, String> {
    let asked = async {
        let mut url = witness.url.clone();
        url.path_segments_mut()
            .map_err(|()| "its URL is none that a request can be sent to".to_owned())?
            .pop_if_empty()
            .push("add-checkpoint");
        let failed = |error: reqwest::Error| chain(&error.without_url());
        let answer = witness
            .client
            .post(url)
            .header(CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(body)
            .send()
            .await
            .map_err(failed)?;
        let status = answer.status();
        let is_size = answer
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/x.tlog.size"));
        let text = read(answer).await?;
        match status {
            StatusCode::OK => cosignature(witness, &text, note).map(Said::Cosigned),
            StatusCode::CONFLICT if is_size => text
                .strip_suffix('\n')
                .and_then(|size| size.parse().ok())
                .map(Said::Knows)
                .ok_or_else(|| "it says that it knows another size, and not which".to_owned()),
            StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => Err(format!(
                "it answers {status}: what it has seen of this log is not the beginning of what the log is now"
            )),
            StatusCode::NOT_FOUND => Err(
                "it does not know this log (404): give its operator the log's public key, keys/log.pub"
                    .to_owned(),
            ),
            StatusCode::FORBIDDEN => Err(
                "it does not trust this log's key (403): give its operator the public key, keys/log.pub; after a change of the key, the new one"
                    .to_owned(),
            ),
            status => Err(format!("it answers {status}")),
        }
    };
    match tokio::time::timeout(witness.timeout, asked).await {
        Ok(said) => said,
        Err(_elapsed) => Err(format!("it does not answer within {:?}", witness.timeout)),
    }
}

async fn read(mut answer: Response) -> Result<String, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer
        .chunk()
        .await
        .map_err(|error| chain(&error.without_url()))?
    {
        if bytes.len() + chunk.len() > ANSWER_BYTES {
            return Err(format!("its answer is longer than {ANSWER_BYTES} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes)
        .map_err(|_utf8: std::string::FromUtf8Error| "its answer is no text".to_owned())
}

/// The witness's own cosignature among the lines of its answer.
fn cosignature(witness: &WitnessAddress, answer: &str, note: &str) -> Result<Cosignature, String> {
    let text = note
        .find("\n\n")
        .and_then(|end| note.get(..=end))
        .unwrap_or_default();
    if !answer.ends_with('\n') {
        return Err("its answer is no line of a signature".to_owned());
    }
    for line in answer.lines() {
        let time = witness
            .key
            .cosigned(text, line)
            .map_err(|problem| format!("its answer is not a good cosignature: {problem}"))?;
        if let Some(time) = time {
            return Ok(Cosignature {
                line: format!("{line}\n"),
                time,
            });
        }
    }
    Err(
        "its answer holds no cosignature of the configured key; compare `key` with what the witness publishes"
            .to_owned(),
    )
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
