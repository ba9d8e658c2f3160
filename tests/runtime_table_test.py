"""The table of `make bench`: its arithmetic, its lines, what a row says that was not measured, and the fields of attar-run that it reads."""

import pathlib
import subprocess
import sys

import pytest

sys.path.append(str(pathlib.Path(__file__).resolve().parent / "bench"))
import runtime_table
from attar_runs import AttarRuns, bandwidth_share, bytes_a_token
from small_models import formula_model, program
from table_row import Measured, NotMeasured, Row, in_turn, line
from use_rows import kv_bytes, lookup_prompts, program_size


def test_a_share_is_of_the_bytes_of_a_token():
    operations = [{"name": "head", "bytes": 5e7}, {"name": "attention", "bytes": 1e7}, {"name": "norms", "bytes": None}]
    row = {"median_ts": 200, "profile": {"read_bytes_per_s": 2e10, "operations": operations}}
    assert bytes_a_token(row) == 6e7
    assert bandwidth_share(row) == 0.6
    assert bandwidth_share(row, ["attention"]) == 0.5


def test_keys_and_values_are_two_bytes_a_number():
    assert kv_bytes({"layers": [{"n_kv_heads": 3, "head_dim": 64}] * 30}, 1) == 23040


def test_measurements_take_turns():
    order = []
    assert in_turn(3, lambda: order.append("a") or len(order), lambda: order.append("b") or -len(order)) == [3, -4]
    assert "".join(order) == "ababab"


@pytest.mark.parametrize(
    "row, value, met, cells",
    [
        (Row("decode", None, 2.5, 4), 2.4, False, ["**2.40x**", ">= 2.5x", ">= 4x"]),
        (Row("decode", None, 2.5, 4), 2.5, True, ["2.50x", ">= 2.5x", ">= 4x"]),
        (Row("start", None, 60, 25, "ms", "at most"), 63.04, False, ["**63.0 ms**", "<= 60 ms", "<= 25 ms"]),
        (Row("loss", None, 2e-4, None, "nats", "at most"), 0.00016, True, ["0.00016", "<= 0.0002", ""]),
        (Row("wall", None, None, 0.95, "share"), 0.9, None, ["0.900", "", ">= 0.95"]),
    ],
)
def test_a_row_says_whether_it_reaches_what_it_must(row, value, met, cells):
    measured = Measured(value, "7 t/s", "5 t/s")
    assert row.met(measured) is met
    assert row.cells(measured) == [row.name, "7 t/s", "5 t/s", *cells]


@pytest.mark.parametrize(
    "error, said",
    [
        (NotMeasured("needs --padded F16.gguf"), "needs --padded F16.gguf"),
        (subprocess.CalledProcessError(3, ["attar-run"], stderr=b"note\nerror: no such file\n"), "failed: error: no such file"),
        (KeyError("rows"), "failed: KeyError('rows')"),
    ],
)
def test_what_was_not_measured_is_told_in_its_row(error, said):
    def measure(_):
        raise error

    row = Row("decode", measure, 2.5, 4)
    measured = row.measured(None)
    assert row.met(measured) is None
    assert row.cells(measured) == ["decode", "", said, "", ">= 2.5x", ">= 4x"]
    assert line(row.cells(measured), 10).count("|") == 7


def test_every_row_has_a_name_of_its_own():
    names = [row.name for row in runtime_table.all_rows()]
    assert len(set(names)) == len(names)
    assert not any("|" in name for name in names)


def test_prompts_to_look_up_are_as_many_as_tasks_and_passages():
    assert len(set(lookup_prompts())) == 9


def test_attar_run_has_what_the_table_reads(tmp_path):
    model = formula_model(tmp_path / "model")
    own = AttarRuns(program("attar-run"), 1)
    assert own.prompt_speed(model, 4) > 0 and own.decode_speed(model, 2, sequences=2) > 0
    assert [row["n_threads"] for row in own.bench(model, "-p", 0, "-n", 2, threads=[1, 2])["rows"]] == [1, 2]
    assert [row["n_parallel"] for row in own.bench(model, "-p", 0, "-n", 2, "--batch", 1, 2)["rows"]] == [1, 2]
    row = own.profiled(model, 2, "-d", 300, "--kv", "int8")
    assert 0 < bytes_a_token(row, ["attention"]) < bytes_a_token(row) and bandwidth_share(row) > 0
    said = own.generate(model, "Once", 3, "--temperature", 0, "--lookup", 2)
    assert said["seconds"] > 0 and said["speculation"]["passes"] <= len(said["tokens"]) == 3
    assert own.document("inspect", model)["bytes"] > 0 and own.bench(model, "-p", 2, "-n", 0)["peak_rss_bytes"] > 0
    bench = runtime_table.Bench(own, None, 1)
    assert 0 < program_size(bench).value < 20
