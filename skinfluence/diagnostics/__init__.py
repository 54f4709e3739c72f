"""Classical regression diagnostics: leverage, residuals, Cook's distance and their relatives."""

from skinfluence.diagnostics.diagnostics import Diagnostics
from skinfluence.diagnostics.outliers import OutlierTest
from skinfluence.diagnostics.sketched import SketchedDiagnostics

__all__ = ["Diagnostics", "OutlierTest", "SketchedDiagnostics"]
