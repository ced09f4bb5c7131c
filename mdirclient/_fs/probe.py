"""What a file system is. Reads only."""

from __future__ import annotations

import os

import attrs

#: File systems on which locks and shared memory do not reach all who see the files.
NETWORK_TYPES = frozenset(
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "afs",
        "ceph",
        "glusterfs",
        "fuse.glusterfs",
        "fuse.sshfs",
        "fuse.s3fs",
        "lustre",
        "beegfs",
        "gpfs",
        "ocfs2",
        "gfs2",
        "ncpfs",
    ]
)


def filesystem_type(path: str | os.PathLike[str]) -> str | None:
    """The type of the file system that holds `path` (which may not exist yet), as in mount(8).

    None where the system does not tell (anything but Linux).
    """
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            rows = file.read().splitlines()
    except OSError:
        return None
    real = os.path.realpath(path)
    best, kind = "", None
    for row in rows:
        # Source: proc(5): field 5 is the mount point, the type follows the lone hyphen.
        fields, _, rest = row.partition(b" - ")
        point = os.fsdecode(fields.split(b" ")[4].replace(b"\\040", b" "))
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, rest.split(b" ")[0].decode()
    return kind


@attrs.frozen
class FileSystem:
    """What a file system can do, as it was found by trying.

    Attributes:
        type: as in mount(8), or None where the system does not tell.
        is_network: on which locks and times may not reach all who see the files.
        is_writable: without that nothing else could be tried.
        has_hard_links: else names are reserved and replaced.
        is_case_sensitive: `a` and `A` are two files.
        keeps_normal_forms: the same name in NFC and NFD is two files.
        keeps_times: times of change are kept to the nanosecond.
        longest_name: in bytes of ASCII.
    """

    type: str | None
    is_network: bool
    is_writable: bool = False
    has_hard_links: bool = False
    is_case_sensitive: bool = False
    keeps_normal_forms: bool = False
    keeps_times: bool = False
    longest_name: int = 0


def is_network_filesystem(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is on a network file system, as far as the system tells."""
    return filesystem_type(path) in NETWORK_TYPES


def free_bytes(path: str) -> int:
    """Bytes that whoever runs this may still write to the file system of a path."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize
