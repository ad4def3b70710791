from .. import REGISTERS

# Records are read without torch.
if REGISTERS:
    from .metrics.adaptation_metric import AdaptationMetric
    from .metrics.boundary_metric import BoundaryMetric

__all__ = ['AdaptationMetric', 'BoundaryMetric']
