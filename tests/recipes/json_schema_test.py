"""The JSON Schema that editors check recipes by says what Attar says of types, keys and ranges, on 200 drawn recipes."""

import copy
import json
import pathlib
import random
import subprocess
import sys

import jsonschema
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from conftest import BIN, ROOT

pytestmark = pytest.mark.recipe

SCHEMA = ROOT / "recipes" / "recipe.schema.json"
TEXT = ROOT / "recipes" / "text"


def attar(*arguments, code=0):
    done = subprocess.run([str(BIN / "attar"), *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout


def test_the_file_is_what_the_fields_say():
    """`attar recipes schema > recipes/recipe.schema.json` after a field, its help or its range has changed."""
    assert SCHEMA.read_text() == attar("recipes", "schema")


def test_the_recipes_of_the_library_are_valid():
    yaml = pytest.importorskip("yaml")
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    for path in sorted((ROOT / "recipes").glob("*.yaml")):
        assert not list(validator.iter_errors(yaml.safe_load(path.read_text()))), path


# --- 200 recipes ---------------------------------------------------------------------------------------------------------


def right_value(rule, draw):
    """A value that the schema of a field takes."""
    if "anyOf" in rule:
        return right_value(draw.choice(rule["anyOf"]), draw)
    if "const" in rule:
        return rule["const"]
    if "enum" in rule:
        return draw.choice(rule["enum"])
    kind = rule["type"] if isinstance(rule["type"], str) else draw.choice(rule["type"])
    if kind == "boolean":
        return draw.random() < 0.5
    if kind in ("integer", "number"):
        low = rule.get("minimum", rule.get("exclusiveMinimum", -5))
        high = min(rule.get("maximum", rule.get("exclusiveMaximum", low + 1000)), low + 1000)
        if kind == "integer":
            return draw.randint(int(low), int(high)) // rule.get("multipleOf", 1) * rule.get("multipleOf", 1) or int(low)
        return draw.choice([low if "minimum" in rule else low + 1e-3, high if "maximum" in rule else low + (high - low) / 2, low + (high - low) / 3])
    if kind == "array":
        return [right_value(rule["items"], draw) for _ in range(draw.randint(0, 2))]
    if kind == "object":
        keys = [key for key in rule.get("properties", {}) if key in rule.get("required", []) or draw.random() < 0.3]
        return {key: right_value(rule["properties"][key], draw) for key in keys}
    if "pattern" not in rule:
        return "x"
    return "60MB" if "MB" in rule["pattern"] else "q8_0"


def wrong_values(rule):
    """Values beside a field's type and range."""
    yield from ("much", None, "5 apples", [1], {"a": 1}, 1.5, -1, 0, 1, 1e6, "1", True, "true", "60MB", [])
    for low in ("minimum", "exclusiveMinimum"):
        if low in rule:
            yield from (rule[low], rule[low] - 1, rule[low] - 1e-6)
    for high in ("maximum", "exclusiveMaximum"):
        if high in rule:
            yield from (rule[high], rule[high] + 1)


def stage_rules(schema):
    return next(form for form in schema["properties"]["stages"]["items"]["anyOf"] if "properties" in form)["properties"]


def drawn_recipe(schema, draw):
    """A recipe of fields that are each right, and then, two times of three, spoilt at one place."""
    rules = stage_rules(schema)
    recipe = {
        "version": 1,
        "name": "drawn",
        "teacher": {"config": {"layers": 4}, "tokenizer": str(TEXT / "tiny_tokenizer")},
        "data": {"train": [str(TEXT / "tiny_train.txt")], "evaluation": [str(TEXT / "held_out.txt")]},
        "stages": [],
    }
    spots = [(recipe, schema), (recipe["data"], schema["properties"]["data"]), (recipe["teacher"]["config"], schema["properties"]["teacher"]["anyOf"][1]["properties"]["config"])]
    for kind in draw.sample(list(rules), draw.randint(1, 3)):
        stage = {key: right_value(rule, draw) for key, rule in rules[kind]["properties"].items() if draw.random() < 0.25}
        if kind == "quantize":
            for key in ("to", "target_size", "target_bpw", "max_kl"):
                stage.pop(key, None)
            stage.update(draw.choice([{"to": "Q8_0"}, {"to": "q4_k_m"}, {"target_size": "60MB"}, {"target_size": 60000000}, {"target_bpw": 4.5}]))
        if kind == "prune":  # which removes nothing without it, and that is refused
            stage["drop_layers"] = 1
        recipe["stages"].append({kind: stage})
        spots.append((stage, rules[kind]))
    if draw.random() < 0.67:
        holder, rule = draw.choice(spots)
        key = draw.choice(sorted(rule["properties"]))
        how = draw.random()
        if how < 0.2:
            holder[key + draw.choice("sx_")] = 1
        elif how < 0.3 and key in holder:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(draw.choice(list(wrong_values(rule["properties"][key]))))
    return recipe


def test_schema_and_attar_agree(tmp_path):
    schema = json.loads(SCHEMA.read_text())
    validator = jsonschema.Draft202012Validator(schema)
    draw = random.Random(10)
    recipes = [drawn_recipe(schema, draw) for _ in range(200)]
    paths = [tmp_path / f"{i}.yaml" for i in range(len(recipes))]
    for path, recipe in zip(paths, recipes, strict=True):
        path.write_text(json.dumps(recipe))  # JSON is YAML
    said = json.loads(attar("recipes", "check", *paths, "--json", code=2))["recipes"]
    differing, refused = [], 0
    for recipe, found in zip(recipes, said, strict=True):
        problems = [problem["what"] for problem in found["problems"] if problem["kind"] == "value"]
        errors = [error.message for error in validator.iter_errors(recipe)]
        refused += bool(errors)
        if bool(problems) != bool(errors):
            differing.append((found["path"], problems, errors, recipe))
    assert not differing, "\n\n".join(str(entry)[:1500] for entry in differing[:5])
    assert 60 < refused < 140, refused
