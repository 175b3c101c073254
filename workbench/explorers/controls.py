"""A method's parameters as controls: their bounds, kinds and defaults are those that the method declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import ipywidgets as widgets

from workbench.explorers.parts import slider
from workbench.methods import Parameter, describe

WITHOUT_EFFECT = ("label_smoothing", "mode")
"""Parameters that say nothing about one mixed pair: the first enters the loss, the second only batches."""
UNITS: Mapping[str, str] = {
    "prob": "share",
    "switch_prob": "share",
    "prob_features": "share",
    "sigma_min": "sides",
    "sigma_max": "sides",
    "scale_min": "sides",
    "scale_max": "sides",
    "min_side": "sides",
    "max_side": "sides",
    "cells_min": "cells",
    "cells_max": "cells",
    "grid": "cells",
    "teacher_size": "px",
}
"""What a parameter counts, where it is no pure number."""
LETTER = 7.2
"""Pixels of a letter in a control's description, about."""


@dataclass(frozen=True)
class Controls:
    """A control for each parameter that has one, by name, and in a word those that have none."""

    parameters: Mapping[str, Parameter]
    widgets: Mapping[str, widgets.Widget]
    left_out: tuple[str, ...]

    def values(self) -> dict[str, Any]:
        """The parameters that differ from the method's defaults."""
        found = {name: _held(self.parameters[name], control.value) for name, control in self.widgets.items()}
        return {name: value for name, value in found.items() if value != self.parameters[name].default}

    def set(self, values: Mapping[str, Any]) -> None:
        """Bring the controls to these values, and those that are not named to their defaults."""
        for name, control in self.widgets.items():
            control.value = values.get(name, self.parameters[name].default)

    def word(self) -> str:
        """Which parameters have no control, in a line; empty where all have one."""
        return f"Set in code, not here: {', '.join(self.left_out)}" if self.left_out else ""


def controls(key: str) -> Controls:
    """Controls for the parameters of a method that change one mixed pair, at their defaults."""
    told = [p for p in describe(key) if p.name not in WITHOUT_EFFECT]
    made = {p.name: control for p in told if (control := _control(p)) is not None}
    longest = max((len(control.description) for control in made.values()), default=0)
    for name, control in made.items():
        control.style.description_width = f"{round(LETTER * longest) + 4}px"
        control.add_class(f"wb-parameter-{name}")
    return Controls({p.name: p for p in told}, made, tuple(p.name for p in told if p.name not in made))


def _control(parameter: Parameter) -> widgets.Widget | None:
    """A slider, a choice or a check box; None for what no control can hold, such as a list of numbers."""
    unit = UNITS.get(parameter.name)
    text = f"{parameter.name} ({unit})" if unit else parameter.name
    if get_origin(parameter.kind) is Literal:
        options = list(get_args(parameter.kind))
        return widgets.Dropdown(description=text, options=options, value=parameter.default)
    if parameter.kind is bool:
        return widgets.Checkbox(description=text, value=parameter.default, indent=False)
    if parameter.bounds is None or parameter.kind not in (int, float) or parameter.default is None:
        return None
    low, high = parameter.bounds.low, parameter.bounds.high
    return slider(text, parameter.default, low, high, whole=parameter.kind is int)


def _held(parameter: Parameter, value: Any) -> Any:
    """The value within the declared bounds: the ends of a logarithmic slider can miss them by a rounding."""
    if parameter.bounds is None:
        return value
    return min(max(value, parameter.bounds.low), parameter.bounds.high)
