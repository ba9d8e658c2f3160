"""What a training writes for TensorBoard says what metrics.jsonl says, also behind a resume; read here by the format's own description."""

import json
import pathlib
import shutil
import struct
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from tiny_run import copy_of_the_tiny_run, run

pytestmark = pytest.mark.recipe


def crc32c(data):
    total = 0xFFFFFFFF
    for byte in data:
        total ^= byte
        for _ in range(8):
            total = (total >> 1) ^ (0x82F63B78 if total & 1 else 0)
    return total ^ 0xFFFFFFFF


def masked(data):
    total = crc32c(data)
    return (((total >> 15) | (total << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def records(path):
    content, at = path.read_bytes(), 0
    while at < len(content):
        (length,), (sum_of_length,) = struct.unpack_from("<Q", content, at), struct.unpack_from("<I", content, at + 8)
        data = content[at + 12 : at + 12 + length]
        assert masked(content[at : at + 8]) == sum_of_length and masked(data) == struct.unpack_from("<I", content, at + 12 + length)[0]
        yield data
        at += 16 + length


def varint(data, at):
    number = shift = 0
    while True:
        number |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return number, at


def fields(data):
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 0:
            value, at = varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(tag & 7)
            if size is None:
                size, at = varint(data, at)
            value, at = data[at : at + size], at + size
        yield tag >> 3, value


def scalars(path):
    """step -> name -> value"""
    found = {}
    for number, data in enumerate(records(path)):
        event = dict(fields(data))
        assert struct.unpack("<d", event[1])[0] > 1.7e9, "seconds since 1970"
        if number == 0:
            assert event[3] == b"brain.Event:2"
            continue
        values = [dict(fields(value)) for _, value in fields(event[5])]
        found[event.get(2, 0)] = {value[1].decode(): struct.unpack("<f", value[2])[0] for value in values}
    return found


def check(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    stages = {line["stage"] for line in lines if "step" in line}
    assert stages == {path.name for path in (folder / "tensorboard").iterdir()} and len(stages) == 2
    for stage in stages:
        told = {line["step"]: {name: value for name, value in line.items() if name not in ("stage", "step")} for line in lines if line["stage"] == stage}
        found = scalars(folder / "tensorboard" / stage / "events.out.tfevents.attar")
        assert found.keys() == told.keys()
        for step, values in told.items():
            assert found[step] == pytest.approx(values, rel=1e-6), (stage, step)


def test_tensorboard_shows_what_the_metrics_say(tmp_path_factory):
    folder = copy_of_the_tiny_run(tmp_path_factory)
    check(folder)
    for stage in ("2-distill", "3-quantize", "4-export", "5-verify"):
        shutil.rmtree(folder / "checkpoints" / stage / "final", ignore_errors=True)
        (folder / "checkpoints" / stage / "stage.json").unlink()
    run(folder, "--resume")
    check(folder)
