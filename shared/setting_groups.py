"""The groups of settings: jobs, queues, workers, HTTP, and the rest that is no group of its own file."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class SettingGroup(BaseModel):
    """A group of settings; its fields are described by the texts below them."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class RedisSettings(SettingGroup):
    """The one Redis (7 or newer) or Valkey (8 or newer) server."""

    url: str = "redis://127.0.0.1:6379/0"
    """``redis://``, ``rediss://`` or ``unix://`` address, with user and password where needed; ``up`` sets it to the server it starts."""
    ca_file: Path | None = None
    """Certificate authority file for ``rediss://``; the system's authorities unless given."""
    prefix: str = Field("headrace", pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """First part of every key, Celery's too, so that several services can share a server."""
    append_fsync: Literal["everysec", "always"] = "everysec"
    """When the server that ``up`` starts writes its append-only file to the disk: each second, or before every answer, so that a power cut loses nothing."""
    socket_timeout_seconds: Seconds = 5.0
    """How long one command may take before the service counts as unavailable."""
    connect_timeout_seconds: Seconds = 1.0
    """How long opening a connection may take; short, so that a request is refused within two seconds when Redis is away."""


class ArtifactsSettings(SettingGroup):
    """Where versions, data sets, checkpoints and large inputs lie."""

    url: str = ""
    """Any fsspec URL (``file:///…``, ``s3://…``, ``gs://…``); empty means the folder ``artifacts`` in the data folder."""
    cache_bytes: Count = 21_474_836_480
    """What copies of versions may take on a worker's machine where the store is elsewhere: 20 GiB; the least recently loaded go first."""


class JobsSettings(SettingGroup):
    """Lives of jobs and of what they leave."""

    record_days: Annotated[float, Field(gt=0)] = 30.0
    """How long the record of an ended job is kept, in days."""
    retain_seconds: Seconds = 86_400.0
    """How long input, output and logs are kept after the end of a job: one day."""
    prediction_deadline_seconds: Seconds = 86_400.0
    """Age at which an unfinished prediction fails, unless the caller set a deadline."""
    other_deadline_seconds: Seconds = 2_592_000.0
    """Age at which an unfinished job of another kind fails: 30 days."""
    max_alone: Count = 3
    """How many workers may die under a job that runs alone before it fails."""
    max_releases: Count = 5
    """How often a job may be handed back before it must run alone."""
    max_output_bytes: Count = 67_108_864
    """Largest output that a job may leave, as JSON: 64 MiB; a larger one fails its job."""
    inline_input_bytes: Count = 262_144
    """Inputs above this many bytes go to the artifact store and the record carries a reference."""


class QueueSettings(SettingGroup):
    """Admission limits, leases and sweeps."""

    max_rows: Count = 100_000
    """Rows that may wait in one queue before admission answers 429."""
    max_bytes: Count = 1_073_741_824
    """Bytes of input that may wait in one queue before admission answers 429: 1 GiB."""
    account_max_rows: Count = 100_000
    """Rows that one account may have open (waiting or processing) over all queues."""
    account_max_bytes: Count = 1_073_741_824
    """Bytes of input that one account may have open over all queues: 1 GiB."""
    lease_seconds: Seconds = 15.0
    """How long a claim lives without renewal; renewed every third of it, so a dead worker's jobs move on after at most this long."""
    sweep_seconds: Seconds = 1.0
    """Period of the sweeps that reclaim, expire and repair lost wake-ups."""


class BatchingSettings(SettingGroup):
    """How predictions become batches."""

    max_batch_rows: Count = 64
    """Most rows in one batch; must be one of ``allowed_batch_sizes``."""
    max_batch_bytes: Count = 33_554_432
    """Most bytes of input in one batch, as admitted: 32 MiB."""
    allowed_batch_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    """Sizes a batch is padded to, ascending, so that the compiled function sees few shapes and each is warm."""
    max_decoded_bytes: Count = 268_435_456
    """Most bytes of decoded arrays in one call of the model: 256 MiB."""


class InferenceSettings(SettingGroup):
    """What inference workers do besides batching."""

    memory_budget_bytes: Count = 4_294_967_296
    """Memory that loaded versions may take together before the least recently used is dropped: 4 GiB."""
    max_pixels: Count = 25_000_000
    """Most pixels of one image; more is refused as a decompression bomb."""
    max_job_rows: Count = 1024
    """Most rows of one job; more answers 413."""
    batch_timeout_seconds: Seconds = 60.0
    """How long one batch may take before the watchdog ends the worker process (exit status 70)."""
    load_timeout_seconds: Seconds = 300.0
    """How long loading and warming up one version may take."""
    max_load_failures: Count = 3
    """Failed or crashed loads after which a version counts as unloadable until it is reset."""
    slice_seconds: Seconds = 1.0
    """Shortest time that a drain stays with a loaded version before it loads another one."""
    weights: dict[str, Annotated[float, Field(gt=0)]] = {}
    """Shares of a worker's time for busy models, ``{"owner/name": 2}``; 1 for a model that is not named."""
    threads: Annotated[int, Field(ge=0)] = 0
    """TensorFlow threads of one worker; 0 lets TensorFlow choose."""


class TrainingSettings(SettingGroup):
    """What training workers do."""

    checkpoint_seconds: Seconds = 30.0
    """Least time between two checkpoints within one epoch; every epoch ends with one."""
    log_bytes: Count = 131_072
    """Bytes of logs kept for one job, the newest."""


class ImportsSettings(SettingGroup):
    """Limits for model files that come from outside; their child process is bound by them."""

    max_upload_bytes: Count = 5_368_709_120
    """Largest model file: 5 GiB."""
    max_unpacked_bytes: Count = 10_737_418_240
    """Most bytes that the members of a ``.keras`` archive may unpack to: 10 GiB."""
    memory_bytes: Count = 17_179_869_184
    """Address space of the child process that loads the file: 16 GiB."""
    cpu_seconds: Count = 600
    """CPU time of that child process."""
    timeout_seconds: Seconds = 900.0
    """Wall time of that child process."""


class DatasetsSettings(SettingGroup):
    """Limits for uploads that become data sets."""

    max_upload_bytes: Count = 53_687_091_200
    """Largest upload: 50 GiB."""
    max_unpacked_bytes: Count = 107_374_182_400
    """Most bytes that an archive may unpack to: 100 GiB."""
    max_files: Count = 5_000_000
    """Most files in one archive."""


class FilesSettings(SettingGroup):
    """Files that accounts upload, and outputs that become files."""

    max_upload_bytes: Count = 104_857_600
    """Largest file that may be uploaded: 100 MiB."""
    retain_seconds: Seconds = 86_400.0
    """How long an uploaded file is kept: one day."""
    account_max_bytes: Count = 10_737_418_240
    """Bytes of files that one account may have stored at once: 10 GiB."""
    url_seconds: Seconds = 3600.0
    """How long a signed URL of a file or of an output works: one hour."""
    inline_output_bytes: Count = 4_194_304
    """Outputs above this many bytes of JSON become files, and the job shows a URL in place of the output: 4 MiB."""
    data_url_bytes: Count = 16_777_216
    """Such outputs up to this many bytes are shown as data URL where the public address is plain http: 16 MiB."""


class HttpSettings(SettingGroup):
    """The HTTP service."""

    public_url: str = ""
    """Address that URLs in replies begin with, for example ``https://models.example.org``; empty means the address that ``up`` bound, else the request's host if trusted."""
    trusted_hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")
    """Host names whose ``Host`` header may be used in URLs while ``public_url`` is empty."""
    max_body_bytes: Count = 67_108_864
    """Largest body of a request that is not an upload: 64 MiB."""
    threads: Count = 512
    """Blocking threads of one API process: how many requests it can hold open."""
    max_waiting: Count = 200
    """Requests of one API process that may wait for a job at once, at most 13 of 16 threads; beyond it the answer comes at once."""
    max_wait_seconds: Seconds = 60.0
    """Longest wait that ``Prefer: wait`` and ``?wait=`` are given."""
    keepalive_seconds: Annotated[float, Field(ge=0)] = 5.0
    """After how long a held create begins its reply and sends a space, and again each time, so that no client's read timeout ends it; 0 sends none, for proxies that hold back what they pass on."""
    repeat_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Within this time an equal create of one account makes no second job although it announces no repetition, for clients that repeat silently when a connection breaks; 0, the default, lets equal requests be as many jobs."""
    rate_limit_creates_per_minute: Annotated[int, Field(ge=0)] = 0
    """Predictions and trainings that one key may make in a minute, a few more at once; 0 is no limit."""
    rate_limit_requests_per_minute: Annotated[int, Field(ge=0)] = 0
    """Other requests that one key may send in a minute, a few more at once; 0 is no limit."""
    max_streams: Count = 400
    """Streams of events that one API process keeps open at once, at most 13 of 16 threads; beyond it 503."""
    heartbeat_seconds: Seconds = 10.0
    """How often a stream on which nothing happens says that it lives, and finds out whether its reader does."""
    cors_origins: tuple[str, ...] = ()
    """Origins of pages that may call the API from a browser, ``["https://app.example.org"]``; ``["*"]`` for every page."""
    browser_token_seconds: Count = 86_400
    """Longest life of a token for browsers: one day."""
    upload_dir: Path | None = None
    """Folder for uploads on their way to the artifact store; the data folder unless given."""
    tls_certificate: Path | None = None
    """PEM file with the certificate, and those between it and its root, that ``up`` serves HTTPS with; HTTP unless given."""
    tls_key: Path | None = None
    """PEM file with the key of that certificate, in PKCS#8 (``BEGIN PRIVATE KEY``)."""


class AuthSettings(SettingGroup):
    """API keys."""

    cache_seconds: Seconds = 0.9
    """How long a process trusts a key that it has looked up; a revoked key works at most this long."""


class WorkerSettings(SettingGroup):
    """This machine's worker processes."""

    pool: str = Field("cpu", pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """The pool whose jobs the workers take: ``cpu``, ``gpu``, or any label."""
    name: str = ""
    """Name of the worker, stable over restarts; host and process id unless given."""
    heartbeat_seconds: Seconds = 5.0
    """Period of a worker's heartbeat; one that is silent for three of them counts as gone."""


class ClientSettings(SettingGroup):
    """How the ``headrace`` command reaches a server."""

    url: str = ""
    """Address of the API; empty means the server that ``up`` runs on the data folder."""
    api_key: str = ""
    """Key to send; empty means the file ``api-key`` in the data folder."""
    ca_file: Path | None = None
    """PEM file of the authority that signed the server's certificate, or the certificate itself; the system's authorities unless given."""


class LogsSettings(SettingGroup):
    """Logging of every process, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is written."""
    format: Literal["text", "json"] = "text"
    """``text`` for people, ``json`` (one object a line) for collectors."""
