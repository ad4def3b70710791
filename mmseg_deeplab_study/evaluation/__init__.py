from .adaptation_metric import AdaptationMetric
from .boundary_metric import BoundaryMetric

__all__ = ['AdaptationMetric', 'BoundaryMetric']
