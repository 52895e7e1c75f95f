"""What the server's process and the trainer's end of a transfer share. It imports no engine."""

import socket

PREFIX = "weights"  # of the keys of one transfer group


def address_towards(host: str, port: int) -> str:
    """The address of this machine from which packets to `host` go."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(address)  # sends nothing
        return str(probe.getsockname()[0])


def free_port(host: str) -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
