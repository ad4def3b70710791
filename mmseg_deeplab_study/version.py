"""The version, which setup.cfg and records read."""

__version__ = '0.1.0'
