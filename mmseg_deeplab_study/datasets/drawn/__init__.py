"""A PASCAL-like source set and a Cityscapes-like target set, drawn by ourselves."""
