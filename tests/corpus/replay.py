"""Sends a recording's statements, in their order and form, and prints what came of each as JSON.

    replay.py RECORDING

Host, port, user, password and database come from PGHOST and so on. Standard library only.
"""

import base64
import hashlib
import hmac
import json
import os
import socket
import struct
import sys

import wire

TIMEOUT = 60


class Connection:
    def __init__(self, params):
        self.sock = socket.create_connection((os.environ["PGHOST"], int(os.environ["PGPORT"])), TIMEOUT)
        self.sock.settimeout(TIMEOUT)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.names = 0
        self.sock.sendall(wire.startup({"user": os.environ["PGUSER"], "database": os.environ["PGDATABASE"]} | params))
        self.log_in()

    def take(self, count):
        while len(self.buffer) < count:
            more = self.sock.recv(262144)
            if not more:
                raise SystemExit("the server closed the connection")
            self.buffer += more
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def message(self):
        head = self.take(5)
        (length,) = struct.unpack_from("!I", head, 1)
        return head[:1], self.take(length - 4)

    def log_in(self):
        scram = None
        while True:
            tag, body = self.message()
            if tag == b"R":
                (kind,) = struct.unpack_from("!I", body)
                if kind == 10:
                    scram = Scram(os.environ["PGPASSWORD"])
                    self.sock.sendall(wire.frame(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(scram.first)) + scram.first))
                elif kind == 11:
                    self.sock.sendall(wire.frame(b"p", scram.final(body[4:])))
            elif tag == b"E":
                raise SystemExit(f"log in: {wire.fields(body)}")
            elif tag == b"Z":
                return

    def statement(self, entry):
        """The messages of one statement, without a Sync."""
        if entry["form"] == "simple":
            return wire.query(entry["sql"])
        self.names += 1
        name = f"s{self.names}" if entry.get("prepared") else ""
        data = wire.parse(name, entry["sql"], entry.get("types", []))
        if entry["form"] == "describe":
            return data + wire.describe(b"S", name)
        if name:
            data += wire.describe(b"S", name)
        data += wire.bind("", name, entry.get("formats", []), entry.get("params", []), entry.get("results", []))
        return data + wire.describe(b"P", "") + wire.execute("", entry.get("limit", 0))

    def run(self, entries):
        """Runs what belongs together up to a Sync; one outcome for each statement."""
        data = b"".join(map(self.statement, entries))
        simple = entries[0]["form"] == "simple"
        self.sock.sendall(data if simple else data + wire.SYNC)
        outcomes = [{} for _ in entries]
        at = 0
        described = 0
        while True:
            tag, body = self.message()
            current = outcomes[min(at, len(outcomes) - 1)]
            if tag == b"E":
                fields = wire.fields(body)
                current["code"] = fields.get("C")
                current["message"] = fields.get("M")
                current["hint"] = fields.get("H")
                at = len(outcomes)
            elif tag == b"T":
                current["columns"] = columns(body)
                described += 1
            elif tag == b"D":
                current["rows"] = current.get("rows", 0) + 1
            elif tag == b"G":
                entry = entries[min(at, len(entries) - 1)]
                copy = wire.decode_value(entry.get("copy")) or b""
                self.sock.sendall(wire.frame(b"d", copy) + wire.frame(b"c"))
                if not simple:
                    # The server threw away the Sync that came before the data.
                    self.sock.sendall(wire.SYNC)
            elif tag in b"CIs":
                current["tag"] = current.get("tag", "") + (body[:-1].decode() if tag == b"C" else tag.decode()) + ";"
                if not simple:
                    at += 1
            elif tag in b"nt" and entries[min(at, len(entries) - 1)]["form"] == "describe":
                if tag == b"n":
                    at += 1
            elif tag == b"Z":
                return outcomes


class Scram:
    """SCRAM-SHA-256 as a client."""

    def __init__(self, password):
        self.password = password.encode()
        self.bare = b"n=,r=corpus-replay"
        self.first = b"n,," + self.bare

    def final(self, server_first):
        words = dict(part.split(b"=", 1) for part in server_first.split(b","))
        salted = hashlib.pbkdf2_hmac("sha256", self.password, base64.b64decode(words[b"s"]), int(words[b"i"]))
        client = hmac.digest(salted, b"Client Key", "sha256")
        without = b"c=biws,r=" + words[b"r"]
        signed = hmac.digest(hashlib.sha256(client).digest(), self.bare + b"," + server_first + b"," + without, "sha256")
        return without + b",p=" + base64.b64encode(bytes(a ^ b for a, b in zip(client, signed)))


def columns(body):
    """Names and types of a RowDescription."""
    (count,) = struct.unpack_from("!H", body)
    at, found = 2, []
    for _ in range(count):
        name, at = wire.cstr(body, at)
        _, _, kind = struct.unpack_from("!IHI", body, at)
        at += 18
        found.append(f"{name.decode()}:{kind}")
    return found


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        recording = json.load(file)
    outcomes = []
    for session in recording["sessions"]:
        connection = Connection(session["startup"])
        together = []
        for entry in session["statements"]:
            if together and entry["form"] == "simple":
                outcomes += connection.run(together)
                together = []
            together.append(entry)
            if entry.get("sync", True):
                outcomes += connection.run(together)
                together = []
        if together:
            outcomes += connection.run(together)
        connection.sock.sendall(wire.TERMINATE)
        connection.sock.close()
    json.dump(outcomes, sys.stdout)


main()
