"""A program that runs in the namespaces of a command, in two parts; it needs Linux and Python's standard library only.

`hold CHANNEL` makes the namespaces and what is in them, hands its sockets out, and makes more of them until the channel
closes. `enter PID FOLDER -- COMMAND` enters what another process holds, and becomes the command.
"""

import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys

# linux/sched.h, linux/mount.h, linux/sockios.h, linux/route.h, linux/prctl.h
NEW_MOUNTS, NEW_USER, NEW_NET = 0x00020000, 0x10000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
SIOCADDRT, SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK, IFF_UP, RTF_UP = 0x890B, 0x8914, 0x8916, 0x891C, 0x1, 0x1
PR_SET_PDEATHSIG = 1

MARK = 0x6372  # of connections that stay in here
# From which connections come: Linux takes no loopback address for those to elsewhere. (RFC 5737, RFC 3849)
OWN_ADDRESS, OWN_ADDRESS_6 = "192.0.2.1", "2001:db8::1"

_RULES = """
table inet credential_injector {{
    chain connections {{
        type nat hook output priority -100;
        meta mark {mark} accept
        meta l4proto tcp redirect to :{tcp}
        udp dport 53 redirect to :{udp}
    }}
    chain others {{
        type filter hook output priority 0;
        meta l4proto udp ip daddr 127.0.0.0/8 accept
        meta l4proto udp ip6 daddr ::1 accept
        meta l4proto udp reject
    }}
}}
"""

_libc = ctypes.CDLL(None, use_errno=True)


class NotAllowed(Exception):
    """The machine does not let this user do it."""


def _call(what: str, function: str, *arguments: object) -> None:
    if getattr(_libc, function)(*arguments) != 0:
        raise NotAllowed(f"{what}: {os.strerror(ctypes.get_errno())}")


# --- hold -------------------------------------------------------------------------------------------------------------


def hold(channel: socket.socket) -> None:
    """Make the namespaces, send three sockets, then one for each byte that comes."""
    _call("prctl", "prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
    given = json.loads(channel.recv(1 << 16))
    try:
        _make_namespaces()
        _call("mount", "mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
        for source, target in given["mounts"]:
            _call(f"mount {target}", "mount", os.fsencode(source), os.fsencode(target), None, MS_BIND, None)
        sockets = _connect_everything()
    except (NotAllowed, OSError) as error:
        channel.sendall(json.dumps(str(error)).encode())
        return
    socket.send_fds(channel, [b"null"], [one.fileno() for one in sockets])
    while order := channel.recv(1):
        with socket.socket(socket.AF_INET6 if order == b"6" else socket.AF_INET) as made:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
            socket.send_fds(channel, [b"made"], [made.fileno()])


def _make_namespaces() -> None:
    user, group = os.geteuid(), os.getegid()
    if user == 0 and _libc.unshare(NEW_NET | NEW_MOUNTS) == 0:
        return  # root needs no user namespace, in which it would be less
    _call("user namespaces", "unshare", NEW_USER | NEW_NET | NEW_MOUNTS)
    _map(f"0 {user} 1", f"0 {group} 1")


def _map(user: str, group: str) -> None:
    for file, text in (("setgroups", "deny"), ("uid_map", user), ("gid_map", group)):
        with open(f"/proc/self/{file}", "w", encoding="ascii") as opened:
            opened.write(text)


def _connect_everything() -> list[socket.socket]:
    """Lead every TCP connection and every look-up of a name to these sockets: TCP of IPv4, of IPv6, and UDP."""
    _set_up_network()
    tcp = socket.create_server(("127.0.0.1", 0), backlog=1024)
    port = tcp.getsockname()[1]
    tcp6 = socket.create_server(("::1", port), family=socket.AF_INET6, backlog=1024)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    rules = _RULES.format(mark=MARK, tcp=port, udp=udp.getsockname()[1])
    nft = shutil.which("nft", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if nft is None:
        raise NotAllowed("the program nft is missing; install nftables")
    done = subprocess.run([nft, "-f", "-"], input=rules, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotAllowed(f"nft: {' '.join(done.stderr.split())[:200]}")
    return [tcp, tcp6, udp]


def _set_up_network() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))
        for request, address in ((SIOCSIFADDR, OWN_ADDRESS), (SIOCSIFNETMASK, "255.255.255.255")):
            named = struct.pack("16sHH4s16x", b"lo:1", socket.AF_INET, 0, socket.inet_aton(address))
            fcntl.ioctl(any_socket, request, named)
        device = ctypes.create_string_buffer(b"lo")
        anywhere = struct.pack("HH4s8x", socket.AF_INET, 0, bytes(4))
        # struct rtentry: pad, destination, gateway, mask, flags, ..., device
        route = struct.pack(
            "@L16s16s16sHhLPhPLLH",
            0,
            anywhere,
            bytes(16),
            anywhere,
            RTF_UP,
            0,
            0,
            0,
            0,
            ctypes.addressof(device),
            0,
            0,
            0,
        )
        fcntl.ioctl(any_socket, SIOCADDRT, route)
    index = socket.if_nametoindex("lo")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as any_socket:
        own6 = socket.inet_pton(socket.AF_INET6, OWN_ADDRESS_6)
        fcntl.ioctl(any_socket, SIOCSIFADDR, struct.pack("16sIi", own6, 128, index))
        # struct in6_rtmsg: destination, source, gateway, type, two lengths, metric, info, flags, index
        route = struct.pack("@16s16s16sIHHILIi", bytes(16), bytes(16), bytes(16), 0, 0, 0, 1, 0, RTF_UP, index)
        fcntl.ioctl(any_socket, SIOCADDRT, route)


# --- enter ------------------------------------------------------------------------------------------------------------


def enter(holder: str, folder: str, command: list[str]) -> None:
    """Become the command, as the same user, in there."""
    user, group = os.geteuid(), os.getegid()
    kinds = (
        ("user", "net", "mnt")
        if os.readlink(f"/proc/{holder}/ns/user") != os.readlink("/proc/self/ns/user")
        else ("net", "mnt")
    )
    opened = [os.open(f"/proc/{holder}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds]
    for kind, namespace in zip(kinds, opened, strict=True):
        _call(f"enter {kind}", "setns", namespace, 0)
    if "user" in kinds:
        # In there this user is 0. Another one gives the number back, and takes the power over the network away.
        _call("user namespaces", "unshare", NEW_USER)
        _map(f"{user} 0 1", f"{group} 0 1")
    os.chdir(folder)
    try:
        os.execvp(command[0], command)
    except FileNotFoundError:
        sys.exit(_failed(f"{command[0]}: command not found", 127))
    except OSError as error:
        sys.exit(_failed(f"{command[0]}: {error.strerror}", 126))


def _failed(line: str, code: int) -> int:
    print(f"credential-injector: {line}", file=sys.stderr)  # noqa: T201 - there is nobody else to tell it
    return code


if __name__ == "__main__":
    if sys.argv[1] == "hold":
        hold(socket.socket(fileno=int(sys.argv[2])))
    else:
        enter(sys.argv[2], sys.argv[3], sys.argv[5:])
