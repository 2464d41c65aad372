"""The process that meets a foreign model file: shuts itself in, looks at the file, loads it, tries it, writes it anew.

Started by ``sandbox`` in a folder of its own with a request; leaves its result there. Nothing foreign is read before
the process is confined, and TensorFlow is imported only where the file is to be loaded.
"""

import json
import math
import os
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.errors import ImportRefused
from workers.importing.confinement import confine

REQUEST, RESULT, STAGES = "request.json", "result.json", "stages"
MODEL, SAMPLE = "model.keras", "sample.npz"

_EPOCH = (1980, 1, 1, 0, 0, 0)


def main(folder: Path) -> None:
    """Does what the request in the folder says."""
    request = json.loads((folder / REQUEST).read_bytes())
    result: dict[str, Any] = {
        "measures": confine(
            folder, request["parent"], request["memory_bytes"], request["cpu_seconds"], request["max_unpacked_bytes"]
        )
    }
    try:
        from workers.importing.scan import scan

        _stage(folder, "scanning")
        scan(folder / request["file"], request["max_unpacked_bytes"])
        if request["mode"] == "load":
            result |= _load(folder, request)
    except ImportRefused as error:
        result["refused"] = {"message": error.message, "code": error.code}
    except MemoryError:
        limit = request["memory_bytes"]
        message = f"the network needs more memory than the limit of {limit} bytes allows (imports.memory_bytes)"
        result["refused"] = {"message": message, "code": "E1502"}
    (folder / RESULT).write_text(json.dumps(result))


def _load(folder: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    _stage(folder, "loading")
    import numpy as np

    from workers.importing.network import Normalisation, add_head, check_labels, load_network, wrap
    from workers.importing.samples import one_row
    from workers.importing.trials import Trial, range_warnings

    labels = request["labels"]
    network = load_network(folder / request["file"])
    normalisation = Normalisation(
        request["scale"],
        request["mean"] and tuple(request["mean"]),
        request["std"] and tuple(request["std"]),
    )
    served = wrap(network, normalisation)
    if labels is not None:
        check_labels(served.signature, labels)
        served = add_head(served, network, labels, Trial(served.model, served.signature).answers[0])
    _stage(folder, "converting")
    served.model.save(folder / "unstable.keras")
    write_stable(folder / "unstable.keras", folder / MODEL)
    # From here on the file is tried, not what it was made of.
    trial = Trial(load_network(folder / MODEL), served.signature)
    trial.check_finite()
    _stage(folder, "trying batch sizes")
    trial.check_batches(request["batch_sizes"])
    signature = trial.with_proven_padding()
    row = one_row(trial.rows, 0)
    arrays: dict[str, Any] = {
        name: np.array(values[0], str if values.dtype == object else None) for name, values in row.items()
    }
    np.savez(folder / SAMPLE, **arrays)
    image = next((spec for spec in signature.inputs if spec.kind == "image"), None)
    ranges: dict[str, list[float]] = {} if image is None else {"expected_range": [0, 255]}
    if image is not None and normalisation:
        ends = [value for end in (0.0, 255.0) for value in normalisation.applied(end)]
        ranges["network_range"] = [min(ends), max(ends)]
    return {
        "signature": signature.to_json(),
        "parameters": {**served.parameters, **ranges},
        "sample": _answer(trial, labels),
        "warnings": [*served.warnings, *range_warnings(trial, labels, bool(normalisation))],
    }


def _answer(trial: Any, labels: list[str] | None) -> Any:
    """The answer to the first sample in the form of a prediction's output; ``None`` where it is long or no number."""
    first = [output[0] for output in trial.answers]
    if sum(values.size for values in first) > 1000 or not all(math.isfinite(v) for x in first for v in x.flat):
        return None
    if labels is not None:
        order = sorted(range(len(labels)), key=lambda place: -float(first[0][place]))
        scores = [{"label": labels[place], "score": float(first[0][place])} for place in order]
        return {**scores[0], "scores": scores}
    names = [spec.name for spec in trial.signature.outputs]
    return first[0].tolist() if len(first) == 1 else dict(zip(names, (v.tolist() for v in first), strict=True))


def write_stable(source: Path, target: Path) -> None:
    """Copies a ``.keras`` archive without the times in it, so that the same network makes the same file."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in sorted(old.namelist()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            if name == "metadata.json":
                facts = {key: value for key, value in json.loads(old.read(name)).items() if key != "date_saved"}
                new.writestr(entry, json.dumps(facts, sort_keys=True))
                continue
            with old.open(name) as member, new.open(entry, "w", force_zip64=True) as copy:
                while piece := member.read(2**20):
                    copy.write(piece)


def _stage(folder: Path, name: str) -> None:
    with (folder / STAGES).open("a") as file:
        file.write(f"{name}\n")


if __name__ == "__main__":
    os.umask(0o077)
    main(Path.cwd())
    sys.stdout.flush()
    os._exit(0)  # whatever foreign objects would do at the end of Python is not waited for
