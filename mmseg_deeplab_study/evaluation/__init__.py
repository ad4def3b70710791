from .adaptation_metric import AdaptationMetric

__all__ = ['AdaptationMetric']
