"""Strandline: why a PyTorch run was out of memory, which setting would have needed less, and what a pool would need.

>>> import strandline
>>> print(strandline.plan(TRACES / "vit_infer.csv.gz").bytes)
67756032

Each function runs the command of its name and returns its report as an object. The work runs in a process of its own, so other
threads run on; Ctrl-C ends it at once.
"""

from ._api import compare, diff, explain, fit, plan, replay
from ._progress import Progress
from ._torch import Recording, record
from ._version import __version__ as __version__
from ._view import Picture
from .errors import CommandError, InputError, RecordError, StrandlineError
from .reports import Comparison, Diff, Explanation, Fit, Plan, Replay, Report

__all__ = [
    "CommandError", "Comparison", "Diff", "Explanation", "Fit", "InputError", "Picture", "Plan", "Progress", "RecordError", "Recording",
    "Replay", "Report", "StrandlineError", "__version__", "compare", "diff", "explain", "fit", "plan", "record", "replay",
]
