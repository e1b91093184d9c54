"""A mitmproxy add-on that puts a valid OAuth2 token into requests to your APIs, whatever client sends them."""

__version__ = "0.1.0"
