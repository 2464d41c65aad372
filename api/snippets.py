"""Writes the calls that the pages of models print, for curl, Python and JavaScript; each runs as it stands.

The key comes from the variable ``REPLICATE_API_TOKEN``, which stock clients read, so that none is ever printed.
"""

import json
from collections.abc import Mapping
from typing import Any

from api.samples import Sample


def prediction_snippets(
    base: str, reference: str, inputs: Mapping[str, Sample], *, iterates: bool = False
) -> list[dict[str, str]]:
    """One prediction, waited for.

    Args:
        base: Address of the service.
        reference: ``owner/name`` for the version in production, ``owner/name:id`` for another.
        inputs: One row.
        iterates: Whether the output is told row by row, which the client for Python may hand out as a generator.
    """
    model, _, version = reference.partition(":")
    if version:
        url, first = f"{base}/v1/predictions", {"version": Sample(version)}
    else:
        url, first = f"{base}/v1/models/{model}/predictions", {}
    call = f'client.run("{reference}", input={_python(inputs)})'
    python = f"for row in {call}:\n    print(row)\n" if iterates else f"print({call})\n"
    script = f'console.log(await replicate.run("{reference}", {{ input: {_javascript(inputs)} }}));\n'
    return _three(_curl(url, first, inputs, "Prefer: wait"), _python_head(base) + python, _script_head(base) + script)


def training_snippets(
    base: str, recipe: str, version: str, destination: str, inputs: Mapping[str, Any]
) -> list[dict[str, str]]:
    """One training, begun.

    Args:
        base: Address of the service.
        recipe: The recipe, ``owner/name``.
        version: Its version.
        destination: The model that gets what comes of it.
        inputs: The training's input.
    """
    samples = {name: Sample(value) for name, value in inputs.items()}
    url = f"{base}/v1/models/{recipe}/versions/{version}/trainings"
    python = (
        "training = client.trainings.create(\n"
        f'    version="{recipe}:{version}",\n    destination="{destination}",\n    input={_python(samples)},\n)\n'
        "print(training.id, training.status)\n"
    )
    owner, _, name = recipe.partition("/")
    script = (
        f'const training = await replicate.trainings.create("{owner}", "{name}", "{version}", {{\n'
        f'  destination: "{destination}",\n  input: {_javascript(samples)},\n}});\n'
        "console.log(training.id, training.status);\n"
    )
    curl = _curl(url, {"destination": Sample(destination)}, samples)
    return _three(curl, _python_head(base) + python, _script_head(base) + script)


def _three(curl: str, python: str, script: str) -> list[dict[str, str]]:
    return [
        {"lang": "Shell", "label": "curl", "source": curl},
        {"lang": "Python", "label": "Python", "source": python},
        {"lang": "JavaScript", "label": "JavaScript", "source": script},
    ]


def _python_head(base: str) -> str:
    return (
        '# pip install "replicate<2"\nimport os\n\nimport replicate\n\n'
        f'client = replicate.Client(api_token=os.environ["REPLICATE_API_TOKEN"], base_url="{base}")\n'
    )


def _script_head(base: str) -> str:
    return (
        '// npm install replicate, in a file that ends in .mjs\nimport Replicate from "replicate";\n\n'
        f'const replicate = new Replicate({{ auth: process.env.REPLICATE_API_TOKEN, baseUrl: "{base}/v1" }});\n'
    )


def _curl(url: str, first: Mapping[str, Sample], inputs: Mapping[str, Sample], *headers: str) -> str:
    lines = ['-H "Authorization: Bearer $REPLICATE_API_TOKEN"', '-H "Content-Type: application/json"']
    lines += [f'-H "{header}"' for header in headers]
    if all(sample.is_printed for sample in inputs.values()):
        body = {**{name: sample.value for name, sample in first.items()}, "input": _values(inputs)}
        made, data = "", f"-d {_quoted(json.dumps(body))}"
    else:
        told = "".join(f'"{name}": {sample.python}, ' for name, sample in first.items())
        program = f'import json; print(json.dumps({{{told}"input": {_python(inputs)}}}))'
        made, data = f"python3 -c {_quoted(program)} |\n", "--data-binary @-"
    return made + " \\\n  ".join(["curl -sS", *lines, data, url]) + "\n"


def _values(inputs: Mapping[str, Sample]) -> dict[str, Any]:
    return {name: sample.value for name, sample in inputs.items()}


def _python(inputs: Mapping[str, Sample]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {sample.python}" for name, sample in inputs.items()) + "}"


def _javascript(inputs: Mapping[str, Sample]) -> str:
    return "{ " + ", ".join(f"{json.dumps(name)}: {sample.javascript}" for name, sample in inputs.items()) + " }"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
