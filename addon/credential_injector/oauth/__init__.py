"""One token request (RFC 6749): from what a file says to a token or a failure."""
