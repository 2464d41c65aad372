"""Takes the file system away from this process, save for the folders it names.

Landlock is a part of the Linux kernel that needs no privilege. What a foreign model can read it could put into its
answers, so the sandbox sees Python, the system's libraries and its own folder, and neither keys nor other models.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Iterable

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446  # the same numbers on every processor
_PATH_BENEATH = 1
_GET_VERSION = 1
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE
_RIGHTS_BY_VERSION = {1: 13, 2: 14, 3: 15}


def deny_files(readable: Iterable[str], writable: Iterable[str]) -> bool:
    """Denies all files but those named and what lies beneath them; ``False`` where this platform cannot.

    Args:
        readable: Files and folders that may be read; one that is missing is left out.
        writable: Files and folders that may be changed too.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    version = _call(libc, _CREATE, None, 0, _GET_VERSION)
    if version < 1:
        return False
    everything = (1 << _RIGHTS_BY_VERSION.get(version, 15)) - 1
    attributes = struct.pack("=Q", everything)
    rules = _call(libc, _CREATE, attributes, len(attributes), 0)
    if rules < 0:
        return False
    try:
        for paths, rights in ((readable, _READ), (writable, everything)):
            for path in paths:
                _allow(libc, rules, path, rights)
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            return False
        return _call(libc, _RESTRICT, rules, 0) == 0
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: str, rights: int) -> None:
    try:
        target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _OF_FILES
        _call(libc, _ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", rights, target), 0)
    finally:
        os.close(target)


def _call(libc: ctypes.CDLL, number: int, *arguments: int | bytes | None) -> int:
    converted = (ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments)
    return int(libc.syscall(ctypes.c_long(number), *converted))
