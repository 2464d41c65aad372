"""Takes system calls away from this process: no network, no other programs, no other processes.

A filter of the Linux kernel, written in its own small language and handed over through ctypes. A call that is denied
answers EPERM, so that a library that only probes goes on. It cannot be undone and holds for all threads.
"""

import ctypes
import os
import platform
import struct
import sys
from dataclasses import dataclass

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER = 1
_FLAG_TSYNC = 1

_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_EPERM = 0x00050000 | 1
_ENOSYS = 0x00050000 | 38

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_CLONE_THREAD = 0x00010000
_X32 = 0x40000000


@dataclass(frozen=True)
class _Machine:
    """The numbers of system calls on one kind of processor."""

    audit: int
    seccomp: int
    clone: int
    clone3: int
    signals: tuple[int, ...]
    limits: int
    denied: tuple[int, ...]


# What is denied, in this order: socket, socketpair, bind, listen, accept, accept4, connect, sendto, sendmsg, sendmmsg,
# recvfrom, recvmsg, recvmmsg; execve, execveat, ptrace, process_vm_readv, process_vm_writev, kcmp, pidfd_open,
# pidfd_send_signal, pidfd_getfd, rt_sigqueueinfo, rt_tgsigqueueinfo, kill; mount, umount2, pivot_root, chroot, unshare,
# setns, open_by_handle_at, bpf, perf_event_open, userfaultfd, keyctl, add_key, request_key, io_uring_setup,
# io_uring_enter, io_uring_register, init_module, finit_module, delete_module, kexec_load, reboot, swapon, swapoff.
# X86-64 has fork and vfork too.
_MACHINES = {
    "x86_64": _Machine(
        audit=0xC000003E,
        seccomp=317,
        clone=56,
        clone3=435,
        signals=(234, 200),
        limits=302,
        denied=(41, 53, 49, 50, 43, 288, 42, 44, 46, 307, 45, 47, 299)
        + (59, 322, 101, 310, 311, 312, 434, 424, 438, 129, 297, 62)
        + (165, 166, 155, 161, 272, 308, 304, 321, 298, 323, 250, 248, 249, 425, 426, 427)
        + (175, 313, 176, 246, 169, 167, 168, 57, 58),
    ),
    "aarch64": _Machine(
        audit=0xC00000B7,
        seccomp=277,
        clone=220,
        clone3=435,
        signals=(131, 130),
        limits=261,
        denied=(198, 199, 200, 201, 202, 242, 203, 206, 211, 269, 207, 212, 243)
        + (221, 281, 117, 270, 271, 272, 434, 424, 438, 138, 240, 129)
        + (40, 39, 41, 51, 97, 268, 265, 280, 241, 282, 219, 217, 218, 425, 426, 427)
        + (105, 273, 106, 104, 142, 224, 225),
    ),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def deny_system_calls() -> bool:
    """Installs the filter; ``False`` where this platform has none."""
    machine = _MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None or sys.maxsize < 2**32:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    code = _filter(machine)
    instructions = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.addressof(instructions))
    libc.syscall.restype = ctypes.c_long
    answer = libc.syscall(
        ctypes.c_long(machine.seccomp),
        ctypes.c_long(_SET_MODE_FILTER),
        ctypes.c_long(_FLAG_TSYNC),
        ctypes.byref(program),
    )
    return bool(answer == 0)


def _filter(machine: _Machine) -> bytes:
    """The filter's instructions: eight bytes each; jumps count instructions that follow."""
    own = os.getpid()
    code = [
        _step(_LOAD, _ARCHITECTURE_AT),
        _step(_JUMP_EQUAL, machine.audit, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER_AT),
        _step(_JUMP_AT_LEAST, _X32, 0, 1),
        _step(_RETURN, _EPERM),
    ]
    for number in machine.denied:
        code += [_step(_JUMP_EQUAL, number, 0, 1), _step(_RETURN, _EPERM)]
    # The C library falls back to clone, whose flags a filter can see.
    code += [_step(_JUMP_EQUAL, machine.clone3, 0, 1), _step(_RETURN, _ENOSYS)]
    # Threads yes, processes no.
    code += [
        _step(_JUMP_EQUAL, machine.clone, 0, 4),
        _step(_LOAD, _FIRST_ARGUMENT_AT),
        _step(_JUMP_SET, _CLONE_THREAD, 0, 1),
        _step(_RETURN, _ALLOW),
        _step(_RETURN, _EPERM),
    ]
    # Signals and limits for this process only; 0 is this process too where a limit is meant.
    for number in machine.signals:
        code += _only_for(number, own, own)
    code += _only_for(machine.limits, own, 0)
    return b"".join([*code, _step(_RETURN, _ALLOW)])


def _only_for(number: int, one: int, other: int) -> list[bytes]:
    return [
        _step(_JUMP_EQUAL, number, 0, 5),
        _step(_LOAD, _FIRST_ARGUMENT_AT),
        _step(_JUMP_EQUAL, one, 1, 0),
        _step(_JUMP_EQUAL, other, 0, 1),
        _step(_RETURN, _ALLOW),
        _step(_RETURN, _EPERM),
    ]


def _step(operation: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", operation, if_true, if_false, value)
