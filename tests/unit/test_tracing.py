"""What the suite leaves out of the coverage report is not traced either: tracing is most of what some tests cost."""

import sys
import threading

import pytest


@pytest.mark.no_cover
def test_what_is_left_out_of_the_report_is_not_traced():
    assert sys.gettrace() is None
    assert threading.gettrace() is None
