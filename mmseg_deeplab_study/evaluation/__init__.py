from .. import REGISTERS

# Records are read without torch.
if REGISTERS:
    from .adaptation_metric import AdaptationMetric
    from .boundary_metric import BoundaryMetric

__all__ = ['AdaptationMetric', 'BoundaryMetric']
