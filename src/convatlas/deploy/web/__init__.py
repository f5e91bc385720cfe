"""Files of a folder for browsers, besides the network: a script and a page."""
