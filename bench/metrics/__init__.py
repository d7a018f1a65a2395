"""What a score is: metrics of labels, tokens, spans and texts, and calibration."""
