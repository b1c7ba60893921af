//! Privilege separation: what speaks with jobs and databases has no rights on the host, what has them
//! reads nothing of theirs, and neither outlives the other.

use std::{fmt::Write, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};
use cordon_tests::{
    Output, Stand, canary,
    daemon::GATEWAY_UID,
    host::{self, eventually},
    policies, tools,
};
use ring::digest::{SHA512, digest};
use rustix::process::{Pid, Signal, kill_process};

fn status(pid: u32) -> Result<Vec<(String, String)>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let fields = status.lines().filter_map(|line| line.split_once(':'));
    Ok(fields
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect())
}

fn field(pid: u32, name: &str) -> Result<String> {
    status(pid)?
        .into_iter()
        .find_map(|(found, value)| (found == name).then_some(value))
        .with_context(|| format!("no {name} of process {pid}"))
}

#[test]
fn what_reads_bytes_of_jobs_and_databases_is_nobody_and_has_no_capability() -> Result<()> {
    let stand = Stand::with_policy(policies::ALLOW_ALL)?;
    stand.job().sql("SELECT 1")?.success()?;
    let (warden, gateway) = (stand.daemon.pid()?, stand.daemon.gateway_pid()?);
    for set in ["CapEff", "CapPrm", "CapAmb"] {
        ensure!(
            field(gateway, set)?.chars().all(|digit| digit == '0'),
            "{set}"
        );
    }
    ensure!(field(warden, "CapEff")? != field(gateway, "CapEff")?);
    let ids = field(gateway, "Uid")?;
    ensure!(
        ids.split('\t').all(|id| id == GATEWAY_UID.to_string()),
        "{ids}"
    );
    let groups = field(gateway, "Groups")?;
    ensure!(groups == GATEWAY_UID.to_string(), "{groups}");
    ensure!(field(gateway, "NoNewPrivs")? == "1" && field(gateway, "Seccomp")? == "2");
    // It has inherited nothing of the kernel side.
    for entry in fs::read_dir(format!("/proc/{gateway}/fd"))? {
        let target = fs::read_link(entry?.path())?;
        ensure!(
            !target.to_string_lossy().contains("anon_inode:bpf"),
            "{}",
            target.display()
        );
    }
    // The sockets of jobs and databases are the gateway's: the warden has none that is connected.
    ensure!(connected(gateway)? > 0 || stand.daemon.sessions()? == 0);
    let mut session = stand.job().live()?;
    ensure!(session.query("SELECT 1;")?.lines() == ["1"]);
    ensure!(connected(gateway)? >= 2, "the session is elsewhere");
    ensure!(
        connected(warden)? == 0,
        "the warden is connected with somebody"
    );
    session.finish()?;
    Ok(())
}

/// How many connected TCP sockets a process has open.
fn connected(pid: u32) -> Result<usize> {
    let mut inodes = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        if let Ok(target) = fs::read_link(entry?.path())
            && let Some(inode) = target
                .to_string_lossy()
                .strip_prefix("socket:[")
                .and_then(|rest| rest.strip_suffix(']'))
        {
            inodes.push(inode.to_owned());
        }
    }
    let mut count = 0;
    for table in ["tcp", "tcp6"] {
        let table = fs::read_to_string(format!("/proc/{pid}/net/{table}"))?;
        count += table
            .lines()
            .filter(|line| {
                let fields: Vec<&str> = line.split_ascii_whitespace().collect();
                // State 01 is ESTABLISHED; the tenth field is the inode.
                fields.get(3) == Some(&"01")
                    && fields
                        .get(9)
                        .is_some_and(|inode| inodes.iter().any(|own| own == inode))
            })
            .count();
    }
    Ok(count)
}

/// Looks through what a process may write of its memory.
const REMEMBERS: &str = r"
import sys
pid, wanted = sys.argv[1], bytes.fromhex(sys.argv[2])
with open(f'/proc/{pid}/maps') as maps, open(f'/proc/{pid}/mem', 'rb', 0) as memory:
    for line in maps:
        place, rights = line.split()[:2]
        if not rights.startswith('rw'):
            continue
        start, end = (int(part, 16) for part in place.split('-'))
        try:
            memory.seek(start)
            held = memory.read(end - start)
        except OSError:
            continue
        if wanted in held:
            print('yes')
            break
";

/// Whether the memory of a process holds these bytes.
fn remembers(pid: u32, wanted: &[u8]) -> Result<bool> {
    let hex = wanted.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let output: Output = Command::new(tools::PYTHON)
        .args(["-c", REMEMBERS, &pid.to_string(), &hex])
        .output()?
        .into();
    Ok(output.success()?.stdout.trim() == "yes")
}

