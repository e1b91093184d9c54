"""Where a request goes, and where a credential may go. All of it is pure."""
