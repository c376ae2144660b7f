"""generate.py readme|files|golden…: writes what is made from something else. scripts/chart.sh runs it; tests compare.

readme: helm/lckv/README.md, from values.schema.json and values.yaml.
files:  helm/lckv/dashboards and rules, copies of deploy/grafana and deploy/prometheus (a chart cannot read outside itself).
golden: tests/helm/golden, what each case of the matrix renders.
"""

import json
import sys

import chart
import yaml

HEAD = chart.ROOT / "tests" / "helm" / "readme_head.md"
COPIES = (("deploy/grafana", "*.json", "dashboards"), ("deploy/prometheus/rules", "*.yaml", "rules"))


def _resolve(schema, definitions):
    """The schema with its reference followed; its own description stays."""
    for part in schema.get("allOf", [schema]):
        if "$ref" in part:
            target = definitions[part["$ref"].rpartition("/")[2]]
            return {**target, "description": schema.get("description", target.get("description", ""))}
    return schema


def _type_name(schema, definitions):
    if "const" in schema or "enum" in schema:
        return " \\| ".join(f"`{json.dumps(v)}`" for v in schema.get("enum", [schema.get("const")]))
    if "title" in schema:
        return schema["title"]
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type_name(_resolve(schema['items'], definitions), definitions)}s"
    if isinstance(kind, list):
        return " or ".join(kind)
    return kind


def _leaves(schema, values, definitions, path=()):
    """(path, schema, default or None) of everything that can be set, objects with known fields opened."""
    for name, child in schema["properties"].items():
        child = _resolve(child, definitions)
        default = values.get(name) if isinstance(values, dict) else None
        if child.get("type") == "object" and child.get("properties"):
            yield path + (name,), child, None
            yield from _leaves(child, default, definitions, path + (name,))
        else:
            yield path + (name,), child, default


def _default_cell(value):
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False)
    return f"`{text}`" if len(text) <= 60 else "see values.yaml"


TABLE = ["", "| value | type | default | meaning |", "| --- | --- | --- | --- |"]


def _row(path, leaf, default, definitions):
    name, description = ".".join(path), leaf["description"].replace("|", "\\|")
    if leaf.get("type") == "object" and leaf.get("properties"):
        return f"| **`{name}`** | | | {description} |"
    return f"| `{name}` | {_type_name(leaf, definitions)} | {_default_cell(default)} | {description} |"


def readme():
    """Text of the chart's README: a head written by hand, then a table of values for each part of the chart."""
    schema, values = chart.schema(), chart.defaults()
    definitions = schema["definitions"]
    parts = {name for name, child in schema["properties"].items() if child.get("properties") and name != "global"}
    rest = {"properties": {n: c for n, c in schema["properties"].items() if n not in parts}}
    lines = [HEAD.read_text().rstrip("\n"), "", "### Names, image registry, network", *TABLE]
    lines += [_row(*leaf, definitions) for leaf in _leaves(rest, values, definitions)]
    for name in sorted(parts, key=list(schema["properties"]).index):
        part = schema["properties"][name]
        lines += ["", f"### {name}", "", part["description"], *TABLE]
        lines += [_row(*leaf, definitions) for leaf in _leaves(part, values[name], definitions, (name,))]
    return "\n".join(lines) + "\n"


def golden(case):
    """What is kept of a case: all objects in an order of their own, comments gone. Not the copies of deploy/'s files."""
    objects = [o for o in chart.render(case) if o["metadata"]["labels"]["app.kubernetes.io/component"] != "monitoring"]
    objects.sort(key=lambda o: (o["kind"], o["metadata"]["name"]))
    return yaml.safe_dump(objects, sort_keys=False, width=150)


def _wanted(name):
    """{path: text} of the files that should be there."""
    if name == "readme":
        return {chart.CHART / "README.md": readme()}
    if name == "golden":
        return {chart.GOLDEN / f"{case}.yaml": golden(case) for case in chart.CASES}
    return {chart.CHART / target / path.name: path.read_text()
            for folder, pattern, target in COPIES for path in sorted((chart.ROOT / folder).glob(pattern))}


def _unwanted(name, wanted):
    """Copies of files that are gone."""
    if name != "files":
        return []
    targets = [target for folder, _, target in COPIES if (chart.ROOT / folder).is_dir()]
    return [p for target in targets for p in sorted((chart.CHART / target).glob("*")) if p not in wanted]


GENERATED = ("readme", "files")


def stale(name):
    """Paths that are not as they should be."""
    wanted = _wanted(name)
    changed = [p for p, text in wanted.items() if not p.exists() or p.read_text() != text]
    return [str(p.relative_to(chart.ROOT)) for p in changed + _unwanted(name, wanted)]


def write(name):
    wanted = _wanted(name)
    for path in _unwanted(name, wanted):
        path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(path.relative_to(chart.ROOT))


if __name__ == "__main__":
    for argument in sys.argv[1:] or ("readme", "files", "golden"):
        write(argument)
