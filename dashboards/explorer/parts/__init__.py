"""The parts of the page, in the order in which they draw."""

from .aiming import Aiming
from .choosing import Choosing
from .classes import Classes
from .gaps import Gaps
from .generating import Generating
from .group import Group
from .history import History
from .legend import Legend
from .metrics import Metrics
from .overlays import Overlays
from .page import Page
from .report import Report
from .result import Result
from .scene import Scene
from .selecting import Selecting
from .table import Table
from .votes import Votes

PARTS = (
    Page,
    Choosing,
    Scene,
    Overlays,
    Legend,
    Selecting,
    Group,
    Table,
    Aiming,
    Generating,
    Result,
    Gaps,
    Report,
    History,
    Metrics,
    Classes,
    Votes,
)
