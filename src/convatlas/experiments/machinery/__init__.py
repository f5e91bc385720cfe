"""The machinery that all experiments share: plans as values, their conduct, verdicts, pictures and pages."""
