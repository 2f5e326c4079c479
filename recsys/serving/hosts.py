"""Which addresses stay on this machine, where nobody reads along."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Say whether an address or name is of this machine alone.

    Returns:
        False for names that would have to be looked up, `localhost` excepted.
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
