"""Every change of a job, one script each; wakes workers where a change leaves work.

The rules are in ``docs/queue.md``; the scripts hold them.
"""

import json
import math
import uuid
from collections.abc import Sequence
from typing import Any, cast

from shared.artifacts import ArtifactStore
from shared.connections import Redis, open_keyspace, translated
from shared.errors import IdempotencyMismatch, JobError, ServiceError, TooLarge, TooManyRequests
from shared.jobs.bells import Bells
from shared.jobs.claim import Outcome, Taken, TakenJob, parts
from shared.jobs.held import held_jobs
from shared.jobs.job import WEIGHTS, JobKind
from shared.jobs.lua import Scripts
from shared.jobs.new_job import NewJob, Submitted, queue_of
from shared.jobs.paces import Paces
from shared.jobs.spills import Spills
from shared.settings import Settings

LIMIT = 100
"""Most jobs that one call of a script handles, so that no call holds the server for long."""


class JobQueue:
    """The queue as processes see it.

    Every method raises ``Unavailable`` where Redis does not answer; each may be repeated after that.

    Args:
        redis: The server.
        settings: The process's settings.
        artifacts: Where inputs go that are too large for Redis.
    """

    def __init__(self, redis: Redis, settings: Settings, artifacts: ArtifactStore | None = None) -> None:
        self._redis = redis
        self._settings = settings
        self._spills = Spills(redis, settings, artifacts) if artifacts is not None else None
        self._keys = open_keyspace(settings)
        self._scripts = Scripts(redis)
        self._paces = Paces(redis, settings)
        self.bells = Bells(redis, settings)

    def submit(self, new: NewJob) -> Submitted:
        """Accepts a job, or finds the one that an earlier submission with this key or id made.

        Raises:
            TooLarge: The job alone is larger than a limit of the queue or the account.
            TooManyRequests: The queue or the account is at its limit.
            IdempotencyMismatch: The idempotency key came with another body before.
        """
        settings, lives = self._settings, self._settings.jobs
        shard = new.id[0]
        default = lives.prediction_deadline_seconds if new.kind is JobKind.PREDICTION else lives.other_deadline_seconds
        life = default if new.deadline_seconds is None else new.deadline_seconds
        size, spill, inline = new.size, "", new.input
        if len(inline) > lives.inline_input_bytes and self._spills is not None:
            spill, inline = self._spills.write(new.id, new.input, life), b""
        args = (
            new.id, new.queue, new.pool, new.account, new.priority, new.rows, size,
            self._cost(new.priority, new.rows, size), int(life * 1000), self._keep_ms(new),
            int(lives.retain_seconds * 1000),
            f"{new.account}:{new.idempotency_key}" if new.idempotency_key else "", new.body_hash,
            settings.queue.max_rows, settings.queue.max_bytes, settings.queue.account_max_rows,
            settings.queue.account_max_bytes, new.waiter, inline,
        )  # fmt: skip
        try:
            state, known, rest, *made = self._scripts.call("submit", self._keys.tag(shard), *args, *new.record(spill))
        except TooManyRequests:
            self._unspill(new.id, spill)
            raise
        if state != b"new":
            self._unspill(new.id, spill)
        if state == b"full":
            raise self._full(new, known.decode())
        if state == b"conflict":
            raise IdempotencyMismatch(
                "This Idempotency-Key was used with another body; use a new key for a new request.", job=known.decode()
            )
        if rest:
            self.bells.ring(new.pool, shard, known.decode())
        return Submitted(known.decode(), bool(made), made[0] / 1000 if made else None)

    def watch(self, job_id: str, channel: str) -> None:
        """Asks to be woken over a channel when the job ends; the caller reads the job after this, not before."""
        key = self._keys.of_job("waiters", job_id)
        with translated(), self._redis.pipeline(transaction=True) as pipe:
            pipe.sadd(key, channel)
            pipe.pexpire(key, 120_000)
            pipe.execute()

    def cancel(self, job_id: str) -> str:
        """Cancels a job at once, with or without a living worker; returns its status before, "" for an unknown one."""
        before: bytes = self._call("cancel", job_id, job_id)
        return before.decode()

    def admit(self, job_id: str, size: int) -> str:
        """Lets a held job into its queue, its inputs being here.

        Args:
            job_id: The job.
            size: Bytes of its input together with what was fetched.

        Returns:
            ``admitted``; ``full`` where its queue or its account has no room now; ``gone`` where it is not held.
        """
        limits = self._settings.queue
        with translated():
            found = self._redis.hmget(self._keys.of_job("job", job_id), "priority", "rows")
        priority, rows = cast(list[bytes | None], found)
        if priority is None or rows is None:
            return "gone"
        token = uuid.uuid4().hex
        cost = self._cost(priority.decode(), int(rows), size)
        args = (job_id, size, cost, limits.max_rows, limits.max_bytes, limits.account_max_bytes, token)
        try:
            state, ring, pool = self._call("admit", job_id, *args)
        except TooManyRequests:  # the server's memory is full
            return "full"
        if ring:
            self.bells.ring(pool.decode(), job_id[0], token)
        answer: bytes = state
        return answer.decode()

    def refuse(self, job_id: str, error: JobError) -> bool:
        """Ends a held job as failed; False where it is not held."""
        return bool(self._call("refuse", job_id, job_id, str(error), error.code))

    def follow(self, job_id: str) -> bool:
        """Makes an open job keep a stream of its events from now on; False where it is unknown or has ended."""
        return bool(self._call("follow", job_id, job_id))

    def delete(self, job_id: str) -> bool:
        """Removes an ended job and all it left; False where it is unknown or has not ended."""
        return bool(self._call("delete", job_id, job_id))

    def fail_version(self, version: str, error: JobError) -> int:
        """Fails every held and every waiting job of a version, in whichever pool; returns how many."""
        # The held ones first: one that is let in meanwhile is found in its line.
        count = sum(self.refuse(job_id, error) for job_id in held_jobs(self._redis, self._keys, version))
        with translated():
            pools = cast(set[bytes], self._redis.smembers(self._keys.in_shard("pools")))
        return count + sum(self.fail_waiting(queue_of(version, pool.decode()), error) for pool in sorted(pools))

    def fail_waiting(self, queue: str, error: JobError) -> int:
        """Fails every waiting job of a queue; returns how many."""
        count = 0
        for line in (queue, queue + "!"):
            while ended := int(self._scripts.call("drop", self._keys.tag(), line, LIMIT, str(error), error.code)):
                count += ended
        return count

    def lines(self, pool: str, token: str) -> list[str]:
        """The lines of a pool that have work, the next in turn first."""
        return [line.decode() for line in self._scripts.call("look", self._keys.tag(), pool, token)]

    def take(
        self, line: str, pool: str, *, max_rows: int, max_bytes: int, hard_seconds: float, solo: bool, token: str = ""
    ) -> Taken:
        """Claims the next jobs of a line, as many as fit; rings where the pool has more work.

        Args:
            line: The line.
            pool: Its pool.
            max_rows: Most rows; one larger job goes alone.
            max_bytes: Most bytes of input.
            hard_seconds: When the claim ends whatever happens.
            solo: Whether this process holds no other claim; without that a side line gives nothing.
            token: Token of the message that woke the worker, in the first take of a drain.
        """
        claim = uuid.uuid4().hex
        args = (
            line, pool, claim, max_rows, max_bytes, int(self._settings.queue.lease_seconds * 1000),
            int(hard_seconds * 1000), int(solo), token, LIMIT,
        )  # fmt: skip
        ring, left, _, now, _, *jobs = self._scripts.call("take", self._keys.tag(), *args)
        if ring:
            self.bells.ring(pool, self._keys.tag()[-2], claim)
        taken = [
            TakenJob(id_.decode(), attempt, rows, deadline, data, spill.decode())
            for id_, attempt, rows, deadline, data, spill in jobs
        ]
        return Taken(claim, taken, bool(left), now)

    def renew(self, claim: str) -> set[str]:
        """Extends a claim's lease; returns the ids still held, none where the claim is over."""
        lease = int(self._settings.queue.lease_seconds * 1000)
        return {id_.decode() for id_ in self._scripts.call("renew", self._keys.tag(), claim, lease)}

    def settle(
        self,
        claim: str,
        outcomes: Sequence[Outcome],
        *,
        batches: Sequence[int] = (),
        decode_ms: float = 0.0,
        compute_ms: float = 0.0,
    ) -> list[str]:
        """Ends jobs of a claim; each answer is ``ok``, ``same`` (settled by this claim before) or ``lost``.

        Args:
            claim: The claim.
            outcomes: How its jobs ended.
            batches: Rows of each call of the model, for the metrics.
            decode_ms: Milliseconds that decoding took.
            compute_ms: Milliseconds that the model took.
        """
        answers: list[str] = []
        rows = ",".join(map(str, batches))
        for part in parts(outcomes, LIMIT):
            items: list[str | int | bytes] = []
            for outcome in part:
                error = outcome.error
                items += (
                    outcome.id,
                    outcome.attempt,
                    "succeeded" if error is None else "failed",
                    (outcome.output or b"null") if error is None else str(error),
                    error.code if error is not None else "",
                    json.dumps(outcome.metrics),
                )
            args = (claim, rows if not answers else "", round(decode_ms, 3), round(compute_ms, 3))
            answers += [state.decode() for state in self._scripts.call("settle", self._keys.tag(), *args, *items)]
        return answers

    def progress(self, claim: str, job_id: str, attempt: int, *, facts: str, log: str, checkpoint: bool) -> bool:
        """Publishes progress, JSON in ``facts``; False where the job is no longer the caller's."""
        limit = self._settings.training.log_bytes
        return bool(self._call("progress", job_id, claim, job_id, attempt, int(checkpoint), limit, facts, log))

    def emit(self, claim: str, job_id: str, attempt: int, first: int, count: int, items: bytes) -> int:
        """Publishes a part of a job's output, where somebody follows it or wants to hear of output.

        Args:
            claim: The claim.
            job_id: The job.
            attempt: Its attempt.
            first: The place of the first item in the whole output; the part is kept if it follows on what is kept.
            count: How many items; 0 only asks.
            items: The items, a JSON array.

        Returns:
            How many items are kept now; -1 where the job is no longer the caller's, -2 where nobody wants them.
        """
        return int(self._call("emit", job_id, claim, job_id, attempt, first, count, items))

    def release(self, claim: str, *, counts: bool = True) -> list[str]:
        """Hands a claim's jobs back, as a worker does that shuts down; many that count make a job a suspect."""
        most = self._settings.jobs.max_releases if counts else 0
        ring, pool, *ids = self._scripts.call("release", self._keys.tag(), claim, most)
        if ring:
            self.bells.ring(pool.decode(), self._keys.tag()[-2], claim)
        return [id_.decode() for id_ in ids]

    def _keep_ms(self, new: NewJob) -> int:
        """How long the record stands after the job's end; as long as its webhook may be under way, if it has one."""
        seconds, hooks = self._settings.jobs.record_days * 86_400, self._settings.webhooks
        if new.webhook:
            seconds = max(seconds, hooks.longest_seconds)
        return int(seconds * 1000)

    def _cost(self, priority: str, rows: int, size: int) -> int:
        batching = self._settings.batching
        share = max(rows, math.ceil(size * batching.max_batch_rows / batching.max_batch_bytes))
        return WEIGHTS[priority] * max(1, share)

    def _unspill(self, job_id: str, spill: str) -> None:
        if self._spills is not None:
            self._spills.drop(job_id, spill)

    def _full(self, new: NewJob, which: str) -> ServiceError:
        for unit, size in (("rows", new.rows), ("bytes", new.size)):
            limits = {name: getattr(self._settings.queue, name) for name in (f"max_{unit}", f"account_max_{unit}")}
            name = min(limits, key=limits.__getitem__)
            if size > limits[name]:  # however long the caller waits
                return TooLarge(f"The job has {size} {unit} and queue.{name} admits {limits[name]}: send smaller jobs.")
        seconds, waiting = self._paces.room(new, which)
        what = f"The queue of {new.model or new.kind}" if which == "queue" else f"The account {new.account}"
        return TooManyRequests(f"{what} is full with {waiting} rows; try again in {seconds} s.", seconds)

    def _call(self, name: str, job_id: str, *args: Any) -> Any:
        return self._scripts.call(name, self._keys.tag(job_id[0]), *args)
