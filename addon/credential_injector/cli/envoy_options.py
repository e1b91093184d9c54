"""What the options of `credential-injector envoy` ask for. Each function raises WrongCall."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from credential_injector.cli.output import WrongCall
from credential_injector.environments.spelling import did_you_mean
from credential_injector.envoy.configuration import Wanted
from credential_injector.envoy.listeners import Address, Reverse, networks
from credential_injector.envoy.paths import Paths
from credential_injector.launch.envoy import not_free
from credential_injector.origins.clients import Network, parse_networks
from credential_injector.origins.hosts import is_address

MOST_GROUPS = 2**32 - 2
_TO_DO = {os.strerror(errno.EADDRINUSE): "end the program that listens there, or name another port"}
_ELSE = "name an address of this machine and a port that this user may use"


def wanted_by(listen: str, reverses: Sequence[str], clients: str, admin: int, names: Sequence[str]) -> Wanted:
    """What --listen, --reverse, --clients and --admin say; `names` are those of the environments."""
    return Wanted(
        _address("--listen", listen),
        _reverses(reverses, names),
        tuple(networks(_clients(clients))),
        number("--admin", admin, 65535),
    )


def _address(option: str, text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise WrongCall(f"{option} {text}: is malformed; expected an address such as 127.0.0.1:8080")
    in_brackets = host.startswith("[") and host.endswith("]")
    host = {"": "127.0.0.1", "localhost": "127.0.0.1"}.get(host, host[1:-1] if in_brackets else host)
    if not is_address(host) or (":" in host) != in_brackets:
        raise WrongCall(f"{option} {text}: is malformed; expected an IP address, and [::1]:8080 for one of IPv6")
    return Address(host, int(port))


def _reverses(texts: Sequence[str], names: Sequence[str]) -> tuple[Reverse, ...]:
    found: dict[str, Reverse] = {}
    for text in texts:
        name, equals, address = text.partition("=")
        if not equals or not name:
            raise WrongCall(f"--reverse {text}: is malformed; expected NAME=ADDRESS such as qa=127.0.0.1:9001")
        if name in found:
            raise WrongCall(f"--reverse {name}: is there twice; name one address for each environment")
        if name not in names:
            meant = did_you_mean(name, names, cutoff=0.5) or f"; expected one of {', '.join(names)}"
            raise WrongCall(f"--reverse {name}: is none of the environments{meant}")
        found[name] = Reverse(name, _address(f"--reverse {name}", address))
        if not found[name].address.port:
            raise WrongCall(f"--reverse {name} {address}: name a port, which the clients' Host has to say, too")
    return tuple(found.values())


def check_places(wanted: Wanted, *, config_only: bool) -> None:
    """Each may be used once, and be free. Envoy itself would share a port with another Envoy."""
    places = [("--listen", wanted.listen), ("--admin", Address("127.0.0.1", wanted.admin_port))]
    places += [(f"--reverse {one.environment}", one.address) for one in wanted.reverse]
    taken: dict[Address, str] = {}
    for option, address in places:
        if not address.port:
            continue
        if (other := taken.setdefault(address, option)) != option:
            raise WrongCall(f"{option} {address}: is that of {other}, too; name another port")
        if not config_only and (why := not_free(*address)) is not None:
            raise WrongCall(f"{option} {address}: cannot listen there ({why}); {_TO_DO.get(why, _ELSE)}")


def number(option: str, given: int, most: int) -> int:
    """A number that may not be larger."""
    if not 0 <= given <= most:
        raise WrongCall(f"{option} {given}: expected a number from 0 to {most}")
    return given


def _clients(text: str) -> list[Network]:
    try:
        found = parse_networks(text)
    except ValueError as error:
        raise WrongCall(f"--clients: {error}") from None
    if not found:
        raise WrongCall("--clients: names no network; expected loopback or a CIDR such as 192.168.1.23/32")
    return found


def own_folder(given: str | None, *, config_only: bool) -> Path | None:
    """The folder that --dir names; None where it names none."""
    if given is None:
        if config_only:
            raise WrongCall("--config-only: name the folder that the other Envoy reads: --dir DIR")
        return None
    path = Path(given).absolute()
    if any(character in str(path) for character in ':()%"\n'):
        raise WrongCall(f"--dir {given}: Envoy cannot read a path with one of : ( ) % in it; name another folder")
    if path.exists() and (not path.is_dir() or path.stat().st_uid != os.geteuid()):
        raise WrongCall(f"--dir {given}: is no folder of this user's; name another one")
    # A run that was killed leaves its pipe, which is made first.
    if path.exists() and any(path.iterdir()) and not Path(Paths(str(path)).refusals).is_fifo():
        raise WrongCall(f"--dir {given}: holds files that are not Envoy's; name an empty folder, or a new one")
    return path
