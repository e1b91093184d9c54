"""How long a failed token request keeps the next one from going out. Pure: no clock, no I/O."""

from credential_injector.oauth.token import Failure

REFUSED_FOR = 60.0  # seconds for which a refusal (wrong secret, wrong scope) is remembered
FIRST_BACK_OFF = 1.0  # seconds after the first failure of another kind; doubled with each further one
# No token request goes out unless a request needs a token, so a longer one would spare the server little, and would
# keep requests waiting for a server that has been back for a long time.
LONGEST_BACK_OFF = 5.0
JITTER = 0.2  # of a back-off, at random, so that many proxies do not return together


def pause(error: Failure, before: Failure | None, *, failures: int, worked: bool, left: float, jitter: float) -> float:
    """Seconds until the next token request.

    `before` is the failure before this one, None after a success; `failures` counts them in a row, this one included.
    `worked`: the same token request has brought a token before. `left`: seconds for which the token at hand serves.
    """
    back_off = min(FIRST_BACK_OFF * 2.0 ** min(failures - 1, 10), LONGEST_BACK_OFF) * (1 - JITTER * jitter)
    if not error.lasting and error.retry_after is None:
        return back_off
    wanted = REFUSED_FOR if error.lasting else max(error.retry_after or 0.0, FIRST_BACK_OFF)
    repeated = before is not None and _kind(before) == _kind(error)
    if repeated or not worked:
        return wanted
    # It worked a moment ago, so this may be a blip. The next try comes late, as a blip may last, but before the token
    # at hand ends.
    if left > 0:
        return min(wanted, max(left / 2, FIRST_BACK_OFF))
    return back_off if error.lasting else wanted


def _kind(error: Failure) -> tuple[bool, bool]:
    return error.lasting, error.retry_after is not None
