"""A command whose requests go through mitmproxy: what it needs for that, and how it is started."""
