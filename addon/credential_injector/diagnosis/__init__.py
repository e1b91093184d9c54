"""Why the API refuses a request that carries our token: evidence -> a cause and an advice. All of it is pure."""
