//! A connect from outside of the gateway, by a process of its own in a cgroup that is in scope.

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::{config::Config, identity::CgroupRoot};

/// How long to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer that is read, in bytes.
const MAX_ANSWER: u32 = 64 * 1024;
/// `StartupMessage` 3.0.
const PROTOCOL: u32 = 196_608;

/// What answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// An `ErrorResponse`.
    Error {
        /// SQLSTATE.
        code: String,
        /// Message.
        message: String,
    },
    /// Another message of a server.
    Other {
        /// Its tag.
        tag: char,
    },
    /// `connect` failed.
    Refused {
        /// The system's error.
        error: String,
    },
    /// Connected, or not even that, and heard nothing.
    Silence,
    /// Connected, and closed without a word.
    Closed,
}

/// Has a child process dial. Gives the child's process id and what answered.
pub fn outside(
    config: &Config,
    address: SocketAddr,
    dbname: &str,
) -> anyhow::Result<(u32, Answer)> {
    let root = CgroupRoot::find().context("no cgroup to dial from")?;
    // Always in scope: what is left of ended jobs must be refused.
    let parent = root.folder(&config.jobs.cgroup);
    let cgroup = parent.join(format!("doctor-{}", std::process::id()));
    fs::create_dir_all(&cgroup).with_context(|| {
        format!(
            "the cgroup {} to dial from cannot be made; run this as root",
            cgroup.display()
        )
    })?;
    let outcome = child_in(&cgroup, address, dbname);
    let _busy = fs::remove_dir(&cgroup);
    outcome
}

fn child_in(cgroup: &Path, address: SocketAddr, dbname: &str) -> anyhow::Result<(u32, Answer)> {
    let child = Command::new(std::env::current_exe().context("where this program is")?)
        .args(["doctor", "--dial", &address.to_string(), "--dbname", dbname])
        .arg("--cgroup")
        .arg(cgroup)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting a process to dial from")?;
    let pid = child.id();
    let output = child.wait_with_output().context("the process that dials")?;
    if !output.status.success() {
        bail!(
            "the process that dials failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let answer =
        serde_json::from_slice(&output.stdout).context("what the dialling process told")?;
    Ok((pid, answer))
}

/// The child: moves into the cgroup, before it makes a socket, and dials.
pub fn child(address: SocketAddr, dbname: &str, cgroup: &Path) -> anyhow::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string())
        .with_context(|| format!("moving into {}", cgroup.display()))?;
    let answer = dial(address, dbname);
    serde_json::to_writer(io::stdout().lock(), &answer).context("telling what answered")
}

fn dial(address: SocketAddr, dbname: &str) -> Answer {
    let stream = match TcpStream::connect_timeout(&address, PATIENCE) {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => return Answer::Silence,
        Err(error) => {
            return Answer::Refused {
                error: error.to_string(),
            };
        }
    };
    converse(stream, dbname).unwrap_or_else(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Answer::Silence,
        _ => Answer::Closed,
    })
}

fn converse(mut stream: TcpStream, dbname: &str) -> io::Result<Answer> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&startup(dbname))?;
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let [tag, length @ ..] = head;
    let length = u32::from_be_bytes(length)
        .checked_sub(4)
        .filter(|length| *length <= MAX_ANSWER)
        .ok_or(io::ErrorKind::InvalidData)?;
    let mut body = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut body)?;
    Ok(answer(tag, &body))
}

fn startup(dbname: &str) -> Vec<u8> {
    let mut body = PROTOCOL.to_be_bytes().to_vec();
    for text in [
        "user",
        "cordon_doctor",
        "database",
        dbname,
        "application_name",
        "cordon doctor",
    ] {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    let mut message = length.to_be_bytes().to_vec();
    message.extend(body);
    message
}

fn answer(tag: u8, body: &[u8]) -> Answer {
    if tag != b'E' {
        return Answer::Other {
            tag: char::from(tag),
        };
    }
    let field = |wanted: u8| {
        body.split(|byte| *byte == 0)
            .find_map(|field| field.strip_prefix(&[wanted]))
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .unwrap_or_default()
    };
    Answer::Error {
        code: field(b'C'),
        message: field(b'M'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_read_and_anything_else_is_the_databases_own() {
        assert_eq!(
            answer(b'E', b"SFATAL\0C28000\0Mprocess 7 (cordon) does not\0\0"),
            Answer::Error {
                code: "28000".to_owned(),
                message: "process 7 (cordon) does not".to_owned()
            }
        );
        assert_eq!(answer(b'R', &[0, 0, 0, 10]), Answer::Other { tag: 'R' });
        assert_eq!(
            answer(b'E', b""),
            Answer::Error {
                code: String::new(),
                message: String::new()
            }
        );
    }

    #[test]
    fn the_startup_message_is_as_long_as_it_says() {
        let message = startup("shop");
        assert_eq!(
            message[..4],
            u32::try_from(message.len()).unwrap().to_be_bytes()
        );
        assert!(message.ends_with(b"cordon doctor\0\0"));
    }
}
