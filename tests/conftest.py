"""The tiers of the Python tests, by folder: `pytest -m parity` asks other people's tools, `-m recipe` runs recipes end to end."""
import pytest

TIERS = {"oracle": pytest.mark.parity, "recipes": pytest.mark.recipe}


def pytest_collection_modifyitems(items):
    for item in items:
        if tier := TIERS.get(item.path.parent.name):
            item.add_marker(tier)
