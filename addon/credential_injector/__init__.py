"""A mitmproxy add-on that makes any client's requests arrive authenticated."""

__version__ = "0.1.0"
