"""What ``make fuzz`` demands of every answer; schemathesis loads this in its own environment."""

from __future__ import annotations

from typing import Any

import schemathesis

FAULTS = {"INTERNAL", "UNAVAILABLE"}


@schemathesis.check
def answered_well(context: Any, response: Any, case: Any) -> None:
    """No 5xx, no fault, always a well-formed answer."""
    body = response.json()
    codes = {error["extensions"]["code"] for error in body.get("errors", ())}
    assert response.status_code < 500, response.status_code
    assert not codes & FAULTS, codes
    assert "data" in body or codes
