"""curl's options that take a value, as in `curl --help all` of its versions 7.88 to 8. Pure."""

from collections.abc import Sequence

FOR = {
    "data": "data",
    "data-ascii": "data",
    "data-binary": "data",
    "data-raw": "data",
    "data-urlencode": "urlencode",
    "json": "data",
    "form": "form",
    "form-string": "form-string",
    "user": "user",
    "header": "header",
    "url": "url",
    "cacert": "cacert",
    "cert": "cert",
    "key": "key",
}
"""What the options are for that say something about a token request."""

_SHORT = {"d": "data", "F": "form", "u": "user", "H": "header", "E": "cert"}
_SHORT_WITH_VALUE = "".join(_SHORT) + "AbcCDehKmoPQrtTUwxXyYz"
_OTHERS = frozenset(
    """
    abstract-unix-socket alt-svc aws-sigv4 capath cert-type ciphers config connect-timeout connect-to continue-at
    cookie cookie-jar create-file-mode crlfile curves delegation dns-interface dns-ipv4-addr dns-ipv6-addr
    dns-servers doh-url dump-header ech egd-file engine etag-compare etag-save expect100-timeout ftp-account
    ftp-alternative-to-user ftp-method ftp-port ftp-ssl-ccc-mode happy-eyeballs-timeout-ms haproxy-clientip
    hostpubmd5 hostpubsha256 hsts interface ip-tos ipfs-gateway keepalive-cnt keepalive-time key-type krb libcurl
    limit-rate local-port login-options mail-auth mail-from mail-rcpt max-filesize max-redirs max-time netrc-file
    noproxy oauth2-bearer output output-dir parallel-max pass pinnedpubkey preproxy proto proto-default proto-redir
    proxy proxy-cacert proxy-capath proxy-cert proxy-cert-type proxy-ciphers proxy-crlfile proxy-header proxy-key
    proxy-key-type proxy-pass proxy-pinnedpubkey proxy-service-name proxy-tls13-ciphers proxy-tlsauthtype
    proxy-tlspassword proxy-tlsuser proxy-user proxy1.0 pubkey quote random-file range rate referer request
    request-target resolve retry retry-delay retry-max-time sasl-authzid service-name socks4 socks4a socks5
    socks5-gssapi-service socks5-hostname speed-limit speed-time stderr telnet-option tftp-blksize time-cond tls-max
    tls13-ciphers tlsauthtype tlspassword tlsuser trace trace-ascii trace-config unix-socket upload-file url-query
    user-agent variable vlan-priority write-out
    """.split()  # noqa: SIM905 - a list would be a hundred lines
)


def options(words: Sequence[str]) -> list[tuple[str, str]]:
    """What each word is for, with its value. Raises ValueError, which names an option that has no value."""
    found, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            found.append(("url", word))
            continue
        if word.startswith("--"):
            name, is_joined, value = word[2:].partition("=")
            takes = name in FOR or name in _OTHERS
            purpose = FOR.get(name, "")
        else:
            # -sSd VALUE: the first that takes a value takes what follows.
            place = next((at for at, one in enumerate(word) if at and one in _SHORT_WITH_VALUE), 0)
            takes, value = place > 0, word[place + 1 :] if place else ""
            is_joined, purpose = value, _SHORT.get(word[place], "")
        if not takes:
            continue
        if not is_joined:
            if not rest:
                raise ValueError(word)
            value = rest.pop(0)
        found.append((purpose, value))
    return found
