"""Keeps data sets in the artifact store and finds them by digest or by name.

The store is the truth. Redis only remembers which digest a name means, and is filled again from the store when it
has forgotten. Two uploads of the same images are one set under two names, each with the report of its own upload: what
could not be read of it is a fact of the upload and not of the set.
"""

import json
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from shared.artifacts import ArtifactStore
from shared.connections import Redis, open_keyspace, translated
from shared.datasets.dataset import Dataset, Report
from shared.errors import InvalidInput, NotFound
from shared.models.locks import locked
from shared.models.version import is_name
from shared.settings import Settings

_DIGEST = re.compile(r"[0-9a-f]{64}")


class DatasetStore:
    """All data sets of the service.

    Args:
        store: Where they lie.
        redis: The server that remembers the names.
        settings: The process's settings.
    """

    def __init__(self, store: ArtifactStore, redis: Redis, settings: Settings) -> None:
        self._store = store
        self._redis = redis
        keys = open_keyspace(settings)
        self._names = keys.plain("dataset-names")
        self._lock = keys.plain("lock", "datasets")

    def put_file(self, digest: str, path: str, local: Path) -> None:
        """Copies one file of a set that is not public yet; the same path again replaces it."""
        self._store.put(local, f"datasets/{digest}/{path}")

    def publish(self, dataset: Dataset) -> None:
        """Makes a set public by its manifest, after all its files; one that is public already stays as it is."""
        if not self.holds(dataset.digest):
            self._store.write(f"{dataset.folder}/manifest.json", json.dumps(dataset.to_json()).encode())

    def holds(self, digest: str) -> bool:
        """Whether the set of that digest is public."""
        return self._store.exists(f"datasets/{digest}/manifest.json")

    def name(self, name: str, digest: str, job_id: str, report: Report | None = None) -> None:
        """Lets a name mean a set; the set that it meant before stays, under its digest.

        Args:
            name: The name.
            digest: A public set.
            job_id: The job that says so, by which a later attempt at it finds what is done.
            report: What happened to the job's upload; the manifest's own unless given.

        Raises:
            InvalidInput: Not a name.
        """
        if not is_name(name):
            raise InvalidInput(
                f"{name!r} is not a name: use up to 63 lower-case letters, digits, dots, dashes and underscores.",
                "name",
                "pattern",
            )
        record = {"name": name, "digest": digest, "job_id": job_id, "report": report and report.to_json()}
        with self._locked(), translated():
            self._store.write(_record_path(name), json.dumps(record).encode())
            self._redis.hset(self._names, name, digest)

    def named_by(self, name: str, job_id: str) -> Dataset | None:
        """The set that this job has given this name, if it came so far and nobody renamed since."""
        record = self._record(name)
        if record is None or record["job_id"] != job_id:
            return None
        dataset = self._manifest(record["digest"], (name,))
        return dataset and self._under(name, dataset, record)

    def get(self, name_or_digest: str) -> Dataset:
        """The set of that name or digest, with all its names; by a name, with the report of that name's upload.

        Raises:
            NotFound: There is none.
        """
        digest = self.digest(name_or_digest)
        dataset = self._manifest(digest, self._names_by_digest().get(digest, ()))
        if dataset is None:
            raise _unknown(name_or_digest)
        return dataset if _DIGEST.fullmatch(name_or_digest) else self._under(name_or_digest, dataset)

    def digest(self, name_or_digest: str) -> str:
        """The digest of a public set by its name or digest; cheap enough for admission.

        Raises:
            NotFound: There is none.
        """
        if _DIGEST.fullmatch(name_or_digest):
            if self.holds(name_or_digest):
                return name_or_digest
        elif is_name(name_or_digest):
            with translated():
                known = self._redis.hget(self._names, name_or_digest)
            if known is not None and self.holds(_text(known)):
                return _text(known)
            record = self._record(name_or_digest)
            if record is not None and self.holds(record["digest"]):
                with translated():
                    self._redis.hset(self._names, name_or_digest, record["digest"])
                return str(record["digest"])
        raise _unknown(name_or_digest)

    def list(self) -> list[Dataset]:
        """All public sets, newest first; one of several names once for each of them."""
        names = self._names_by_digest()
        found: list[Dataset] = []
        for digest in filter(_DIGEST.fullmatch, self._store.names("datasets")):
            dataset = self._manifest(digest, names.get(digest, ()))
            if dataset is not None:
                found += [self._under(name, dataset) for name in dataset.names] or [dataset]
        return sorted(found, key=lambda one: (one.created_at, one.digest, one.name or ""), reverse=True)

    def delete(self, name_or_digest: str) -> None:
        """Removes a set: by digest with all its names, by a name only that name while others mean the set too.

        Raises:
            NotFound: There is none.
        """
        with self._locked(), translated():
            dataset = self.get(name_or_digest)
            others = tuple(name for name in dataset.names if name != name_or_digest)
            by_name = not _DIGEST.fullmatch(name_or_digest)
            for name in (name_or_digest,) if by_name else others:
                self._store.delete(_record_path(name))
                self._redis.hdel(self._names, name)
            if by_name and others:
                return
            self._store.delete(f"{dataset.folder}/manifest.json")
        self._store.delete(dataset.folder)

    def rebuild(self) -> None:
        """Fills Redis' names from the store; for the start of a service whose Redis may have lost its last second."""
        with self._locked(), translated():
            files = self._store.names("datasets/names")
            records = filter(None, (self._record(file.removesuffix(".json")) for file in files))
            names = {record["name"]: record["digest"] for record in records}
            pipeline = self._redis.pipeline()
            pipeline.delete(self._names)
            if names:
                pipeline.hset(self._names, mapping=names)
            pipeline.execute()

    def _names_by_digest(self) -> dict[str, tuple[str, ...]]:
        with translated():
            known = self._redis.hgetall(self._names)
            if not known and self._store.names("datasets/names"):
                self.rebuild()
                known = self._redis.hgetall(self._names)
        names: dict[str, tuple[str, ...]] = {}
        for name, digest in sorted((_text(name), _text(digest)) for name, digest in known.items()):
            names[digest] = (*names.get(digest, ()), name)
        return names

    def _record(self, name: str) -> Mapping[str, Any] | None:
        try:
            record: Mapping[str, Any] = json.loads(self._store.read(_record_path(name)))
        except FileNotFoundError:
            return None
        return record

    def _manifest(self, digest: str, names: tuple[str, ...] = ()) -> Dataset | None:
        try:
            form = json.loads(self._store.read(f"datasets/{digest}/manifest.json"))
        except FileNotFoundError:
            return None
        return Dataset.from_json(form, names)

    def _under(self, name: str, dataset: Dataset, record: Mapping[str, Any] | None = None) -> Dataset:
        record = record or self._record(name)
        told = record.get("report") if record is not None and record["digest"] == dataset.digest else None
        return replace(dataset, name=name, report=Report.from_json(told) if told else dataset.report)

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self._redis, self._lock, "data sets")


def _record_path(name: str) -> str:
    return f"datasets/names/{name}.json"


def _text(reply: bytes | str) -> str:
    return reply.decode() if isinstance(reply, bytes) else reply


def _unknown(name_or_digest: str) -> NotFound:
    return NotFound(f"There is no data set {name_or_digest[:80]}; GET /v1/datasets lists them.")
