"""What a folder for browsers holds besides the network: a script and a page."""
