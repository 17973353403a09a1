"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One row of the table. `next_step` is empty when there is nothing to do."""

    name: str
    state: State
    message: str
    next_step: str = ""
