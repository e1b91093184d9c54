"""One token request (RFC 6749): what a file says -> a token, or why there is none."""
