"""Every setting, grouped and typed, read from the environment once at the edge of a process.

A variable is ``HEADRACE_<GROUP>__<FIELD>``, for example ``HEADRACE_REDIS__URL``. Command line options win over the
environment, the environment over a ``.env`` file, that over the defaults here. An unknown variable with our prefix is
an error, not silence; what else stands in ``.env`` is other programs' and left alone. No other module reads the
environment.
"""

import os
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError, model_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from shared.outgoing_settings import OutgoingSettings, WebhooksSettings
from shared.setting_groups import (
    ArtifactsSettings,
    AuthSettings,
    BatchingSettings,
    ClientSettings,
    DatasetsSettings,
    FilesSettings,
    HttpSettings,
    ImportsSettings,
    InferenceSettings,
    JobsSettings,
    LogsSettings,
    QueueSettings,
    RedisSettings,
    TrainingSettings,
    WorkerSettings,
)

PREFIX = "HEADRACE_"

__all__ = [
    "PREFIX",
    "ArtifactsSettings",
    "AuthSettings",
    "BatchingSettings",
    "ClientSettings",
    "DatasetsSettings",
    "FilesSettings",
    "HttpSettings",
    "ImportsSettings",
    "InferenceSettings",
    "JobsSettings",
    "LogsSettings",
    "QueueSettings",
    "RedisSettings",
    "Settings",
    "SettingsError",
    "TrainingSettings",
    "WebhooksSettings",
    "WorkerSettings",
    "child_environment",
    "load_settings",
]


class Settings(BaseSettings):
    """All settings of one process; immutable."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=".env",
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    data_dir: Path = Path("~/.local/share/headrace")
    """Folder of a single machine's embedded server, artifacts, key and address."""
    redis: RedisSettings = RedisSettings()
    artifacts: ArtifactsSettings = ArtifactsSettings()
    jobs: JobsSettings = JobsSettings()
    queue: QueueSettings = QueueSettings()
    batching: BatchingSettings = BatchingSettings()
    inference: InferenceSettings = InferenceSettings()
    training: TrainingSettings = TrainingSettings()
    imports: ImportsSettings = ImportsSettings()
    datasets: DatasetsSettings = DatasetsSettings()
    files: FilesSettings = FilesSettings()
    http: HttpSettings = HttpSettings()
    webhooks: WebhooksSettings = WebhooksSettings()
    outgoing: OutgoingSettings = OutgoingSettings()
    auth: AuthSettings = AuthSettings()
    worker: WorkerSettings = WorkerSettings()
    client: ClientSettings = ClientSettings()
    logs: LogsSettings = LogsSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Where settings come from, the first wins; of ``.env`` only the lines that begin with our prefix."""
        file = cast(DotEnvSettingsSource, dotenv_settings)
        file.env_vars = {name: value for name, value in file.env_vars.items() if name.upper().startswith(PREFIX)}
        return init_settings, env_settings, file

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        sizes = self.batching.allowed_batch_sizes
        if not sizes or list(sizes) != sorted(set(sizes)) or sizes[0] < 1:
            raise ValueError("batching.allowed_batch_sizes must ascend from at least 1")
        if self.batching.max_batch_rows not in sizes:
            raise ValueError("batching.max_batch_rows must be one of batching.allowed_batch_sizes")
        if self.webhooks.schedule_seconds[:1] != (0.0,):
            raise ValueError("webhooks.schedule_seconds must begin with 0, the first attempt")
        if self.webhooks.lease_seconds <= self.webhooks.timeout_seconds:
            raise ValueError("webhooks.lease_seconds must be longer than webhooks.timeout_seconds")
        if self.webhooks.lease_seconds <= self.outgoing.fetch_timeout_seconds:
            raise ValueError("webhooks.lease_seconds must be longer than outgoing.fetch_timeout_seconds")
        if (self.http.tls_certificate is None) != (self.http.tls_key is None):
            raise ValueError("http.tls_certificate and http.tls_key must be set together")
        return self

    @property
    def artifacts_url(self) -> str:
        """The artifact store's URL, the data folder's ``artifacts`` unless set."""
        return self.artifacts.url or (self.data_dir.expanduser().resolve() / "artifacts").as_uri()


class SettingsError(Exception):
    """Raised when the environment holds a setting that cannot be used; its text is one sentence a problem."""


def load_settings(**overrides: Any) -> Settings:
    """Reads the settings of this process.

    Args:
        overrides: Values that win over the environment, by top-level field name.

    Raises:
        SettingsError: A variable with our prefix is unknown or has a value that cannot be used.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    in_file = [name.upper() for name in DotEnvSettingsSource(Settings).env_vars]
    for where, variables in (("The environment variable ", os.environ), ("In the file .env ", in_file)):
        for variable in variables:
            if variable.startswith(PREFIX) and variable.split("__", 1)[0] not in known:
                raise SettingsError(f"{where}{variable} is not a setting of Headrace.")
    try:
        return Settings(**overrides)
    except ValidationError as error:
        problems = (
            f"{PREFIX}{'__'.join(str(part) for part in item['loc']).upper()}: {item['msg']}" for item in error.errors()
        )
        raise SettingsError("; ".join(problems)) from error


def child_environment(settings: Settings, **extra: str) -> dict[str, str]:
    """The environment for a process of ours: this one's, with ``extra`` on top, ``data_dir`` made explicit."""
    return {**os.environ, f"{PREFIX}DATA_DIR": str(settings.data_dir.expanduser().resolve()), **extra}
