"""A seccomp filter for programs in the sandbox: a second wall behind the namespaces.

It is a classic BPF program (Linux Documentation/userspace-api/seccomp_filter.rst) that `bwrap --seccomp` loads.

Denied with EPERM: looking into other processes, new namespaces and mounts, kernel interfaces that no solution of a
problem needs, and memory that no limit counts (memfd, System V and POSIX queues). Sockets are Unix sockets only: a
network namespace does not hold AF_VSOCK back, which reaches the host of a virtual machine.
"""

import errno
import platform
import struct
from typing import NamedTuple

# name: (x86-64, arm64); -1 where there is none
DENIED = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "syslog": (103, 116),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "iopl": (172, -1),
    "ioperm": (173, -1),
}


class Machine(NamedTuple):
    """What differs between processors."""

    column: int  # in DENIED
    arch: int  # AUDIT_ARCH
    socket: int  # numbers of the system calls
    clone: int


MACHINES = {
    "x86_64": Machine(0, 0xC000003E, socket=41, clone=56),
    "aarch64": Machine(1, 0xC00000B7, socket=198, clone=220),
}
CLONE3 = 435  # on both
AF_UNIX = 1
NEW_NAMESPACES = 0x7E020000  # the flags of clone that make them
X32 = 0x40000000  # system calls from here on are those of the x32 interface

# codes of instructions: load a word; jump if equal, at least, any bit set; return
_LOAD, _EQUAL, _AT_LEAST = 0x20, 0x15, 0x35
_ANY_BIT, _RETURN = 0x45, 0x06
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data; little endian: the low word of an argument
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000


def filter_program(machine: str = platform.machine()) -> bytes | None:
    """The filter as an array of struct sock_filter, or None for a processor that it is not written for."""
    if machine not in MACHINES:
        return None
    rules = MACHINES[machine]
    program = [_op(_LOAD, _ARCH), _op(_EQUAL, rules.arch, 1, 0), _op(_RETURN, _KILL), _op(_LOAD, _NUMBER)]
    if machine == "x86_64":
        program += [_op(_AT_LEAST, X32, 0, 1), _refuse(errno.ENOSYS)]
    for numbers in DENIED.values():
        if numbers[rules.column] >= 0:
            program += [_op(_EQUAL, numbers[rules.column], 0, 1), _refuse(errno.EPERM)]
    # The flags of clone3 lie in memory, out of a filter's sight: C libraries fall back to clone.
    program += [_op(_EQUAL, CLONE3, 0, 1), _refuse(errno.ENOSYS)]
    program += [
        _op(_EQUAL, rules.clone, 0, 4),
        _op(_LOAD, _FIRST_ARGUMENT),
        _op(_ANY_BIT, NEW_NAMESPACES, 0, 1),
        _refuse(errno.EPERM),
        _op(_RETURN, _ALLOW),
    ]
    program += [
        _op(_EQUAL, rules.socket, 0, 3),
        _op(_LOAD, _FIRST_ARGUMENT),
        _op(_EQUAL, AF_UNIX, 1, 0),
        _refuse(errno.EAFNOSUPPORT),
    ]
    return b"".join([*program, _op(_RETURN, _ALLOW)])


def _op(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction, a struct sock_filter; `if_true` and `if_false` say how many instructions a jump skips."""
    return struct.pack("<HBBI", code, if_true, if_false, k)


def _refuse(error: int) -> bytes:
    """Ends the filter: the call fails with this error."""
    return _op(_RETURN, _ERROR | error)
