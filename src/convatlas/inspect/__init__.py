"""Looking inside: reports, plots and what they draw."""
