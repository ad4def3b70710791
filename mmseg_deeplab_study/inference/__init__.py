"""Trained models put to use: on photographs and videos, and as ONNX.

Imported by the tools that need it, not by ``import mmseg_deeplab_study``.
"""
