"""What an adaptation is measured by: metrics, figures of a curve, intervals."""

from .. import REGISTERS

# Records are read without torch.
if REGISTERS:
    from .metrics.adaptation_metric import AdaptationMetric
    from .metrics.boundary_metric import BoundaryMetric

__all__ = ['AdaptationMetric', 'BoundaryMetric']
