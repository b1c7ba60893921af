#!/usr/bin/env python3
"""Writes generated.jsonl: texts with what a detector should find in them. All of it is made up.

The same seed gives the same file. Check digits are computed here on their own, so that they also
check the detectors' arithmetic. hard.jsonl beside it is written by hand.
"""

import base64
import json
import random
import string
from pathlib import Path

R = random.Random(20261125)
LINES = []

FIRST = "alice bob chloe dmitri elena farid grace hiro ines jamal kirsten liam maria noor olga pedro".split()
LAST = "miller schmidt garcia dubois rossi kowalski jansen silva okafor tanaka larsen novak".split()
DOMAINS = "example.com example.org mail.example.co.uk firma.example.de sub.dept.example.io xn--bcher-kva.example posteo.example".split()
AROUND = [
    "{}", "contact: {}", "({})", "{}, thanks", "was {} before", "[{}]", "value={} ok", "\"{}\"", "{}.", "Bitte an {} senden",
    "user asked to change it to {} on monday", "<td>{}</td>", "a;{};b", "note:\n{}\n", "see {} / other",
]


def digits(n, first="0123456789"):
    return R.choice(first) + "".join(R.choice(string.digits) for _ in range(n - 1))


def letters(n, alphabet=string.ascii_letters + string.digits):
    return "".join(R.choice(alphabet) for _ in range(n))


def found(detector, value, around=None):
    text = (around or R.choice(AROUND)).format(value)
    LINES.append({"text": text, "found": [[detector, value]]})


def nothing(text):
    LINES.append({"text": text, "found": []})


def luhn_digit(body):
    total = 0
    for i, c in enumerate(reversed(body)):
        d = int(c) * (2 if i % 2 == 0 else 1)
        total += d - 9 if d > 9 else d
    return str(-total % 10)


def email():
    local = R.choice([
        f"{R.choice(FIRST)}.{R.choice(LAST)}", f"{R.choice(FIRST)}{R.randrange(100)}", f"{R.choice(FIRST)}+{letters(4)}", f"{R.choice(FIRST)[0]}_{R.choice(LAST)}",
        f"{R.choice(LAST)}-{R.choice(FIRST)}", R.choice(FIRST).upper(),
    ])
    return f"{local}@{R.choice(DOMAINS)}"


def card():
    prefix, length = R.choice([("4", 16), ("51", 16), ("54", 16), ("2221", 16), ("34", 15), ("37", 15), ("6011", 16), ("3530", 16), ("36", 14), ("62", 16), ("65", 16), ("4", 19)])
    body = prefix + digits(length - len(prefix) - 1)
    number = body + luhn_digit(body)
    form = R.randrange(3)
    if form == 0 or length == 19:
        return number
    separator = " -"[form - 1]
    cuts = {16: (4, 8, 12), 15: (4, 10), 14: (4, 10)}[length]
    parts = [number[a:b] for a, b in zip((0, *cuts), (*cuts, length))]
    return separator.join(parts)


IBAN = {"DE": "18n", "FR": "10n11c2n", "GB": "4a14n", "ES": "20n", "IT": "1a10n12c", "NL": "4a10n", "CH": "5n12c", "PL": "24n", "SE": "20n", "NO": "11n", "PT": "21n", "AT": "16n", "BE": "12n"}


def iban():
    country = R.choice(sorted(IBAN))
    bban, spec = "", IBAN[country]
    while spec:
        n = ""
        while spec[0].isdigit():
            n, spec = n + spec[0], spec[1:]
        kind, spec = spec[0], spec[1:]
        bban += letters(int(n), {"n": string.digits, "a": string.ascii_uppercase, "c": string.ascii_uppercase + string.digits}[kind])
    number = "".join(str(int(c, 36)) for c in bban + country + "00")
    value = f"{country}{98 - int(number) % 97:02d}{bban}"
    if R.randrange(2):
        value = " ".join(value[i : i + 4] for i in range(0, len(value), 4))
    return value


def ssn():
    area = R.choice([a for a in range(1, 900) if a != 666])
    return f"{area:03d}-{R.randrange(1, 100):02d}-{R.randrange(1, 10000):04d}"


def phone():
    us = f"{R.randrange(2, 10)}{digits(2)}", f"{R.randrange(2, 10)}{digits(2)}", digits(4)
    return R.choice([
        "+1 {}-{}-{}".format(*us), "({}) {}-{}".format(*us), "{}-{}-{}".format(*us), "{}.{}.{}".format(*us), "+1{}{}{}".format(*us), "1-{}-{}-{}".format(*us),
        f"+49 30 {digits(7, '123456789')}", f"+49 (0)89 {digits(6)}", f"+44 20 {digits(4)} {digits(4)}", f"+33 6 {digits(2)} {digits(2)} {digits(2)} {digits(2)}",
        f"0{R.choice('1234567')} {digits(2)} {digits(2)} {digits(2)} {digits(2)}", f"030 {digits(8)}", f"0170/{digits(7)}", f"020 {digits(4)} {digits(4)}", f"0049 30 {digits(7)}",
        f"+91 {digits(5, '6789')} {digits(5)}", f"+86{digits(11, '1')}", f"+34-{digits(3, '69')}-{digits(3)}-{digits(3)}",
    ])


