#!/usr/bin/env python3
"""Installs the tools of the corpus into a folder of their own: Python, npm and Rust packages.

    install.py            installs what is missing
    CORPUS_TOOLS          the folder (default: /var/cache/cordon-corpus)

The programs of Debian (psql, pg_dump, JDBC, ActiveRecord, DBD::Pg, ODBC) come from apt; what is
missing is named.
"""

import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
TOOLS = pathlib.Path(os.environ.get("CORPUS_TOOLS") or "/var/cache/cordon-corpus")
BIN = pathlib.Path("/usr/lib/postgresql/15/bin")
DEBIAN = {
    "libpostgresql-jdbc-java": "/usr/share/java/postgresql.jar",
    "ruby-activerecord": "/usr/share/doc/ruby-activerecord",
    "ruby-pg": "/usr/share/doc/ruby-pg",
    "libdbd-pg-perl": "/usr/share/doc/libdbd-pg-perl",
    "odbc-postgresql": "/usr/share/doc/odbc-postgresql",
    "unixodbc": "/usr/bin/isql",
    "openjdk-17-jdk-headless": "/usr/bin/javac",
    "nodejs": None,
}


def install():
    missing = [package for package, proof in DEBIAN.items() if proof and not os.path.exists(proof)]
    if missing:
        raise SystemExit(f"missing: apt-get install --no-install-recommends {' '.join(missing)}")
    TOOLS.mkdir(parents=True, exist_ok=True)
    rust = HERE / "tools/rust"
    wanted = "".join(file.read_text() for file in [HERE / "requirements.txt", HERE / "package.json", rust / "Cargo.toml", rust / "src/main.rs"])
    stamp = TOOLS / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    subprocess.run(["/usr/bin/python3", "-m", "venv", TOOLS / "py"], check=True)
    subprocess.run([TOOLS / "py/bin/pip", "install", "-q", "--disable-pip-version-check", "-r", HERE / "requirements.txt"], check=True)
    (TOOLS / "node").mkdir(exist_ok=True)
    (TOOLS / "node/package.json").write_text((HERE / "package.json").read_text())
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=TOOLS / "node", check=True)
    subprocess.run(["cargo", "build", "--quiet", "--target-dir", TOOLS / "rust"], cwd=rust, check=True)
    shutil.copy(rust / "Cargo.lock", TOOLS / "rust/Cargo.lock")
    (rust / "Cargo.lock").unlink()
    # Whoever runs the tools must be able to read them.
    subprocess.run(["chmod", "-R", "a+rX", TOOLS], check=True)
    stamp.write_text(wanted)


def environment(login, host, port):
    """What a tool finds in its environment."""
    return {
        "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PGHOST": host,
        "PGPORT": str(port),
        "PGDATABASE": "shop",
        "PGUSER": login,
        "PGPASSWORD": "placeholder",
        "NODE_PATH": str(TOOLS / "node/node_modules"),
        "CORPUS_TOOLS": str(TOOLS),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PSQLRC": "/dev/null",
    }


def argv(tool):
    """The command line of a tool's script."""
    words = {
        "{python}": str(TOOLS / "py/bin/python"),
        "{node}": str(TOOLS / "node/node_modules"),
        "{tools}": str(TOOLS),
        "{here}": str(HERE / "tools"),
    }
    command = []
    for word in tool["argv"]:
        for name, value in words.items():
            word = word.replace(name, value)
        command.append(word)
    return command


@functools.cache
def python_versions():
    out = subprocess.run([TOOLS / "py/bin/pip", "list", "--format=json", "--disable-pip-version-check"], check=True, capture_output=True)
    return {row["name"].lower(): row["version"] for row in json.loads(out.stdout)}


def version(tool):
    """The version of what was recorded."""
    kind, _, name = tool["version"].partition(":")
    if kind == "pypi":
        return python_versions()[name.lower()]
    if kind == "npm":
        return json.loads((TOOLS / "node/node_modules" / name / "package.json").read_text())["version"]
    if kind == "crate":
        lock = tomllib.loads((TOOLS / "rust/Cargo.lock").read_text())
        return next(package["version"] for package in lock["package"] if package["name"] == name)
    if kind == "apt":
        out = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", name], check=True, capture_output=True, text=True).stdout
        return out.split(":")[-1].split("-")[0].split("+")[0]
    return name


if __name__ == "__main__":
    install()
    print(TOOLS)
