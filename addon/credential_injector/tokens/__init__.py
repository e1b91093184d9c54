"""The current token of an identity: fetched, renewed, stored."""
