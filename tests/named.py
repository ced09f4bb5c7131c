"""The DNS of tests: Debian's dnsmasq on loopback."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.nameserver
import dns.resolver
import pytest

from tests.ports import free_port
from tests.smtped import eventually

DNSMASQ = "/usr/sbin/dnsmasq"
Records = Mapping[str, Sequence[tuple[str, str]]]
needs_dnsmasq = pytest.mark.skipif(not shutil.which(DNSMASQ), reason="dnsmasq is not here")


@contextmanager
def named(path: Path, records: Records) -> Iterator[int]:
    """Answer on a port of 127.0.0.1 until the context ends; every other name is unknown.

    Args:
        path: of a directory.
        records: name → type (`TXT`, `A`, `AAAA`, `MX`, `CNAME`) and value of each record;
            `REFUSED` and no value: the name is not answered for.
    """
    port = free_port()
    lines = [
        "no-resolv", "no-hosts", "keep-in-foreground", "bind-interfaces", "no-negcache",
        "listen-address=127.0.0.1", f"port={port}", "local=/#/", f"pid-file={path}/dnsmasq.pid",
        "user=root" if Path(path).owner() == "root" else "", "host-record=up.invalid,127.0.0.1",
    ]  # fmt: skip
    given = [_line(name, kind, value) for name, found in records.items() for kind, value in found]
    (path / "dnsmasq.conf").write_text("\n".join(lines) + "\n")
    # As arguments, which may be longer than its lines.
    options = [f"--{line}" for line in given]
    process = subprocess.Popen([DNSMASQ, f"--conf-file={path}/dnsmasq.conf", *options])
    try:
        eventually(lambda: _is_up(port))
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _line(name: str, kind: str, value: str) -> str:
    if kind == "TXT":
        text = value.encode()
        texts = [text[place : place + 255] for place in range(0, len(text), 255)]
        return f"dns-rr={name},16," + b"".join(bytes([len(one)]) + one for one in texts).hex()
    if kind == "REFUSED":
        return f"server=/{name}/#"
    if kind == "MX":
        return f"mx-host={name},{value}"
    return f"cname={name},{value}" if kind == "CNAME" else f"host-record={name},{value}"


def _is_up(port: int) -> bool:
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [dns.nameserver.Do53Nameserver("127.0.0.1", port)]
    try:
        resolver.resolve("up.invalid", "A", lifetime=1)
    except dns.exception.DNSException:
        return False
    return True
