"""What a command's process tree needs in its environment, to send its requests to a proxy and to trust its CA. Pure."""

from collections.abc import Mapping

from credential_injector.launch.files import Files


def variables(proxy: str | None, files: Files) -> Mapping[str, str | None]:
    """The variables by name; None: it must not be set.

    `proxy` is the proxy's URL, None where connections are led there without the program's doing: then only the
    variables for trust are in it.
    """
    trust = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), str(files.bundle))
    to_proxy: dict[str, str | None] = {}
    if proxy is not None:
        to_proxy = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), proxy)
        to_proxy |= {"NO_PROXY": "", "no_proxy": ""}
    return {**to_proxy, **trust, "NODE_EXTRA_CA_CERTS": str(files.ca), "SSL_CERT_DIR": None}
