"""The groups of settings for what leaves the service: webhooks, and requests to other servers at all."""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from shared.setting_groups import Count, Seconds, SettingGroup


class WebhooksSettings(SettingGroup):
    """How io workers deliver webhooks."""

    schedule_seconds: tuple[Annotated[float, Field(ge=0)], ...] = (
        0.0, 5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0,
    )  # fmt: skip
    """Pauses before each attempt to deliver the end of a job; the last one that fails makes a dead letter, after 75 hours."""
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """By how much of itself a pause may be longer or shorter, so that what failed together does not return together."""
    max_retry_after_seconds: Seconds = 86_400.0
    """Longest ``Retry-After`` of a receiver that is honoured: one day."""
    timeout_seconds: Annotated[float, Field(gt=0, le=40)] = 20.0
    """How long one attempt may take, from the look-up of the name to the last byte of the reply."""
    reply_bytes: Count = 65_536
    """Bytes of a receiver's reply that are read: 64 KiB."""
    threads: Count = 16
    """Attempts that one io worker has under way at once for hosts that answer promptly."""
    slow_threads: Count = 32
    """The same for all other hosts, slow, failing or not known yet, so that these never keep the prompt ones waiting."""
    slow_seconds: Seconds = 2.0
    """After how long an attempt counts as slow."""
    per_host: Count = 4
    """Attempts that one io worker has under way at once for one host."""
    circuit_failures: Count = 10
    """Failures in a row after which nothing goes to a host for a while."""
    circuit_seconds: Seconds = 5.0
    """The first such while; doubled each time the host fails again."""
    max_circuit_seconds: Seconds = 300.0
    """The longest such while."""
    lease_seconds: Seconds = 60.0
    """After how long another io worker takes an attempt over whose worker died; longer than an attempt may take."""
    rotation_seconds: Seconds = 86_400.0
    """How long the old secret signs beside the new one after a rotation: one day."""

    @property
    def longest_seconds(self) -> float:
        """How long after a job's end its webhook may still be delivered: every pause at its longest."""
        most = self.max_retry_after_seconds + self.max_circuit_seconds + self.lease_seconds
        return sum(pause * (1 + self.jitter) + most for pause in self.schedule_seconds)


class OutgoingSettings(SettingGroup):
    """Where requests to other servers may go, and what is fetched from there."""

    allowed_networks: tuple[str, ...] = ()
    """Networks that webhooks and URL inputs may reach beside the public internet, for example ``["10.1.0.0/16"]``; an address that gives cloud credentials away (``169.254.169.254``) only by its own entry."""
    ca_file: Path | None = None
    """Certificate authority file that is trusted beside the system's authorities."""
    fetch_bytes: Count = 26_214_400
    """Largest file that is fetched for an input: 25 MiB."""
    fetch_job_bytes: Count = 268_435_456
    """Most bytes that all files fetched for one job have together: 256 MiB."""
    fetch_timeout_seconds: Annotated[float, Field(gt=0, le=40)] = 30.0
    """How long fetching one file may take, from the look-up of the name to the last byte."""
    fetch_tries: Count = 3
    """After how many failures that may pass (no answer, 5xx, 429) a job that needs files from elsewhere fails."""
    fetch_threads: Annotated[int, Field(ge=2)] = 32
    """Downloads that one io worker has under way at once, half of them for hosts that answer promptly; webhooks take none of these, so that no dead receiver keeps a job from its inputs."""

    @field_validator("allowed_networks")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ip_network(network)
        return networks
