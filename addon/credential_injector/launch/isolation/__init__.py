"""A command in namespaces of its own (Linux), in which its connections to configured hosts reach the proxy.

Every other connection goes straight on, unopened. The command needs no variable, and nobody needs to be root.
"""

from credential_injector.launch.isolation.isolated import Prefix, isolated

__all__ = ["Prefix", "isolated"]
