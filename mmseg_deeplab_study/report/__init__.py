"""What records say: analyses, the page, the figures of a paper. Reads files alone, and imports no models."""
