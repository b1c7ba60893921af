#!/usr/bin/env python3
"""Runs every tool of tools.json against a private PostgreSQL and writes down what it sends.

    capture.py [--only NAME] [--keep]

Needs root (the server runs as `postgres`), Debian's postgresql-15 and what install.py installs.
Writes recorded/<name>.json. The recordings are part of the repository; this is how they are made
again when a tool or the schema changes.
"""

import argparse
import atexit
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import install
from recorder import Recorder

HERE = pathlib.Path(__file__).resolve().parent
BIN = pathlib.Path("/usr/lib/postgresql/15/bin")
LOGINS = {"reader": "reader", "writer": "agent_rw", "migration": "agent_rw"}


class Server:
    """A cluster that trusts every client, with the shop and the corpus's schema in it."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="cordon-corpus-"))
        shutil.chown(self.dir, "postgres", "postgres")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        data = self.dir / "data"
        self.run([BIN / "initdb", "-D", data, "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--auth=trust"])
        # The same settings as the tests' server, as far as tools can see them.
        settings = ["listen_addresses=127.0.0.1", f"port={self.port}", f"unix_socket_directories={self.dir}", "fsync=off",
                    "full_page_writes=off", "autovacuum=off", "jit=off", "timezone=UTC", "max_connections=60"]
        words = [word for setting in settings for word in ("-c", setting)]
        self.process = subprocess.Popen([BIN / "postgres", "-D", data, *words], user="postgres", group="postgres", extra_groups=[],
                                        stdout=subprocess.DEVNULL, stderr=open(self.dir / "log", "wb"), cwd="/")
        atexit.register(self.stop)
        while subprocess.run([BIN / "pg_isready", "-q", "-h", self.dir, "-p", str(self.port)]).returncode:
            time.sleep(0.05)
        self.psql("postgres", "CREATE DATABASE shop")
        for file in [HERE.parent / "fixtures/shop.sql", HERE / "schema.sql"]:
            self.psql("shop", file.read_text())
        self.psql("postgres", "CREATE DATABASE template_shop TEMPLATE shop")

    def run(self, argv):
        subprocess.run(argv, user="postgres", group="postgres", extra_groups=[], check=True, stdout=subprocess.DEVNULL, cwd="/")

    def psql(self, database, text):
        subprocess.run([BIN / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h", self.dir, "-p", str(self.port), "-d", database],
                       input=text.encode(), check=True, stdout=subprocess.DEVNULL)

    def renew(self):
        self.psql("postgres", "DROP DATABASE shop WITH (FORCE);\nCREATE DATABASE shop TEMPLATE template_shop;\n")
        self.psql("shop", "GRANT CREATE ON DATABASE shop TO agent_rw")

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


READS = re.compile(r"\s*(--[^\n]*\n\s*|/\*.*?\*/\s*)*(select|with|show|table|values)\b", re.I | re.S)
CHANGES = re.compile(r"\b(insert|update|delete|into|nextval|setval|set_config|advisory)\b", re.I)


def distinct(sessions):
    """Sessions without reads that the same recording already has."""
    seen = set()
    kept = []
    for session in sessions:
        statements = []
        for entry in session.statements:
            key = json.dumps({field: entry.get(field) for field in ("form", "sql", "types", "results", "prepared", "error")})
            if READS.match(entry["sql"]) and not CHANGES.search(entry["sql"]):
                if key in seen:
                    # What ended a pipeline goes on ending it.
                    if "sync" not in entry and statements and entry["form"] == "extended":
                        statements[-1].pop("sync", None)
                    continue
                seen.add(key)
            statements.append(entry)
        whole = json.dumps([session.params, statements])
        if statements and whole not in seen:
            seen.add(whole)
            kept.append({"startup": session.params, "statements": statements})
    return kept


def write(path, recording):
    """One statement a line, so that a new recording shows what changed."""
    head = {key: value for key, value in recording.items() if key != "sessions"}
    lines = [json.dumps(head, ensure_ascii=False)[:-1] + ', "sessions": [']
    for number, session in enumerate(recording["sessions"]):
        lines.append('{"startup": ' + json.dumps(session["startup"], ensure_ascii=False) + ', "statements": [')
        rows = [json.dumps(entry, ensure_ascii=False) for entry in session["statements"]]
        lines.append(",\n".join(rows))
        lines.append("]}" + ("," if number + 1 < len(recording["sessions"]) else ""))
    lines.append("]}")
    path.write_text("\n".join(lines) + "\n")


def record(server, tool, show):
    login = LOGINS[tool["role"]]
    server.renew()
    recorder = Recorder("127.0.0.1", server.port)
    env = install.environment(login, "127.0.0.1", recorder.port)
    with tempfile.TemporaryDirectory(prefix="corpus-run-") as folder:
        os.chmod(folder, 0o777)
        run = subprocess.run(install.argv(tool), env=env | {"HOME": folder}, cwd=folder, capture_output=True, text=True, timeout=tool.get("timeout", 120))
    if show or run.returncode:
        sys.stderr.write(run.stdout[-6000:] + run.stderr[-6000:])
    sessions = recorder.finish()
    if run.returncode:
        raise SystemExit(f"{tool['name']} ended with {run.returncode}")
    kept = distinct(sessions)
    for session in kept:
        # Some drivers name the program by its path.
        if "application_name" in session["startup"]:
            session["startup"]["application_name"] = pathlib.Path(session["startup"]["application_name"]).name
    # Ports, folders and passwords of the recording mean nothing elsewhere.
    text = json.dumps(kept)
    for secret in (str(recorder.port), str(server.dir), folder, str(HERE)):
        assert secret not in text, f"{tool['name']}: the recording holds {secret}"
    for session in kept:
        session["startup"].pop("user", None)
        session["startup"].pop("database", None)
    recording = {"tool": tool["tool"], "version": install.version(tool), "use": tool["use"], "role": tool["role"], "sessions": kept}
    path = HERE / "recorded" / f"{tool['name']}.json"
    write(path, recording)
    statements = [entry for session in kept for entry in session["statements"]]
    errors = sorted({entry["error"] for entry in statements if entry.get("error")})
    print(f"{tool['name']:32} {recording['version']:12} {len(kept):3} sessions {len(statements):5} statements  {' '.join(errors)}", flush=True)


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--only", action="append", default=[], help="tools whose name contains this")
    args.add_argument("--show", action="store_true", help="show what the tools print")
    args = args.parse_args()
    tools = json.loads((HERE / "tools.json").read_text())
    server = Server()
    failed = []
    for tool in tools:
        if not args.only or any(word in tool["name"] for word in args.only):
            try:
                record(server, tool, args.show)
            except (SystemExit, subprocess.TimeoutExpired, AssertionError) as error:
                failed.append(tool["name"])
                print(f"{tool['name']}: {error}", flush=True)
    if failed:
        raise SystemExit(f"not recorded: {' '.join(failed)}")


if __name__ == "__main__":
    main()
