"""What is loaded into Node and Python programs that do not use a proxy by themselves. It runs in their processes."""