def ip():
    form = R.randrange(4)
    if form < 2:
        return ".".join(str(R.randrange(1 if i == 0 else 0, 256)) for i in range(4))
    groups = [f"{R.randrange(1, 65536):x}" for _ in range(8)]
    groups[0] = R.choice(["2001", "2a00", "fe80", "fd12"])
    if form == 2:
        return ":".join(groups)
    return ":".join(groups[: R.randrange(2, 4)]) + "::" + R.choice(["1", "8a2e:370", "53"])


def mac():
    pairs = [f"{R.randrange(256):02x}" for _ in range(6)]
    value = R.choice(":-").join(pairs)
    return value.upper() if R.randrange(2) else value


def dni():
    n = R.randrange(10**7, 10**8)
    return f"{n}{R.choice(['', '-'])}{'TRWAGMYFPDXBNJZSQVHLCKE'[n % 23]}"


def nie():
    first, n = R.randrange(3), R.randrange(10**7)
    return f"{'XYZ'[first]}{n:07d}{'TRWAGMYFPDXBNJZSQVHLCKE'[(first * 10**7 + n) % 23]}"


def nir():
    n = int(f"{R.choice('12')}{R.randrange(100):02d}{R.randrange(1, 13):02d}{R.randrange(1, 96):02d}{R.randrange(1, 990):03d}{R.randrange(1, 1000):03d}")
    value = f"{n}{97 - n % 97:02d}"
    if R.randrange(2):
        return " ".join([value[0], value[1:3], value[3:5], value[5:7], value[7:10], value[10:13], value[13:]])
    return value


def codice():
    odd = dict(zip(string.digits + string.ascii_uppercase, [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23]))
    up = string.ascii_uppercase
    body = letters(6, up) + f"{R.randrange(100):02d}" + R.choice("ABCDEHLMPRST") + f"{R.randrange(1, 72):02d}" + R.choice(up) + f"{R.randrange(1, 1000):03d}"
    total = sum(odd[c] if i % 2 == 0 else (int(c) if c.isdigit() else ord(c) - 65) for i, c in enumerate(body))
    return body + up[total % 26]


def cpf():
    n = [R.randrange(10) for _ in range(9)]
    for _ in range(2):
        n.append(sum(d * w for d, w in zip(n, range(len(n) + 1, 1, -1))) * 10 % 11 % 10)
    s = "".join(map(str, n))
    return f"{s[:3]}.{s[3:6]}.{s[6:9]}-{s[9:]}"


def belgian():
    n = f"{R.randrange(40, 100):02d}{R.randrange(1, 13):02d}{R.randrange(1, 29):02d}{R.randrange(1, 998):03d}"
    check = 97 - int(n) % 97
    return f"{n[:2]}.{n[2:4]}.{n[4:6]}-{n[6:]}.{check:02d}"


def swiss():
    n = "756" + digits(9)
    check = -sum(int(d) * (1 if i % 2 == 0 else 3) for i, d in enumerate(n)) % 10
    n += str(check)
    return R.choice([n, f"{n[:3]}.{n[3:7]}.{n[7:11]}.{n[11:]}"])


def swedish():
    n = f"{R.randrange(30, 100):02d}{R.randrange(1, 13):02d}{R.randrange(1, 29):02d}{digits(3)}"
    return f"{n[:6]}-{n[6:]}{luhn_digit(n)}"


def finnish():
    n = f"{R.randrange(1, 29):02d}{R.randrange(1, 13):02d}{R.randrange(30, 100):02d}"
    serial = f"{R.randrange(2, 900):03d}"
    return f"{n}{R.choice('-A')}{serial}{'0123456789ABCDEFHJKLMNPRSTUVWXY'[int(n + serial) % 31]}"


def chinese():
    n = f"{R.randrange(110000, 660000)}{R.randrange(1940, 2015)}{R.randrange(1, 13):02d}{R.randrange(1, 29):02d}{digits(3)}"
    total = sum(int(d) * w for d, w in zip(n, [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]))
    return n + "10X98765432"[total % 11]


def pesel():
    n = f"{R.randrange(40, 100):02d}{R.randrange(1, 13):02d}{R.randrange(1, 29):02d}{digits(4)}"
    return n + str(-sum(int(d) * w for d, w in zip(n, [1, 3, 7, 9] * 3)) % 10)


def bsn():
    while True:
        n = digits(8, "123456789")
        last = sum(int(d) * w for d, w in zip(n, range(9, 1, -1))) % 11
        if last < 10:
            return n + str(last)


