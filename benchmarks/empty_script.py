"""A script with an add-on that does nothing, to see what mitmproxy itself takes for having one."""


class Empty:
    """No hooks."""

    name = "empty"


addons = [Empty()]
