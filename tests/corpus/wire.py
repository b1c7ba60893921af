"""The messages of PostgreSQL's protocol that a recording holds. Standard library only."""

import base64
import struct


def cstr(data, at):
    end = data.index(b"\0", at)
    return data[at:end], end + 1


def frame(tag, body=b""):
    return tag + struct.pack("!I", len(body) + 4) + body


def u16s(data, at):
    (count,) = struct.unpack_from("!H", data, at)
    return list(struct.unpack_from(f"!{count}H", data, at + 2)), at + 2 + 2 * count


def encode_value(value, binary):
    """A parameter as it stands in a recording: text where it can be read, else base64."""
    if value is None:
        return None
    if not binary:
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    return {"b64": base64.b64encode(value).decode()}


def decode_value(value):
    if value is None:
        return None
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    return value.encode()


def read_parse(body):
    name, at = cstr(body, 0)
    text, at = cstr(body, at)
    (count,) = struct.unpack_from("!H", body, at)
    types = list(struct.unpack_from(f"!{count}I", body, at + 2))
    return name.decode(), text.decode(), types


def read_bind(body):
    portal, at = cstr(body, 0)
    statement, at = cstr(body, at)
    formats, at = u16s(body, at)
    (count,) = struct.unpack_from("!H", body, at)
    at += 2
    values = []
    for index in range(count):
        (length,) = struct.unpack_from("!i", body, at)
        at += 4
        if length < 0:
            values.append(None)
            continue
        form = formats[index] if len(formats) > 1 else (formats[0] if formats else 0)
        values.append(encode_value(body[at : at + length], form == 1))
        at += length
    results, at = u16s(body, at)
    return portal.decode(), statement.decode(), formats, values, results


def query(text):
    return frame(b"Q", text.encode() + b"\0")


def parse(name, text, types):
    return frame(b"P", name.encode() + b"\0" + text.encode() + b"\0" + struct.pack("!H", len(types)) + b"".join(struct.pack("!I", t) for t in types))


def bind(portal, statement, formats, values, results):
    body = portal.encode() + b"\0" + statement.encode() + b"\0"
    body += struct.pack("!H", len(formats)) + b"".join(struct.pack("!H", f) for f in formats)
    body += struct.pack("!H", len(values))
    for value in map(decode_value, values):
        body += struct.pack("!i", -1) if value is None else struct.pack("!I", len(value)) + value
    return frame(b"B", body + struct.pack("!H", len(results)) + b"".join(struct.pack("!H", f) for f in results))


def describe(kind, name):
    return frame(b"D", kind + name.encode() + b"\0")


def execute(portal, limit=0):
    return frame(b"E", portal.encode() + b"\0" + struct.pack("!I", limit))


def close(kind, name):
    return frame(b"C", kind + name.encode() + b"\0")


SYNC = frame(b"S")
TERMINATE = frame(b"X")


def startup(params):
    body = struct.pack("!I", 196608) + b"".join(k.encode() + b"\0" + v.encode() + b"\0" for k, v in params.items()) + b"\0"
    return struct.pack("!I", len(body) + 4) + body


def fields(body):
    """The fields of an ErrorResponse or NoticeResponse."""
    return {chr(part[0]): part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}