def aadhaar():
    d = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 0, 6, 7, 8, 9, 5], [2, 3, 4, 0, 1, 7, 8, 9, 5, 6], [3, 4, 0, 1, 2, 8, 9, 5, 6, 7], [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
         [5, 9, 8, 7, 6, 0, 4, 3, 2, 1], [6, 5, 9, 8, 7, 1, 0, 4, 3, 2], [7, 6, 5, 9, 8, 2, 1, 0, 4, 3], [8, 7, 6, 5, 9, 3, 2, 1, 0, 4], [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]]
    p = [list(range(10))]
    base = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]
    for _ in range(7):
        p.append([base[x] for x in p[-1]])
    n = digits(11, "23456789")
    for check in range(10):
        c = 0
        for i, x in enumerate(reversed(n + str(check))):
            c = d[c][p[i % 8][int(x)]]
        if c == 0:
            n += str(check)
            return f"{n[:4]} {n[4:8]} {n[8:]}"


def secret():
    b64 = string.ascii_letters + string.digits + "-_"
    segment = lambda o: base64.urlsafe_b64encode(json.dumps(o).encode()).decode().rstrip("=")
    return R.choice([
        "AKIA" + letters(16, string.ascii_uppercase + "234567"), "ghp_" + letters(36), "github_pat_" + letters(22) + "_" + letters(59), "glpat-" + letters(20, b64),
        f"xoxb-{digits(11)}-{digits(12)}-{letters(24)}", "sk_live_" + letters(24), "AIza" + letters(35, b64), "SG." + letters(22, b64) + "." + letters(43, b64),
        "npm_" + letters(36), segment({"alg": "HS256", "typ": "JWT"}) + "." + segment({"sub": letters(8), "iat": R.randrange(10**9)}) + "." + letters(43, b64),
        "-----BEGIN RSA PRIVATE KEY-----\n" + "\n".join(letters(64, b64) for _ in range(3)) + "\n-----END RSA PRIVATE KEY-----",
    ])


NATIONAL = [dni, nie, nir, codice, cpf, belgian, swiss, swedish, finnish, chinese, aadhaar]
for _ in range(150):
    found("email", email())
    found("credit_card", card())
    found("iban", iban())
    found("us_ssn", ssn())
    found("phone", phone())
    found("ip", ip())
    found("mac", mac())
    found("national_id", R.choice(NATIONAL)())
    found("secret", secret())
for _ in range(20):
    found("national_id", pesel(), R.choice(["PESEL: {}", "numer PESEL {} ok"]))
    found("national_id", bsn(), R.choice(["BSN {}", "burgerservicenummer: {}"]))
    found("us_ssn", ssn().replace("-", ""), R.choice(["SSN {}", "social security no. {}"]))
    found("secret", letters(14), R.choice(["password={}", "Server=db;Pwd={};Database=x", "https://x.example/?api_key={}&a=1", "client_secret = \"{}\"", "postgres://app:{}@db.internal/shop"]))

# Plain numbers, which are ids more often than anything else.
for length in range(9, 17):
    for _ in range(250):
        nothing(R.choice(["{}", "order {}", "id={}", "#{}", "invoice {} paid", "{{\"id\": {}}}"]).format(digits(length, "123456789")))
hexes = string.hexdigits.lower()[:16]
for _ in range(100):
    uuid = letters(32, hexes)
    nothing("-".join([uuid[:8], uuid[8:12], uuid[12:16], uuid[16:20], uuid[20:]]))
    nothing("commit " + letters(40, hexes))
    nothing(letters(64, hexes))
    nothing(base64.b64encode(R.randbytes(R.randrange(20, 120))).decode())
    date = f"20{R.randrange(10, 30)}-{R.randrange(1, 13):02d}-{R.randrange(1, 29):02d}"
    time = f"{R.randrange(24):02d}:{R.randrange(60):02d}:{R.randrange(60):02d}"
    nothing(R.choice([f"{date} {time}", f"{date}T{time}.{digits(3)}Z", f"{date}T{time}+02:00", f"{date[8:]}.{date[5:7]}.{date[:4]} {time}", f"{date[5:7]}/{date[8:]}/{date[:4]}"]))
    nothing(R.choice(["v{}.{}.{}", "release {}.{}.{}-rc1", "package@{}.{}.{}", "^{}.{}.{}", "PostgreSQL {}.{}.{}"]).format(R.randrange(20), R.randrange(40), R.randrange(200)))
    nothing(f"{date} {time} INFO worker-{R.randrange(99)} job {digits(6)} took {R.randrange(10**5)} ms, {R.randrange(10**7)} bytes, status {R.choice([200, 404, 500])}")
    nothing(f"ORD-{date[:4]}-{digits(6)}")
    nothing(f"{R.randrange(10**6)}.{digits(2)} EUR, tax {R.randrange(20)}.{digits(2)}%")
    nothing(f"tracking 1Z{letters(6, string.ascii_uppercase + string.digits)}{digits(10)}")
    nothing(f"lat {R.uniform(-90, 90):.6f}, lon {R.uniform(-180, 180):.6f}")
    nothing(f"SELECT * FROM t WHERE id::int = {R.randrange(10**6)} AND a <> 'b' -- {digits(4)}")
    nothing(" ".join(R.choice(FIRST + LAST) for _ in range(12)))

path = Path(__file__).with_name("generated.jsonl")
with path.open("w", encoding="utf-8") as out:
    for line in LINES:
        out.write(json.dumps(line, ensure_ascii=False) + "\n")
print(len(LINES), "texts in", path.name)