#[test]
fn the_key_of_the_evidence_is_in_the_wardens_memory_and_not_in_the_gateways() -> Result<()> {
    let stand = Stand::with_policy(policies::ALLOW_ALL)?;
    stand.job().sql("SELECT 1")?.success()?;
    // What Ed25519 signs with is SHA-512 of the seed, which stands at this place in the file.
    let file = fs::read(stand.daemon.state_dir().join("keys/log.key"))?;
    let seed = file.get(16..48).context("no seed")?;
    let expanded = digest(&SHA512, seed);
    let prefix = expanded.as_ref().get(32..).context("no prefix")?;
    ensure!(remembers(stand.daemon.pid()?, prefix)?, "nobody signs");
    let gateway = stand.daemon.gateway_pid()?;
    ensure!(!remembers(gateway, prefix)?, "the gateway has the key");
    ensure!(!remembers(gateway, seed)?, "the gateway has the key");
    // Nor the password of a login that no job has used; of the one that was, it may.
    let [_, unused] = canary::GATEWAY_PASSWORDS else {
        bail!("two logins have passwords");
    };
    ensure!(
        !remembers(gateway, unused.as_bytes())?,
        "the gateway has all passwords"
    );
    // It does look: the gateway knows the log's origin.
    ensure!(remembers(gateway, b"/cordon-evidence")?);
    stand.daemon.verify_evidence()?.success()?;
    Ok(())
}

#[test]
fn keys_and_secrets_are_files_that_the_gateways_user_cannot_open() -> Result<()> {
    let stand = Stand::with_policy(policies::ALLOW_ALL)?;
    let state = stand.daemon.state_dir();
    let read = |path: &Path| -> Result<bool> {
        let id = GATEWAY_UID.to_string();
        let output: Output = Command::new("setpriv")
            .args(["--reuid", &id, "--regid", &id, "--clear-groups", "cat"])
            .arg(path)
            .output()?
            .into();
        Ok(output.code == Some(0))
    };
    for secret in [
        state.join("keys/log.key"),
        state.join("ca/ca.key"),
        state.join("mask.key"),
        stand.daemon.scratch().path().join("secrets/agent_rw"),
    ] {
        ensure!(secret.exists(), "{} is not there", secret.display());
        ensure!(!read(&secret)?, "{} can be read", secret.display());
    }
    // It is its user that is kept out, not everybody: these are its own.
    ensure!(read(&state.join("evidence/checkpoints"))?);
    Ok(())
}

#[test]
fn a_gateway_that_dies_ends_the_daemon_and_opens_nothing() -> Result<()> {
    let mut stand = Stand::with_policy(policies::ALLOW_ALL)?;
    stand.job().sql("SELECT 1")?.success()?;
    let pid = Pid::from_raw(stand.daemon.gateway_pid()?.try_into()?).context("no process id")?;
    kill_process(pid, Signal::KILL)?;
    eventually("the daemon to end", || {
        Ok(stand.daemon.require_alive().is_err().then_some(()))
    })?;
    ensure!(
        stand.daemon.log()?.contains("the gateway ended with"),
        "{}",
        stand.daemon.log()?
    );
    let refused = stand.dial_without_job()?;
    ensure!(refused.code == Some(2), "served: {}", refused.all());
    stand.daemon.kill()?;
    stand.daemon.restart()?;
    stand.job().sql("SELECT 1")?.success()?;
    stand.daemon.verify_evidence()?.success()?;
    Ok(())
}

#[test]
fn a_warden_that_is_killed_takes_the_gateway_with_it() -> Result<()> {
    let mut stand = Stand::with_policy(policies::ALLOW_ALL)?;
    let gateway = stand.daemon.gateway_pid()?;
    let began = start_time(gateway)?;
    stand.daemon.kill()?;
    eventually("the gateway to end", || {
        Ok((start_time(gateway).ok() != Some(began)).then_some(()))
    })?;
    stand.daemon.restart()?;
    ensure!(stand.daemon.gateway_pid()? != gateway);
    stand.job().sql("SELECT 1")?.success()?;
    Ok(())
}

/// When a process that still runs has started.
fn start_time(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("no name")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    ensure!(fields.first() != Some(&"Z"), "it has ended");
    Ok(fields.get(19).context("no start time")?.parse()?)
}

#[test]
fn a_host_without_the_gateways_user_is_told_how_to_make_it() -> Result<()> {
    let mut stand = Stand::with_policy(policies::ALLOW_ALL)?;
    stand.daemon.terminate()?;
    let config = stand.daemon.config();
    let text = fs::read_to_string(&config)?;
    let line = format!("user: \"{GATEWAY_UID}\"\n");
    ensure!(text.contains(&line), "{text}");
    for (user, told) in [
        ("", "useradd --system"),
        ("user: root\n", "must not be root"),
    ] {
        if user.is_empty() && host::user("cordon").is_ok() {
            continue;
        }
        fs::write(&config, text.replace(&line, user))?;
        let refused = stand.daemon.restart();
        let problem = format!("{:#}", refused.err().context("it started")?);
        ensure!(problem.contains(told), "{problem}");
    }
    fs::write(&config, text)?;
    stand.daemon.restart()
}
