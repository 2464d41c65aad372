"""Strangers who use the service: they submit, repeat themselves, watch, cancel, delete, and write down all of it."""

import base64
import io
import itertools
import random
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from PIL import Image

from benchmarks.chaos.caller import Caller
from benchmarks.chaos.commands import DIE, HANG, LEAK, NAN, PLAIN, RAISE, SLOW
from benchmarks.chaos.history import History

COMMANDS = [PLAIN] * 200 + [RAISE, NAN, LEAK, SLOW] * 3 + [HANG, DIE]
TERMINAL = ("succeeded", "failed", "canceled")
_values = itertools.count(1)
_values_lock = threading.Lock()


def new_values(count: int) -> list[int]:
    """Numbers never used before in this run, so that an answer tells whose it is."""
    with _values_lock:
        return [next(_values) for _ in range(count)]


def png(value: int) -> bytes:
    """An image whose first number is ``value % 256``."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (value % 256, 1, 2)).save(file, "PNG")
    return file.getvalue()


class Clients:
    """All callers of one run.

    Args:
        caller: By which they ask.
        history: Where all is written that they see.
        receiver: Address that takes webhooks and serves images.
        seed: Decides what they do, as far as threads allow.
    """

    def __init__(self, caller: Caller, history: History, receiver: str, seed: int) -> None:
        self._caller, self._history, self._receiver = caller, history, receiver
        self._seed = seed
        self._threads: list[threading.Thread] = []
        self._open: list[str] = []
        self._by_key: dict[str, str] = {}
        self._lock = threading.Lock()

    def start(self, count: int, pause: float) -> None:
        """Begins to use the service: so many callers, each with a pause between two requests."""
        moves: list[Callable[[random.Random], None]] = (
            [self.single] * 10 + [self.many] * 3 + [self.twice] * 2 + [self.with_deadline] * 2 + [self.image] * 3
            + [self.cancel] * 3 + [self.stop_at_work] + [self.delete] + [self.look] * 6 + [self.wait_for, self.follow]
        )  # fmt: skip

        def run(number: int) -> None:
            dice = random.Random(self._seed * 1000 + number)
            while not self._caller.stopping.wait(pause * dice.uniform(0.5, 1.5)):
                dice.choice(moves)(dice)

        def train() -> None:
            dice = random.Random(self._seed * 1000 + 999)
            while not self._caller.stopping.wait(dice.uniform(15, 40)):
                self.training(dice)

        for number in range(count):
            self._threads.append(threading.Thread(target=run, args=(number,), daemon=True))
        self._threads.append(threading.Thread(target=train, daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends, after what is under way."""
        self._caller.stopping.set()
        for thread in self._threads:
            thread.join(120)

    def single(self, dice: random.Random) -> None:
        """One row."""
        values, command = new_values(1), dice.choice(COMMANDS)
        self._predict(dice, values, command, self._input(dice, values, command))

    def many(self, dice: random.Random) -> None:
        """Many rows, also more than a batch has."""
        values = new_values(dice.choice((2, 10, 70, 150)))
        self._predict(dice, values, PLAIN, self._input(dice, values, PLAIN))

    def twice(self, dice: random.Random) -> None:
        """The same request from several callers at once, under one key."""
        values, key = new_values(1), uuid.uuid4().hex
        input_ = self._input(dice, values, PLAIN)
        threads = [
            threading.Thread(target=self._predict, args=(random.Random(dice.random()), values, PLAIN, input_, key))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def with_deadline(self, dice: random.Random) -> None:
        """A job that is of no use later."""
        values, command = new_values(1), dice.choice((PLAIN, PLAIN, SLOW))
        self._predict(dice, values, command, self._input(dice, values, command), deadline=dice.choice((5, 6, 10)))

    def image(self, dice: random.Random) -> None:
        """An image: inside the request, as an uploaded file, or by its address."""
        (value,) = new_values(1)
        form = dice.choice(("data", "file", "url"))
        if form == "data":
            source = "data:image/png;base64," + base64.b64encode(png(value)).decode()
        elif form == "url":
            source = f"{self._receiver}/image/{value}.png"
        else:
            reply = self._caller.call("POST", "/v1/files", files={"content": (f"{value}.png", png(value), "image/png")})
            if reply is None or reply.status_code != 201:
                return
            source = reply.json()["urls"]["get"]
        self._submit(dice, "chaos/pixel", {"image": source}, [value % 256], PLAIN, form=form)

    def cancel(self, dice: random.Random) -> None:
        """Cancels a job that may still be open."""
        job_id = self._some(dice)
        if job_id is not None:
            self._cancel(job_id)

    def stop_at_work(self, dice: random.Random) -> None:
        """Cancels a slow job while it is computed, and looks what has become of it when it would have ended."""
        values, key = new_values(1), uuid.uuid4().hex
        self._predict(dice, values, SLOW, self._input(dice, values, SLOW), key)
        with self._lock:
            job_id = self._by_key.get(key)
        until = time.monotonic() + 5
        while job_id is not None and time.monotonic() < until:
            reply = self._caller.call("GET", f"/v1/predictions/{job_id}")
            if reply is not None and reply.status_code == 200 and reply.json()["status"] != "starting":
                break
            time.sleep(0.1)
        else:
            return
        self._cancel(job_id)

    def delete(self, dice: random.Random) -> None:
        """Deletes a job and looks whether it is gone."""
        job_id = self._some(dice)
        if job_id is None or dice.random() < 0.5:
            return
        self._history.add("delete asked", id=job_id)
        reply = self._caller.call("DELETE", f"/v1/jobs/{job_id}")
        if reply is not None and reply.status_code == 204:
            self._history.add("deleted", id=job_id)

    def look(self, dice: random.Random) -> None:
        """Reads a job."""
        job_id = self._some(dice)
        if job_id is not None:
            reply = self._caller.call("GET", f"/v1/predictions/{job_id}")
            if reply is not None and reply.status_code == 200:
                self.saw(reply)

    def wait_for(self, dice: random.Random) -> None:
        """Waits for a job's end in a held request."""
        job_id = self._some(dice)
        if job_id is not None:
            reply = self._caller.call("GET", f"/v1/predictions/{job_id}?wait=3")
            if reply is not None and reply.status_code == 200:
                self.saw(reply)

    def follow(self, dice: random.Random) -> None:
        """Reads a job's stream of events, for a while or to its end."""
        job_id = self._some(dice)
        if job_id is not None:
            said, is_over = self._caller.events(job_id)
            self._history.add("events", id=job_id, statuses=said, over=is_over)

    def training(self, dice: random.Random) -> None:
        """Trains a small network, and sometimes stops that."""
        body = {"destination": "chaos/trained", "input": {"dataset": "chaos", "epochs": 2, "seed": dice.randint(0, 9)}}
        body |= self._webhook(dice)
        key = uuid.uuid4().hex
        reply = self._caller.persist(
            "POST", "/v1/models/headrace/image-classifier/versions/latest/trainings", body, key
        )
        if reply is None or reply.status_code != 201:
            return
        job = reply.json()
        self._accepted(
            reply, key, [], PLAIN, kind="training", webhook="webhook" in body, events=body.get("webhook_events_filter")
        )
        if dice.random() < 0.3:
            self._caller.stopping.wait(dice.uniform(0, 8))
            self._history.add("cancel asked", id=job["id"])
            reply = self._caller.call("POST", f"/v1/trainings/{job['id']}/cancel")
            if reply is not None and reply.status_code == 200:
                self.saw(reply)

    @staticmethod
    def _input(dice: random.Random, values: list[int], command: int) -> dict[str, Any]:
        rows = [[float(value), float(command)] for value in values]
        return {"x": rows if len(rows) > 1 else rows[0], "priority": dice.choice(("low", "normal", "high"))}

    def _predict(
        self, dice: random.Random, values: list[int], command: int, input_: Any, key: str = "", deadline: int = 0
    ) -> None:
        self._submit(dice, "chaos/net", input_, values, command, key, deadline)

    def _submit(
        self, dice: random.Random, model: str, input_: Any, values: list[int], command: int, key: str = "",
        deadline: int = 0, form: str = "",
    ) -> None:  # fmt: skip
        body: dict[str, Any] = {"input": input_}
        if not key:  # requests under one key must have one body
            body |= self._webhook(dice, is_filtered=len(values) > 1)
        key = key or uuid.uuid4().hex
        headers = {"Cancel-After": str(deadline)} if deadline else {}
        if dice.random() < 0.2:
            headers["Prefer"] = "wait=2"
        reply = self._caller.persist("POST", f"/v1/models/{model}/predictions", body, key, headers)
        if reply is None:
            self._history.add("unknown", key=key)
        elif reply.status_code == 201:
            hooks = {"webhook": "webhook" in body, "events": body.get("webhook_events_filter")}
            self._accepted(reply, key, values, command, kind="prediction", deadline=deadline,
                           form=form, **hooks)  # fmt: skip
        else:
            self._history.add("refused", key=key, status=reply.status_code, text=reply.text[:200])

    def _accepted(self, reply: Any, key: str, values: list[int], command: int, **facts: Any) -> None:
        job = reply.json()
        self._history.add("accepted", id=job["id"], key=key, values=values, command=command, version=job["version"],
                          created=job["created_at"], until=job["deadline"], rows=job["rows"], **facts)  # fmt: skip
        self.saw(reply)
        with self._lock:
            self._open.append(job["id"])
            self._by_key[key] = job["id"]
            del self._open[:-400]

    def saw(self, reply: Any) -> None:
        """Writes down what a reply said of a job, and when it was asked for."""
        job = reply.json()
        output = job["output"] if job["status"] in TERMINAL else None
        self._history.add("saw", id=job["id"], status=job["status"], attempt=job["attempt"], output=output,
                          code=job["error_code"], asked=reply.asked)  # fmt: skip

    def told_of_end(self, job_id: str) -> None:
        """Reads a job of whose end a webhook tells, as receivers do."""
        reply = self._caller.call("GET", f"/v1/predictions/{job_id}")
        if reply is not None and reply.status_code == 200:
            self.saw(reply)

    def _webhook(self, dice: random.Random, is_filtered: bool = False) -> dict[str, Any]:
        if dice.random() < 0.5:
            return {}
        host = dice.choice(("good", "good", "bad"))
        body: dict[str, Any] = {"webhook": f"{self._receiver}/hook/{host}"}
        # Without a filter a job of many rows tells of its parts, as many as there happen to be.
        if is_filtered or dice.random() < 0.5:
            body["webhook_events_filter"] = dice.choice((["completed"], ["start", "completed"]))
        return body

    def _cancel(self, job_id: str) -> None:
        self._history.add("cancel asked", id=job_id)
        reply = self._caller.call("POST", f"/v1/predictions/{job_id}/cancel")
        if reply is not None and reply.status_code == 200:
            self.saw(reply)

    def _some(self, dice: random.Random) -> str | None:
        with self._lock:
            return dice.choice(self._open) if self._open else None
