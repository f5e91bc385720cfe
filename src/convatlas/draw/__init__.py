"""The drawing kit: sheets, cells, plots, HTML."""
