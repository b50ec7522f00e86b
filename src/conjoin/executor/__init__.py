"""The executor: streams a plan over a store into a checkpoint folder with a receipt; never decides about the result."""

from conjoin.executor.execute import execute
from conjoin.executor.receipt import Receipt
from conjoin.executor.running import RunningReport, RunningSums
from conjoin.executor.verify import check_output

__all__ = ["Receipt", "RunningReport", "RunningSums", "check_output", "execute"]
