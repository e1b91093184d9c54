"""An authorization server and a protected API on loopback, to see the add-on at work without any account."""
