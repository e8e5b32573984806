"""Prints the TCP ports that something listens on in this network namespace, those on loopback left out."""

from pathlib import Path

LISTENS = "0A"
LOOPBACKS = ("7F", "0" * 24 + "01000000")  # little-endian, as the kernel prints them


def is_loopback(address: str) -> bool:
    """Whether the kernel's hexadecimal address is a loopback one."""
    return address[6:8] == LOOPBACKS[0] if len(address) == 8 else address == LOOPBACKS[1]


for table in ("tcp", "tcp6"):
    path = Path("/proc/net") / table
    for row in path.read_text().splitlines()[1:] if path.exists() else []:
        local, state = row.split()[1], row.split()[3]
        address, port = local.split(":")
        if state == LISTENS and not is_loopback(address):
            print(int(port, 16))
