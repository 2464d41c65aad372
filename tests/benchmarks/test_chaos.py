import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos import defects

ROOT = Path(__file__).parents[2]


def play(folder: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    command = [sys.executable, "-m", "benchmarks.chaos", "--seed", "20261124", "--folder", str(folder), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    try:
        return done.returncode, json.loads(done.stdout), done.stderr
    except json.JSONDecodeError:
        raise AssertionError(f"the run ended with {done.returncode}:\n{done.stderr[-3000:]}") from None


@pytest.mark.long
@pytest.mark.timeout(1000)
def test_two_minutes_of_faults_break_no_promise(tmp_path: Path) -> None:
    status, result, log = play(tmp_path, "--minutes", "2")

    assert result["first_violations"] == [], log[-2000:]
    assert status == 0
    assert result["jobs"] > 100
    # Every sort of request was really accepted, and every sort of watching done.
    assert set(result["accepted_by_form"]) == {"prediction", "training", "data", "file", "url"}
    assert result["streams"] > 5 and result["webhooks"] > 50
    assert result["refused"] < result["jobs"] / 5
    assert sum(result["faults"].values()) > 20


FOUND = {
    "lease_is_not_renewed": "failed with E1301",
    "settle_without_the_fence": "went from canceled to succeeded",
    "cancel_forgets_the_counters": "account:chaos is left",
    "rows_are_swapped": "answered",
    "webhook_under_a_new_id_at_each_try": "webhook ids for",
    "webhook_before_the_commit": "told of its end before it had ended",
    "webhook_is_forgotten_after_a_failure": "never arrived",
    "one_key_makes_two_jobs": "jobs: [",
    "expired_work_is_computed": "after its deadline",
    "dead_workers_keep_their_jobs": "never ended",
    "admission_ignores_the_limits": "open, more than the",
}
"""What the checker says of each bug."""
IN_EVERY_RUN = ("rows_are_swapped", "settle_without_the_fence")
# Only what takes longer than a lease shows it: a slow row, or a training, and that five times in a row.
MINUTES = {"lease_is_not_renewed": "3"}


def test_every_bug_that_can_be_planted_is_tried() -> None:
    assert set(FOUND) == set(defects.ALL)


@pytest.mark.long
@pytest.mark.timeout(1000)
@pytest.mark.parametrize(
    ("defect", "sentence"),
    [pytest.param(*item, marks=[] if item[0] in IN_EVERY_RUN else [pytest.mark.soak]) for item in FOUND.items()],
)
def test_a_defect_planted_in_the_running_product_is_found(tmp_path: Path, defect: str, sentence: str) -> None:
    status, result, _ = play(tmp_path, "--minutes", MINUTES.get(defect, "0.7"), "--defect", defect)

    assert status == 1
    assert any(sentence in found for found in result["first_violations"]), result["first_violations"]
