"""Makes a version of an uploaded model file; the engine of the jobs of kind ``import``.

The upload is scanned in one child process, loaded, converted and tried in a second, and what that one wrote is scanned
again in a third: a file that took its loader over must not reach a worker that serves. This process writes.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from shared.artifacts import ArtifactStore
from shared.errors import Conflict, ImportRefused, InvalidInput, NotFound
from shared.models.promotions import Promotions
from shared.models.registry import ModelRegistry
from shared.models.signature import OPTION_NAMES, Signature, TensorKind
from shared.models.version import MODEL_FILE, WARMUP_FILE, ModelVersion, iso
from shared.settings import Settings
from workers.importing.child import MODEL, SAMPLE
from workers.importing.sandbox import FAILED, Result, own_file, run_child
from workers.importing.scan import form_of
from workers.run import Run
from workers.scratch import scratch_folder

_MOST_LABEL = 200
_MOST_SAMPLE_BYTES = 2**30
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def import_version(
    run: Run, settings: Settings, store: ArtifactStore, registry: ModelRegistry, promotions: Promotions
) -> dict[str, Any]:
    """Imports the file at ``details["upload"]`` as a version of the model that the details name.

    An attempt that comes after one which has published goes on from there.

    Returns:
        The job's output.

    Raises:
        ImportRefused: The file or the options are not accepted.
    """
    details = run.job.details
    owner, name, upload = details["owner"], details["name"], details["upload"]
    options = read_options(details)
    version = registry.version_of_job(owner, name, run.job.id)
    if version is None:
        try:
            with scratch_folder(settings, "import") as folder:
                version = _imported(run, settings, store, registry, folder, options)
        except ImportRefused:
            store.delete(upload)
            raise
    alias = _promoted(run, promotions, registry, version, details.get("alias"))
    store.delete(upload)
    return {
        "version": f"{version.model}:{version.id}",
        "id": version.id,
        "signature": version.signature.to_json(),
        "labels": None if version.labels is None else list(version.labels),
        "parameters": dict(version.parameters),
        "sample": version.sample,
        "warnings": list(version.warnings),
        "alias": alias,
    }


def read_options(details: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an import, checked; ``labels``, ``scale``, ``mean`` and ``std`` are ``None`` where not given.

    Raises:
        ImportRefused: One of them cannot be meant.
    """
    labels = details.get("labels") or None
    if labels is not None:
        labels = [str(label).strip() for label in labels]
        if (
            len(labels) < 2
            or len(set(labels)) != len(labels)
            or not all(0 < len(text) <= _MOST_LABEL for text in labels)
        ):
            raise ImportRefused(f"labels are two or more different texts of up to {_MOST_LABEL} characters")
    scale = None if details.get("scale") in (None, "") else _number(details["scale"], "scale")
    mean, std = (_numbers(details.get(word), word) for word in ("mean", "std"))
    if scale == 0 or (std is not None and min(std) <= 0):
        raise ImportRefused("scale is not 0, and std is greater than 0")
    return {"labels": labels, "scale": scale, "mean": mean, "std": std, "iterator": details.get("iterator") is True}


def _imported(
    run: Run,
    settings: Settings,
    store: ArtifactStore,
    registry: ModelRegistry,
    folder: Path,
    options: Mapping[str, Any],
) -> ModelVersion:
    limits, details = settings.imports, run.job.details
    run.report(stage="fetching")
    file = _fetched(store, details["upload"], folder, limits.max_upload_bytes)
    run.check()
    run_child(run, limits, folder, {"mode": "scan", "file": file.name})
    request = {"mode": "load", "file": file.name, "batch_sizes": _batch_sizes(settings), **options}
    result = run_child(run, limits, folder, request)
    model = own_file(folder, MODEL, 2 * limits.max_unpacked_bytes)
    sample = own_file(folder, SAMPLE, _MOST_SAMPLE_BYTES)
    run_child(run, limits, folder, {"mode": "scan", "file": MODEL})
    run.log(f"confined by {', '.join(result.measures)}")
    if "system calls" not in result.measures:
        run.log("this platform keeps no network from the process that loads a file; only its limits applied")
    run.report(stage="publishing")
    run.check()
    registry.ensure_model(details["owner"], details["name"])  # not before: a refused file leaves no empty model
    iterates = options["iterator"]
    return registry.publish(
        details["owner"],
        details["name"],
        {MODEL_FILE: model, WARMUP_FILE: sample},
        created_at=iso(run.job.created_at),
        source="import",
        job_id=run.job.id,
        signature=replace(_believed(result, options["labels"]), iterates=iterates),
        labels=None if options["labels"] is None else tuple(options["labels"]),
        parameters={**result.parameters, "form": file.suffix[1:]},
        sample=[result.sample] if iterates and result.sample is not None else result.sample,
        warnings=tuple(result.warnings),
    )


def _fetched(store: ArtifactStore, upload: str, folder: Path, most_bytes: int) -> Path:
    raw = folder / "upload"
    try:
        if store.size(upload) > most_bytes:
            raise ImportRefused(f"the file is larger than {most_bytes} bytes")
        store.get(upload, raw)
    except FileNotFoundError as error:
        raise ImportRefused("the uploaded file is gone; send it again") from error
    return raw.rename(folder / f"upload.{form_of(raw)}")


def _batch_sizes(settings: Settings) -> list[int]:
    return [size for size in settings.batching.allowed_batch_sizes if size <= settings.batching.max_batch_rows]


def _believed(result: Result, labels: list[str] | None) -> Signature:
    """The signature that a child claims, if it is one."""
    try:
        signature = Signature.from_json(result.signature or {})
        names = [spec.name for spec in signature.inputs]
        kinds = [spec.kind for spec in signature.outputs]
        fine = bool(names) and bool(kinds) and not OPTION_NAMES.intersection(names) and len(set(names)) == len(names)
        if (TensorKind.CATEGORY in kinds) is (labels is None):
            fine = False
        if labels is not None:
            fine = fine and len(kinds) == 1 and signature.outputs[0].shape == (len(labels),)
    except (KeyError, TypeError, ValueError) as error:
        raise ImportRefused("the sandbox left a signature that cannot be read", FAILED) from error
    if not fine:
        raise ImportRefused("the sandbox left a signature that does not hold together", FAILED)
    return signature


def _promoted(
    run: Run, promotions: Promotions, registry: ModelRegistry, version: ModelVersion, alias: str | None
) -> dict[str, str] | None:
    if not alias:
        return None
    try:
        if registry.resolve(version.owner, version.name, alias) == version.id:  # by an earlier attempt
            return {"alias": alias, "state": "flipped"}
    except NotFound:
        pass
    try:
        state: str = promotions.request(
            version.owner, version.name, alias, version.id, run.job.account, f"import {run.job.id}"
        )
    except (Conflict, InvalidInput) as error:  # the version is there all the same
        run.log(error.detail)
        state = "refused"
    return {"alias": alias, "state": state}


def _number(value: Any, word: str) -> float:
    """A number, also one written as a fraction: ``1/255``."""
    top, slash, bottom = str(value).strip().partition("/")
    parts = [top.strip(), bottom.strip() if slash else "1"]
    if not all(_NUMBER.fullmatch(part) for part in parts) or float(parts[1]) == 0:
        raise ImportRefused(f"{word} is a number or a fraction such as 1/255, not {str(value)[:50]!r}")
    return float(parts[0]) / float(parts[1])


def _numbers(value: Any, word: str) -> list[float] | None:
    if value in (None, "", []):
        return None
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    return [_number(part, word) for part in parts]
