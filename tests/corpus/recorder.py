"""A proxy that writes down what a client says to PostgreSQL, statement by statement.

It stands between a tool and a server that trusts it, refuses TLS, and passes every byte. A
statement of a recording is one Query, or one Execute with what its Parse and Bind said; a Parse
that nothing executes is kept as `describe`. Standard library only.
"""

import socket
import struct
import threading

import wire


class Session:
    """One connection's statements."""

    def __init__(self, params):
        self.params = params
        self.statements = []
        self.prepared = {}
        self.portals = {}
        self.copying = None
        self.waiting = []
        self.lock = threading.Lock()

    def frontend(self, tag, body):
        with self.lock:
            self.read(tag, body)

    def read(self, tag, body):
        if tag == b"Q":
            text = body[:-1].decode()
            self.add({"form": "simple", "sql": text})
        elif tag == b"P":
            name, text, types = wire.read_parse(body)
            if not name:
                self.leave("")
            self.prepared[name] = {"sql": text, "types": types, "named": bool(name), "executed": False}
        elif tag == b"B":
            portal, statement, formats, values, results = wire.read_bind(body)
            self.portals[portal] = (statement, formats, values, results)
        elif tag == b"E":
            portal, at = wire.cstr(body, 0)
            bound = self.portals.get(portal.decode())
            (limit,) = struct.unpack_from("!I", body, at)
            prepared = bound and self.prepared.get(bound[0])
            if prepared:
                prepared["executed"] = True
                entry = {"form": "extended", "sql": prepared["sql"]}
                if prepared["named"]:
                    entry["prepared"] = True
                if any(prepared["types"]):
                    entry["types"] = prepared["types"]
                if bound[2]:
                    entry["params"] = bound[2]
                if any(bound[1]):
                    entry["formats"] = bound[1]
                if any(bound[3]):
                    entry["results"] = bound[3]
                if limit:
                    entry["limit"] = limit
                entry["sync"] = False
                self.add(entry)
        elif tag == b"C" and body[:1] == b"S":
            self.leave(body[1:-1].decode())
        elif tag in b"SH":
            # A Flush is answered like a Sync; only a pipeline has neither.
            if self.statements and tag == b"S":
                self.statements[-1].pop("sync", None)
        elif tag == b"d" and self.copying is not None:
            self.copying += body
        elif tag in b"cf" and self.copying is not None:
            self.statements[-1]["copy"] = wire.encode_value(self.copying, False)
            self.copying = None

    def leave(self, name):
        """A prepared statement goes; what nothing executed was only described."""
        prepared = self.prepared.pop(name, None)
        if prepared and not prepared["executed"]:
            entry = {"form": "describe", "sql": prepared["sql"]}
            if any(prepared["types"]):
                entry["types"] = prepared["types"]
            self.add(entry)

    def add(self, entry):
        self.statements.append(entry)
        self.waiting.append(entry)

    def backend(self, tag, body):
        with self.lock:
            if tag == b"G":
                self.copying = b""
            elif tag == b"E":
                fields = wire.fields(body)
                # Of a pipeline the first that is not answered failed.
                if self.waiting:
                    self.waiting[0]["error"] = fields.get("C")
            elif tag in b"CIs" and self.waiting:
                self.waiting[0].setdefault("tag", body[:-1].decode() if tag == b"C" else "")
                if not (self.waiting[0]["form"] == "simple"):
                    self.waiting.pop(0)
            elif tag == b"Z":
                self.waiting.clear()

    def end(self):
        with self.lock:
            for name in list(self.prepared):
                self.leave(name)
            for entry in self.statements:
                entry.pop("tag", None)


class Recorder:
    """Listens on a port of its own; `sessions` holds what was said."""

    def __init__(self, host, port):
        self.target = (host, port)
        self.sessions = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.threads = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self.serve, args=(client,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def serve(self, client):
        while True:
            head = exactly(client, 8)
            if head is None:
                return
            length, code = struct.unpack("!II", head)
            if code in (80877103, 80877104):
                client.sendall(b"N")
                continue
            break
        rest = exactly(client, length - 8) or b""
        server = socket.create_connection(self.target)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.sendall(head + rest)
        if code == 80877102:
            server.close()
            client.close()
            return
        words = [word.decode() for word in rest.split(b"\0")]
        params = dict(zip(words[0::2], words[1::2]))
        params.pop("", None)
        session = Session(params)
        self.sessions.append(session)
        back = threading.Thread(target=self.pump, args=(server, client, session.backend), daemon=True)
        back.start()
        self.pump(client, server, session.frontend)
        back.join()
        session.end()
        client.close()
        server.close()

    @staticmethod
    def pump(source, sink, read):
        while True:
            head = exactly(source, 5)
            if head is None:
                break
            (length,) = struct.unpack_from("!I", head, 1)
            body = exactly(source, length - 4)
            if body is None:
                break
            read(head[:1], body)
            try:
                sink.sendall(head + body)
            except OSError:
                break
        try:
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def finish(self):
        """Waits for open connections to end and gives their sessions."""
        self.listener.close()
        for thread in self.threads:
            thread.join(10)
        return [session for session in self.sessions if session.statements]


def exactly(sock, count):
    data = b""
    while len(data) < count:
        try:
            more = sock.recv(count - len(data))
        except OSError:
            return None
        if not more:
            return None
        data += more
    return data
