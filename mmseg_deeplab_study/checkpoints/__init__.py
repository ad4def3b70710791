from .tflite import load_from_tflite

__all__ = ['load_from_tflite']
