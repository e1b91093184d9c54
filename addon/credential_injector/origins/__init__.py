"""Where a request goes, and where a credential may go. Pure."""
