"""What records say: analyses, the page, the figures of a paper. Imports no models."""
