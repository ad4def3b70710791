"""What a run is: its folder, record, header and config, and what is checked before it starts."""
