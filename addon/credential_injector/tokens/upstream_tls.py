"""TLS to an API, tried as mitmproxy does it when it sends a request there (mitmproxy/addons/tlsconfig.py)."""

import asyncio
import os
import ssl
from dataclasses import dataclass
from typing import Literal

import certifi

from credential_injector.oauth.addresses import connected
from credential_injector.origins.origin import Origin

DEADLINE = 10.0  # seconds for all of a trial

# What to do, by OpenSSL's number of what is wrong with a certificate (openssl-verification-options(1)).
_NAME = "check HOST in {file}, or have the certificate issued for that name, too"
_ADVICE = {
    9: "check this machine's clock",  # X509_V_ERR_CERT_NOT_YET_VALID
    10: "have it renewed",  # X509_V_ERR_CERT_HAS_EXPIRED
    62: _NAME,  # X509_V_ERR_HOSTNAME_MISMATCH
    64: _NAME,  # X509_V_ERR_IP_ADDRESS_MISMATCH
}
_AUTHORITY = (
    "put the authority that issued it into a file, beside the public ones, and name that file: to mitmproxy with"
    " --set ssl_verify_upstream_trusted_ca=ca.pem, here with --upstream-ca ca.pem"
)


class Trust:
    """Whom mitmproxy trusts: the authorities in `ca_file` alone, or else those of certifi.

    Raises ValueError.
    """

    def __init__(self, ca_file: str = "") -> None:
        self.ca_file = ca_file
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.hostname_checks_common_name = False
        try:
            self.context.load_verify_locations(ca_file or certifi.where())
        except OSError:  # of which ssl.SSLError is one
            raise ValueError("cannot be read; expected a file of PEM certificates") from None


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of a TLS handshake."""

    result: Literal["verified", "NOT TRUSTED", "NO TLS", "not reached"]
    problem: str = ""
    """Why mitmproxy refuses this server, and what to do."""
    note: str = ""
    """Why it is not known, and what to do: mitmproxy may be set up to get there all the same."""


async def attempt(origin: Origin, trust: Trust, file: str, deadline: float = DEADLINE) -> Trial:
    """Connect to an https origin, and verify its server as mitmproxy would.

    `file` is the environment's, as messages name it.
    """
    try:
        async with asyncio.timeout(deadline):
            sock = await connected(origin.host, origin.port)
            _, writer = await asyncio.open_connection(sock=sock, ssl=trust.context, server_hostname=origin.host)
    except ssl.SSLCertVerificationError as error:
        advice = _ADVICE.get(error.verify_code, _AUTHORITY).format(file=file)
        cause = error.verify_message.rstrip(".")
        return Trial("NOT TRUSTED", problem=f"mitmproxy refuses its certificate ({cause}); {advice}")
    except ssl.SSLError as error:
        cause = (error.reason or "no reason given").lower().replace("_", " ")
        if "alert" not in cause:
            problem = f"it does not speak TLS as mitmproxy does ({cause}); check scheme and port of HOST in {file}"
            return Trial("NO TLS", problem=problem)
        note = f"it ends the TLS handshake ({cause}); it may want a certificate, which mitmproxy's client_certs names"
        return Trial("not reached", note=note)
    except (OSError, UnicodeError) as error:
        note = f"it cannot be reached from here ({_cause(error, deadline)}), so its certificate was not seen"
        return Trial("not reached", note=f"{note}; check HOST in {file}, and the network or VPN")
    writer.transport.abort()  # close() would wait for the server
    return Trial("verified")


def _cause(error: OSError | UnicodeError, deadline: float) -> str:
    if isinstance(error, TimeoutError) and error.errno is None:
        return f"no answer within {deadline:.0f} s"
    if isinstance(error, OSError) and error.errno:
        # A resolver's errors are negative numbers; asyncio's own text repeats the address.
        return os.strerror(error.errno) if error.errno > 0 else error.strerror or "its name is not known"
    return "no connection"
