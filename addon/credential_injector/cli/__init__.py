"""The command line: `credential-injector`."""
