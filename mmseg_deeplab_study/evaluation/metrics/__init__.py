"""The metrics, and the scores they come to."""
