"""The add-on. Only this package knows mitmproxy."""
