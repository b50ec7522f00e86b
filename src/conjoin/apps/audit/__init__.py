"""`conjoin audit`: the paper's tables measured again, theirs beside ours; uses the public API and generated models."""

from conjoin.apps.audit.report import Audit
from conjoin.apps.audit.running import Request, run

__all__ = ["Audit", "Request", "run"]
