"""Use trained models: on photographs and videos, with other CRFs, and as ONNX.

Tools import it; ``import mmseg_deeplab_study`` does not.
"""
