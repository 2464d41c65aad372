"""The file of answers that ``predict --out`` writes, one row a file, and goes on with after an interruption."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.client import Job
from cli.terminal import Failure

COLUMNS = ("file", "id", "status", "label", "score", "output", "error")


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one file."""

    file: str
    id: str = ""
    status: str = "failed"
    label: str = ""
    score: float | None = None
    output: Any = None
    error: str = ""

    @classmethod
    def of_job(cls, file: Path, job: Job) -> "Answer":
        """The answer that a job's end gives."""
        output = job.get("output")
        only = output[0] if isinstance(output, list) and len(output) == 1 else output  # the answer to one row in a list
        first = only if isinstance(only, Mapping) else {}
        label, score = first.get("label"), first.get("score")
        return cls(
            file=str(file),
            id=job["id"],
            status=job["status"],
            label="" if label is None else str(label),
            score=score if isinstance(score, int | float) else None,
            output=output,
            error=job.get("error") or ("" if job["status"] == "succeeded" else job["status"]),
        )

    @property
    def is_good(self) -> bool:
        """Whether the file has an answer."""
        return self.status == "succeeded"

    def row(self) -> list[str]:
        """The answer as a row of the file."""
        output = "" if self.output is None else json.dumps(self.output, ensure_ascii=False, separators=(",", ":"))
        score = "" if self.score is None else f"{self.score:.6g}"
        return [self.file, self.id, self.status, self.label, score, output, self.error]


class AnswerFile:
    """A CSV file of answers, appended to as they come.

    Args:
        path: The file; what it already holds is kept, except failures, which are tried again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        rows = self._read()
        self.done = {row[0] for row in rows}
        """Files that need not be asked about again."""
        draft = path.with_name(path.name + ".new")
        try:
            with draft.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([COLUMNS, *rows])
            draft.replace(path)
            self._file = path.open("a", newline="", encoding="utf-8")
        except OSError as error:
            raise Failure(f"The answers cannot be written to {path}: {error.strerror}.") from error

    def add(self, answer: Answer) -> None:
        """Writes one answer, at once and whole."""
        line = io.StringIO(newline="")
        csv.writer(line).writerow(answer.row())
        self._file.write(line.getvalue())
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _read(self) -> list[list[str]]:
        if not self._path.exists():
            return []
        csv.field_size_limit(1 << 30)
        try:
            with self._path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.reader(file))
        except (OSError, ValueError, csv.Error) as error:
            raise Failure(f"{self._path} exists and is no file of answers; name another with --out.") from error
        if rows and tuple(rows[0]) != COLUMNS:
            raise Failure(f"{self._path} exists and is no file of answers; name another with --out.")
        # A row that a crash has cut short is asked about again.
        return [row for row in rows[1:] if len(row) == len(COLUMNS) and row[2] == "succeeded"]
