"""Real clients, and what each obeys of what `credential-injector run` sets for it."""
