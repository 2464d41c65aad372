"""Runs the program: fleet, models, clients and faults, then a quiet end, and the checker's verdict."""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import requests

from benchmarks.chaos import checker, defects
from benchmarks.chaos.caller import Caller
from benchmarks.chaos.clients import Clients
from benchmarks.chaos.faults import Faults
from benchmarks.chaos.fleet import LIMITS, ROOT, Fleet
from benchmarks.chaos.history import History
from benchmarks.chaos.receivers import Receiver
from benchmarks.chaos.sums import Sums
from benchmarks.figures import keep
from tests.shared.jobs.wire import TAG, scripts

QUIET_SECONDS = 90.0
"""How long it may take after the faults have stopped until the next job or webhook ends."""


class Run:
    """One run of so many minutes.

    Args:
        folder: Where all its files go.
        minutes: How long things break.
        seed: Decides faults and clients.
        defect: A planted bug, or "".
        callers: How many clients at once.
    """

    def __init__(self, folder: Path, minutes: float, seed: int, defect: str = "", callers: int = 8) -> None:
        self.folder, self._minutes, self._seed, self._callers = folder, minutes, seed, callers
        folder.mkdir(parents=True, exist_ok=True)
        self.history = History(folder / "history.jsonl")
        self._receiver = Receiver(self.history, seed)
        self._fleet = Fleet(folder, defect)
        self._versions: list[str] = []
        self._factors: dict[str, float] = {}
        self._dice = random.Random(seed + 1)

    def play(self) -> dict[str, Any]:
        """Plays it and answers what was found."""
        began = time.monotonic()
        late: list[str] = []
        try:
            self._prepare()
            clients = self._clients
            self._receiver.told = clients.told_of_end
            faults = Faults(self._fleet, self.history, self._seed, self._move_alias)
            sums = Sums(self._fleet.client, self.history)
            sums.start()
            clients.start(self._callers, 0.25)
            faults.start()
            self._tick(self._minutes * 60)
            faults.stop()
            clients.stop()
            self._receiver.is_well = True
            final = self._end(clients)
            highest = sums.stop()
        finally:
            late = self._fleet.close()
            self._receiver.close()
        final["late"] = late
        history = self.history.read()
        found = checker.check(history, self._factors, self._computed(), final, LIMITS)
        accepted = [line for line in history if line["what"] == "accepted"]
        return {
            "seed": self._seed,
            "minutes": self._minutes,
            "seconds": round(time.monotonic() - began, 1),
            "jobs": len({line["id"] for line in accepted}),
            "ends": self._ends(history),
            "webhooks": sum(line["what"] == "hook" for line in history),
            "no_answer": sum(line["what"] == "no answer" for line in history),
            "accepted_by_form": self._forms(accepted),
            "streams": sum(line["what"] == "events" for line in history),
            "refused": sum(line["what"] == "refused" for line in history),
            "turned_away": sum(line["what"] == "turned away" for line in history),
            "highest_sums": highest,
            "faults": dict(sorted(faults.counts.items())),
            "ended_processes": self._fleet.facts(),
            "violations": len(found),
            "first_violations": found[:40],
            "log": str(self.folder),
        }

    def _prepare(self) -> None:
        """Starts the fleet, pushes the models and waits until they answer; nothing breaks yet."""
        self._say("building the models")
        subprocess.run([sys.executable, "-m", "benchmarks.chaos.models", str(self.folder)], cwd=ROOT, check=True)
        self._say("starting the fleet")
        self._fleet.start()
        environment = self._fleet.environment("api-1")
        made = subprocess.run(
            [sys.executable, "-m", "cli", "keys", "create", "--account", "chaos", "--json"],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        self._key = json.loads(made.stdout)["key"]
        self._url = self._fleet.api_url("api-1")
        urls = [self._fleet.api_url(name) for name in self._fleet.api_ports]
        self._caller = Caller(urls, self._key, self.history)
        self._clients = Clients(self._caller, self.history, self._receiver.url, self._seed)
        self._wait(lambda: all(self._ready(url) for url in urls), "the APIs")
        self._wait(lambda: self._workers() >= 3, "the workers")
        secret = self._ask("GET", "/v1/webhooks/default/secret")
        self._receiver.secrets.append(secret["key"])
        for name, model, factor in (("net-2", "net", 2.0), ("net-3", "net", 3.0), ("pixel", "pixel", 1.0)):
            self._say(f"pushing {name}")
            with (self.folder / f"{name}.keras").open("rb") as file:
                job = self._ask("POST", f"/v1/models/chaos/{model}/versions", files={"file": (f"{name}.keras", file)})
            ended = self._ended(job["id"])
            version = ended["output"]["id"]
            self._factors[version] = factor
            if model == "net":
                self._versions.append(version)
            self._promote(model, version)
        with (self.folder / "chaos.npz").open("rb") as file:
            job = self._ask("POST", "/v1/datasets", files={"file": ("chaos.npz", file)}, data={"name": "chaos"})
        self._ended(job["id"])

    def _ready(self, url: str) -> bool:
        try:
            return requests.get(url + "/readyz", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def _workers(self) -> int:
        names = self._fleet.client().zrange("headrace:workers", 0, -1)
        return sum(name.startswith(b"inference") for name in names)

    def _promote(self, model: str, version: str) -> None:
        path = f"/v1/models/chaos/{model}/aliases/production"
        self._ask("PUT", path, json={"version": version})
        self._wait(lambda: self._ask("GET", path).get("version") == version, f"the promotion of {model}", 120)

    def _move_alias(self) -> None:
        version = self._dice.choice(self._versions)
        reply = self._caller.call("PUT", "/v1/models/chaos/net/aliases/production", json={"version": version})
        self.history.add("alias", version=version, status=reply.status_code if reply is not None else None)

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self._key}", "Idempotency-Key": uuid.uuid4().hex}
        reply = requests.request(method, self._url + path, headers=headers, timeout=60, **options)
        if not reply.ok:
            raise SystemExit(f"{method} {path} answered {reply.status_code}: {reply.text[:500]}")
        return reply.json()

    def _ended(self, job_id: str) -> Any:
        self._wait(lambda: self._ask("GET", f"/v1/jobs/{job_id}")["status"] in checker.TERMINAL, f"job {job_id}", 240)
        job = self._ask("GET", f"/v1/jobs/{job_id}")
        if job["status"] != "succeeded":
            raise SystemExit(f"the preparation failed: {job['error']}\n{job['logs'][-2000:]}")
        return job

    def _wait(self, condition: Any, what: str, seconds: float = 120) -> None:
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                raise SystemExit(f"{what} did not come within {seconds} s; logs are in {self.folder}")
            time.sleep(0.2)

    def _tick(self, seconds: float) -> None:
        """Says how it goes, now and then."""
        until, pause = time.monotonic() + seconds, threading.Event()
        while (left := until - time.monotonic()) > 0:
            pause.wait(min(left, 15))
            lines = self.history.read()
            jobs, faults = (sum(line["what"] == what for line in lines) for what in ("accepted", "fault"))
            self._say(
                f"{max(0, left):5.0f} s left: {jobs} accepted, {faults} faults, {len(self._fleet.living())} alive"
            )

    def _end(self, clients: Clients) -> dict[str, Any]:
        """Waits until all has ended, then reads every job once more, and looks at what is left."""
        self._say("the faults have stopped; waiting for everything to end")
        ids = sorted(
            job.id for job in checker.gather(self.history.read()).values() if job.kind and not job.delete_asked
        )
        redis = self._fleet.client()
        left, until = None, 0.0
        while (still := redis.zcard("headrace:{a}:open") + self._lanes(redis)) and (
            still != left or time.monotonic() < until
        ):
            if still != left:
                left, until = still, time.monotonic() + QUIET_SECONDS
            time.sleep(0.5)
        for job_id in ids:
            reply = self._caller.get(f"/v1/predictions/{job_id}")
            if reply is not None and reply.status_code == 200:
                clients.saw(reply)
            else:
                self.history.add("lost", id=job_id, status=reply.status_code if reply is not None else None)
        return {"listed": self._listed(), "state": self._state(redis)}

    def _listed(self) -> list[str]:
        found: list[str] = []
        path = "/v1/predictions"
        while path:
            reply = self._caller.get(path)
            if reply is None or reply.status_code != 200:
                return found
            page = reply.json()
            found += (job["id"] for job in page["results"])
            following = page["next"] or ""
            path = following[following.index("/v1/") :] if following else ""
        return found

    def _lanes(self, redis: Any) -> int:
        return sum(redis.zcard(name) for name in redis.scan_iter("headrace:{a}:outgoing:*"))

    def _state(self, redis: Any) -> list[str]:
        """What is left that should not be."""
        found: list[str] = []
        for kind in ("open", "claims"):
            if count := redis.zcard("headrace:{a}:" + kind):
                found.append(f"{count} entries are left in {kind}")
        # What the queue's own tests check: all that follows from the records, recomputed from them.
        check = redis.eval(scripts()["check"], 1, TAG, 0, 64, 1 << 25, 400 * 86_400_000, 86_400_000)
        # Who asks for an ended job is noted for two minutes, and that is all right.
        found += (text for text in map(bytes.decode, check[:20]) if "somebody still waits" not in text)
        for kind in ("queue", "claim", "outgoing", "account"):
            names = [name.decode() for name in redis.scan_iter("headrace:{a}:" + kind + ":*")]
            found += (f"the key {name} is left" for name in names[:5])
        temporary = [
            path for path in (self.folder / "data").rglob(".*.????????????????????????????????") if path.is_file()
        ]
        found += (f"the temporary file {path} is left" for path in temporary[:5])
        return found

    def _computed(self) -> list[tuple[float, int, int]]:
        path = self.folder / "computed.log"
        lines = path.read_text().splitlines() if path.exists() else []
        parts = [line.split() for line in lines]
        return [(float(part[0]), int(part[1]), int(part[2])) for part in parts if len(part) == 3]

    def _forms(self, accepted: list[dict[str, Any]]) -> dict[str, int]:
        return dict(sorted(Counter(line.get("form") or line["kind"] for line in accepted).items()))

    def _ends(self, history: list[dict[str, Any]]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for job in checker.gather(history).values():
            if job.kind and job.end:
                name = job.end[0] if job.end[2] is None else f"{job.end[0]} {job.end[2]}"
                counts[name] = counts.get(name, 0) + 1
        return dict(sorted(counts.items()))

    def _say(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def main() -> None:
    """Runs as the command line says, and stores the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long things break")
    parser.add_argument("--seed", type=int, default=None, help="the same faults at the same moments as another run")
    parser.add_argument("--folder", type=Path, default=None, help="where history and logs go; kept")
    parser.add_argument("--defect", default="", choices=["", *defects.ALL], help="plants a bug that must be found")
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--store", action="store_true", help="keeps the result under benchmarks/results")
    chosen = parser.parse_args()
    seed = chosen.seed if chosen.seed is not None else int(time.time())
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="headrace-chaos-"))
    result = Run(folder.resolve(), chosen.minutes, seed, chosen.defect, chosen.callers).play()
    if chosen.store:
        keep("chaos", {name: value for name, value in result.items() if name != "log"})
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    if result["violations"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
