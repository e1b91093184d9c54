"""`python -m credential_injector.cli`."""

from credential_injector.cli.main import main

main(prog_name="credential-injector")
