//! The unit in `packaging/systemd`, and what the daemon tells systemd.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
    thread,
};

use anyhow::{Context, Result, ensure};
use cordon_tests::{
    Output, Setup, Stand,
    host::{self, Cgroup, PATIENCE, Scratch},
    tools,
};

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd")
}

/// A unit with a program that is there in the place of the installed one.
fn unit(scratch: &Scratch, extra: &str) -> Result<PathBuf> {
    let text = fs::read_to_string(packaging().join("cordon.service"))?;
    let path = scratch.path().join("cordon.service");
    fs::write(&path, text.replace("/usr/bin/cordon", "/bin/true") + extra)?;
    Ok(path)
}

fn analyze(args: &[&str], unit: &Path) -> Result<Output> {
    let mut command = Command::new("systemd-analyze");
    command.args(args).arg(unit).env("LC_ALL", "C");
    Ok(command.output().context("running systemd-analyze")?.into())
}

#[test]
fn the_unit_is_one_that_systemd_accepts_and_exposes_little() -> Result<()> {
    let scratch = Scratch::new("unit")?;
    let good = unit(&scratch, "")?;
    let verified = analyze(&["verify", "--man=no"], &good)?.success()?;
    ensure!(verified.stderr.trim().is_empty(), "{}", verified.all());
    let security = ["security", "--offline=true", "--no-pager", "--threshold=45"];
    analyze(&security, &good)?.success()?;
    // It does look: a unit with a wrong key, and one that gives up its filter, are told.
    let wrong = unit(&scratch, "\n[Service]\nNonsense=1\n")?;
    let told = analyze(&["verify", "--man=no"], &wrong)?;
    ensure!(told.stderr.contains("Nonsense"), "{}", told.all());
    let open = unit(
        &scratch,
        "\n[Service]\nSystemCallFilter=\nProtectSystem=no\nNoNewPrivileges=no\nRestrictAddressFamilies=\nCapabilityBoundingSet=~\n",
    )?;
    let told = analyze(&security, &open)?;
    ensure!(told.code == Some(1), "{}", told.all());
    Ok(())
}

#[test]
fn the_drop_in_for_runners_makes_them_wait_for_the_programs() -> Result<()> {
    let scratch = Scratch::new("unit")?;
    unit(&scratch, "")?;
    let runner = scratch.path().join("actions.runner.example.service");
    fs::write(&runner, "[Service]\nExecStart=/bin/true\n")?;
    let drop_in = scratch.path().join("actions.runner.example.service.d");
    fs::create_dir(&drop_in)?;
    let text = fs::read_to_string(packaging().join("runner.conf"))?;
    fs::write(
        drop_in.join("cordon.conf"),
        text.replace("/usr/bin/cordon", "/bin/true"),
    )?;
    let verified = analyze(&["verify", "--man=no"], &runner)?.success()?;
    ensure!(verified.stderr.trim().is_empty(), "{}", verified.all());
    ensure!(text.contains("doctor --only programs"), "{text}");
    Ok(())
}

/// What the unit leaves of root's capabilities, as `setpriv` takes it.
fn capabilities() -> Result<String> {
    let text = fs::read_to_string(packaging().join("cordon.service"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="))
        .context("the unit names no capabilities")?;
    Ok(line
        .split_whitespace()
        .fold("-all".to_owned(), |set, name| {
            format!("{set},+{}", name.trim_start_matches("CAP_").to_lowercase())
        }))
}

/// Reads all that systemd is told, as it would.
fn listen(socket: UnixDatagram) -> mpsc::Receiver<String> {
    let (told, heard) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok(length) = socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
            if told.send(text.into_owned()).is_err() {
                return;
            }
        }
    });
    heard
}

fn hear(systemd: &mpsc::Receiver<String>, wanted: &str) -> Result<()> {
    let mut heard = Vec::new();
    loop {
        let text = systemd
            .recv_timeout(PATIENCE)
            .with_context(|| format!("waiting for {wanted}, heard {heard:?}"))?;
        if text.lines().any(|line| line == wanted) {
            return Ok(());
        }
        heard.push(text);
    }
}

#[test]
fn with_the_units_capabilities_in_its_cgroup_and_with_a_narrow_umask_the_daemon_serves_and_tells_systemd()
-> Result<()> {
    let scratch = Scratch::new("service")?;
    let unit = Cgroup::create(&format!("cordon-test-{}.service", host::unique()))?;
    let address = scratch.path().join("notify");
    let systemd = listen(UnixDatagram::bind(&address)?);
    // Starts the daemon as systemd would: the same process, in the unit's cgroup.
    let wrapper = scratch.share(
        "cordon",
        format!(
            "#!/bin/sh\n\
             if [ \"$1\" = run ]; then\n  \
               echo $$ > {procs}\n  \
               umask 077\n  \
               export SYSTEMD_EXEC_PID=$$ NOTIFY_SOCKET={notify} WATCHDOG_USEC=600000 WATCHDOG_PID=$$\n  \
               exec setpriv --no-new-privs --bounding-set={set} {cordon} \"$@\"\n\
             fi\n\
             exec {cordon} \"$@\"\n",
            procs = unit.procs().display(),
            notify = address.display(),
            set = capabilities()?,
            cordon = tools::cordon()?.display(),
        )
        .as_bytes(),
    )?;
    let mut stand = Stand::start(&Setup {
        binary: Some(wrapper),
        ..Setup::default()
    })?;
    hear(&systemd, "READY=1")?;
    hear(&systemd, "WATCHDOG=1")?;
    hear(&systemd, "WATCHDOG=1")?;
    let pid = stand.daemon.pid()?;
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    ensure!(
        cgroup
            .lines()
            .any(|line| line == format!("0::{}", unit.relative())),
        "the daemon has left its unit: {cgroup}"
    );
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    ensure!(
        status.lines().any(|line| line == "NoNewPrivs:\t1"),
        "{status}"
    );
    ensure!(
        stand.job().sql("SELECT current_user")?.success()?.lines() == ["agent_rw"],
        "not served"
    );
    // What a job leaves behind, as another user, is ended.
    let left = stand.job().run(&[
        "/bin/sh",
        "-c",
        "setsid sleep 600 >/dev/null 2>&1 & echo $!",
    ])?;
    let left = left.success()?.stdout.trim().to_owned();
    host::eventually("the leftover to be gone", || {
        Ok((!Path::new("/proc").join(&left).exists()).then_some(()))
    })?;
    stand.daemon.terminate()?;
    hear(&systemd, "STOPPING=1")
}
