"""Python reads this file at start-up when its folder is on PYTHONPATH: every connection to the outside is refused.

An audit hook sees each call of the socket module, also through names that were imported before, and cannot be removed.
The machine itself stays reachable (loopback, unix sockets): the notebook's kernel is spoken to that way.
"""

import ipaddress
import sys

_ADDRESS = {"socket.connect": 1, "socket.sendto": 1, "socket.sendmsg": 1}  # event -> position of the address
_HOST = {"socket.getaddrinfo": 0, "socket.gethostbyname": 0}


def _is_local(host):
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if not host or host == "localhost":  # no host: a wildcard to listen on
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def _refuse_outside(event, arguments):
    if event in _ADDRESS:
        address = arguments[_ADDRESS[event]]
        host = address[0] if isinstance(address, tuple) else None  # a path or None: a unix or a connected socket
    elif event in _HOST:
        host = arguments[_HOST[event]]
    else:
        return
    if not _is_local(host):
        raise ConnectionRefusedError(f"outside connections are refused in this run: {host!r} ({event})")


sys.addaudithook(_refuse_outside)
