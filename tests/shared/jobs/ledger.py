"""What the scripts ought to hold: the records and what follows from them, in plain dictionaries.

The rules of docs/queue.md once more, so that every answer of a script can be foretold. ``oracle.py`` has the moves.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

OPEN = ("starting", "processing")
CANCELED = ("canceled", "E1403: canceled on request", "E1403")
TOO_LATE = ("canceled", "E1401: the deadline passed before the job ended", "E1401")
TOO_OLD = ("failed", "E1402: the job grew older than jobs may without ending", "E1402")


@dataclass
class Record:
    """One job, and what only the test knows of it."""

    id: str
    kind: str
    queue: str
    pool: str
    account: str
    flow: str
    rows: int
    bytes: int
    score: int
    created: int
    deadline: int
    by_caller: bool
    idem: str
    hook: str
    hook_host: str
    held: str
    spill: str
    scratch: str
    input: str
    keep: int
    retain: int
    order: int
    status: str = ""
    attempt: int = 0
    claim: str = ""
    suspect: bool = False
    alone: int = 0
    releases: int = 0
    started: int = 0
    ended: int = 0
    error: str | None = None
    code: str | None = None
    output: str | None = None
    progress: str | None = None
    logs: str | None = None
    followed: bool = False
    emitted: int = 0
    reported: int = 0
    events: list[tuple[str, str]] = field(default_factory=list)
    waiters: set[str] = field(default_factory=set)
    has_data: bool = True
    poison: bool = False
    kills: int = 0
    lone_losses: int = 0

    @property
    def listing(self) -> str:
        return f"{self.account}|{self.kind}|{self.id}"

    @property
    def line(self) -> str:
        return self.queue + "!" if self.suspect else self.queue

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    def note(self, event: str, text: str) -> None:
        """For those who follow the job."""
        if self.followed:
            self.events.append((event, text))


@dataclass
class Claim:
    """The jobs of one batch under their lease."""

    jobs: dict[str, int]
    hard: int
    lease: int
    alone: bool
    shared: bool = False
    """Whether its process ever held another claim beside it."""


class Ledger:
    """The state, and the moves that several scripts share."""

    def __init__(self) -> None:
        self.now = 0
        self.records: dict[str, Record] = {}
        self.claims: dict[str, Claim] = {}
        self.idem: dict[str, tuple[str, str]] = {}
        self.clocks: dict[str, int] = {}
        self.finishes: dict[tuple[str, str], int] = {}
        self.turns: dict[str, dict[str, int]] = defaultdict(dict)
        self.bells: dict[str, str] = {}
        self.nudges: dict[str, int] = {}
        self.lanes: dict[str, dict[str, int]] = defaultdict(dict)
        self.pauses: dict[str, int] = {}
        self.tries: Counter[tuple[str, str]] = Counter()
        self.own: dict[str, int] = {}
        self.logs: dict[str, list[str]] = defaultdict(list)
        self.dead: set[tuple[str, str]] = set()
        self.spilled: dict[str, int] = {}
        self.retired: dict[str, int] = {}
        self.made = 0
        self.totals: Counter[str] = Counter()
        self.runs: Counter[str] = Counter()
        self.paces: dict[str, tuple[float, float, int]] = {}
        self.woken: list[tuple[str, str]] = []

    def opened(self) -> list[Record]:
        """The open jobs in the order of their deadlines."""
        return sorted((r for r in self.records.values() if r.is_open), key=lambda r: (r.deadline, r.id))

    def waiting(self, line: str) -> list[Record]:
        """The jobs of a line, the next first."""
        found = (r for r in self.records.values() if r.status == "starting" and not r.held and r.line == line)
        return sorted(found, key=lambda r: (r.score, r.id))

    def sums(self, records: Iterable[Record]) -> tuple[int, int]:
        """Rows and bytes."""
        found = list(records)
        return sum(r.rows for r in found), sum(r.bytes for r in found)

    def ring(self, pool: str, token: str) -> int:
        """1 where the caller is to send a message."""
        if pool in self.bells:
            return 0
        self.bells[pool] = token
        return 1

    def turn(self, pool: str) -> int:
        """The last place in the round of a pool's lines."""
        return max([self.now, *(place + 1 for place in self.turns[pool].values())])

    def enter(self, r: Record) -> None:
        """The job waits in its line; its status was another until now."""
        if not self.waiting(r.line):
            self.turns[r.pool][r.line] = self.turn(r.pool)
        r.status, r.claim = "starting", ""
        key = (r.line, r.flow)
        self.finishes[key] = max(self.finishes.get(key, r.score), r.score)

    def left(self, line: str, pool: str) -> None:
        """Jobs have left a line: it forgets flows without a waiting job, and its turn with the last one."""
        waiting = self.waiting(line)
        flows = {r.flow for r in waiting}
        for key in [key for key in self.finishes if key[0] == line and key[1] not in flows]:
            del self.finishes[key]
        if not waiting:
            self.turns[pool].pop(line, None)

    def put_back(self, r: Record) -> None:
        """A job that was taken waits again."""
        r.output, r.emitted = None, 0
        self.move(r, "starting")
        r.note("status", "starting")
        self.enter(r)

    def move(self, r: Record, status: str) -> None:
        """One open job less in its status, one more in another."""
        self.totals[f"{r.kind}:{r.status}"] -= 1
        self.totals[f"{r.kind}:{status}"] += 1

    def begin_stream(self, r: Record) -> None:
        """The job keeps a stream of its events from here on."""
        if not r.followed:
            r.followed = True
            r.note("status", r.status)
            if r.emitted:
                r.note("output", f'{{"first":0,"items":{r.output}}}')

    def send(self, host: str, entry: str, due: int) -> None:
        """Work for the world outside."""
        self.lanes[host].setdefault(entry, due)

    def report(self, r: Record) -> None:
        """Tells the receiver that there is more."""
        self.send(r.hook_host, f"{r.id}|progress", max(self.now, r.reported + 500))

    def free(self, claim: str, ids: Sequence[str]) -> None:
        """A claim lets jobs go and ends with its last one."""
        held = self.claims[claim].jobs
        for id_ in ids:
            held.pop(id_, None)
        if not held:
            del self.claims[claim]

    def finish(self, r: Record, end: tuple[str, str | None, str | None], claim: str = "") -> None:
        """The terminal move."""
        self.move(r, end[0])
        r.status, r.error, r.code = end
        r.ended, r.claim = self.now, claim
        r.note("status", r.status)
        self.retired[r.listing] = self.now + r.keep
        if r.spill:
            self.spilled[r.spill] = self.now + r.retain
        if r.scratch:
            self.spilled[r.scratch] = self.now + 60_000
        if "c" in r.hook:
            self.lanes[r.hook_host].pop(f"{r.id}|progress", None)
            self.send(r.hook_host, f"{r.id}|completed", self.now)
        elif r.status == "succeeded" and "o" in r.hook:
            self.report(r)
        self.woken += [(channel, r.id) for channel in r.waiters]
        r.waiters.clear()

    def stop(self, r: Record, end: tuple[str, str | None, str | None]) -> None:
        """Ends a job wherever it is."""
        line, pool, claim, was = r.line, r.pool, r.claim, r.status
        self.finish(r, end)
        if r.held:
            self.lanes[r.held].pop(f"{r.id}|fetch", None)
            self.tries.pop((r.id, "fetch"), None)
        elif was == "starting":
            self.left(line, pool)
        else:
            self.free(claim, [r.id])

    def late(self, r: Record) -> tuple[str, str, str]:
        """How a job ends whose deadline has passed."""
        return TOO_LATE if r.by_caller else TOO_OLD
