"""What all experiments share: plans as values, their conduct, verdicts, pictures and pages."""
