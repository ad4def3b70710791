"""A PASCAL-like source set and a Cityscapes-like target set, both drawn."""
