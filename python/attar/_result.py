"""What calls return: dicts, as the programs' `--json` has them, whose keys are attributes too."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any


class Result(dict[str, Any]):
    """A dict whose keys are attributes too: `result.bytes` is `result["bytes"]`. json.dumps takes it as it is."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__({key: _wrapped(value) for key, value in values.items()})

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            near = difflib.get_close_matches(name, self, 1)
            hint = f"did you mean `{near[0]}`?" if near else "it has " + ", ".join(self)
            raise AttributeError(f"this {type(self).__name__} has no `{name}`; {hint}") from None

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(key for key in self if key.isidentifier())})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={_short(value)}' for key, value in self.items())})"


def _wrapped(value: Any) -> Any:
    if isinstance(value, dict) and not isinstance(value, Result):
        return Result(value)
    return [_wrapped(item) for item in value] if isinstance(value, list) else value


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return (
            f"{{{len(value)} keys}}"
            if len(value) > 3 or any(isinstance(v, (dict, list)) for v in value.values())
            else "{" + ", ".join(f"{k}: {_short(v)}" for k, v in value.items()) + "}"
        )
    if isinstance(value, list):
        return repr(value) if len(value) <= 3 and not any(isinstance(v, (dict, list)) for v in value) else f"[{len(value)} items]"
    return f"{value[:60]!r}..." if isinstance(value, str) and len(value) > 64 else repr(value)


class Generated(Result):
    """A text that a model wrote: `text`, its `tokens`, and the `stop_reason`: end_of_text, stop_string, max_tokens, context_full, or None
    while it is being written. str() of it is the text."""

    def __str__(self) -> str:
        return str(self["text"])


class Verification(Result):
    """Fidelity of a student to its teacher. Beside the keys (`results`, `measurements`, `gates`) what gates judge, by their names: of the
    deployed numbers where those were verified, else of fp32."""

    @property
    def judged(self) -> Result:
        """The numbers that gates judge: kl, top1_agreement, perplexity, ... with their spread."""
        both = self["results"]
        return both["deployed"] or both["fp32"]  # type: ignore[no-any-return]

    @property
    def kl(self) -> float:
        """KL divergence from the teacher, nats a token."""
        return float(self.judged["kl"]["mean"])

    @property
    def top1(self) -> float:
        """Share of tokens where both find the same one likeliest."""
        return float(self.judged["top1_agreement"])

    @property
    def ppl_ratio(self) -> float:
        """Perplexity of the student over that of the teacher."""
        return float(self.judged["perplexity"]["ratio"])

    @property
    def bits_per_byte_ratio(self) -> float:
        """The same of bits per byte, which compares across vocabularies."""
        return float(self.judged["bits_per_byte"]["ratio"])

    @property
    def passed(self) -> bool:
        """Whether every gate was met."""
        return all(gate["pass"] for gate in self["gates"])

    def __repr__(self) -> str:
        gates = "" if not self["gates"] else ", gates passed" if self.passed else ", a gate MISSED"
        return f"Verification(kl={self.kl:.4g}, top1={self.top1:.3f}, ppl_ratio={self.ppl_ratio:.4g}, {self['results']['scored_tokens']} tokens{gates})"


class Report(Result):
    """report.json of a run. A stage's kind is an attribute too: `report.verify.kl`, `report.quantize.bytes`; of several the last one."""

    def __getattr__(self, name: str) -> Any:
        stages = [stage for stage in self.get("results", {}).get("stages", []) if stage["kind"] == name]
        if name in self or not stages:
            return super().__getattr__(name)
        stage = stages[-1]
        if name != "verify":
            return stage["results"]
        measured = next(entry["measurements"] for entry in self["measurements"]["stages"] if entry["name"] == stage["name"])
        return Verification({"results": stage["results"], "measurements": measured, "gates": measured.get("gates", []), "notes": stage["notes"]})

    def __repr__(self) -> str:
        kinds = [stage["kind"] for stage in self["results"]["stages"]]
        return f"Report(name={self['name']!r}, stages={kinds})"


class Run(Result):
    """What a recipe made: `folder`, `gguf`, `report_html`, `report_json`, `gates_passed`, `report`; and the stages as `report` has them."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self["report"] = Report(values["report"])

    def __getattr__(self, name: str) -> Any:
        made = [] if name in self or "report" not in self else [stage["kind"] for stage in self["report"]["results"]["stages"]]
        return getattr(self["report"], name) if name in made else super().__getattr__(name)

    def __repr__(self) -> str:
        verified = any(stage["kind"] == "verify" for stage in self["report"]["results"]["stages"])
        return f"Run(folder={self['folder']!r}, gguf={self['gguf']!r}, gates_passed={self['gates_passed']}{f', verify={self.verify!r}' if verified else ''})"
