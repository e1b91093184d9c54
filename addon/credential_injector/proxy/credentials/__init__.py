"""What goes into a request: the only code that knows where a token is written there."""

from credential_injector.environments.environment import Environment
from credential_injector.proxy.credentials.credential import Credential
from credential_injector.proxy.credentials.header import HeaderCredential


def credential_of(environment: Environment) -> Credential:
    """How this environment's token goes into a request."""
    return HeaderCredential(environment)
