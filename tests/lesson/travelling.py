"""The models that travel between services."""

from __future__ import annotations

from lesson import calls, models

MODELS: tuple[type[models.Model], ...] = tuple(
    dict.fromkeys(
        kind
        for kind in (*vars(models).values(), *vars(calls).values())
        if isinstance(kind, type) and issubclass(kind, models.Model) and kind is not models.Model
    )
)
