"""What other programs know about an API's credentials -> environment files."""
