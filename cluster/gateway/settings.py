"""Settings of a gateway process: one frozen object, its relations checked before anything starts.

Guarantees: values in range and consistent with each other; each can come from the environment as `KVSTORE_…`. Leaves
to others: the command line that fills it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cluster.control.map_store.etcd_client import endpoints_of
from kvstore.crash_point import check_crash_point

KIB = 1024
MIB = 1024**2


class GatewaySettings(BaseSettings):
    """What one gateway runs with. Sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(env_prefix="KVSTORE_", frozen=True, extra="ignore")

    listen: str = "127.0.0.1:8000"
    data: Path | None = None
    store: str = ""
    zone: str = Field(default="", max_length=64, pattern="^[!-~]*$")
    workers: int = Field(default=1, ge=1, le=256)
    insecure_bind: bool = False
    initial_nodes: int = Field(default=1, ge=1, le=1024)
    partitions: int = Field(default=64, ge=1, le=4096)
    replicas: int = Field(default=2, ge=1, le=16)
    min_in_sync: int = Field(default=1, ge=1, le=16)
    replace_after_s: float = Field(default=600.0, ge=1)
    manual_rebalance: bool = False
    moves_per_node: int = Field(default=1, ge=1, le=64)
    split_bytes: int = Field(default=64 * MIB, ge=KIB)
    split_writes_per_s: float = Field(default=500.0, gt=0)
    merge_after_s: float = Field(default=60.0, ge=1)
    partitions_max: int = Field(default=1024, ge=1, le=4096)

    max_value_bytes: int = Field(default=MIB, ge=1, le=16 * MIB)
    batch_bytes_max: int = Field(default=16 * MIB, ge=KIB, le=32 * MIB)
    batch_answer_bytes_max: int = Field(default=16 * MIB, ge=KIB, le=64 * MIB)
    in_flight_bytes_max: int = Field(default=256 * MIB, ge=MIB)

    header_timeout_s: float = Field(default=10.0, gt=0)
    body_timeout_s: float = Field(default=30.0, gt=0)
    body_bytes_per_s_min: int = Field(default=KIB, ge=0)
    body_grace_s: float = Field(default=5.0, ge=0)
    idle_timeout_s: float = Field(default=75.0, gt=0)
    request_timeout_s: float = Field(default=5.0, gt=0, le=60)
    import_patience_s: float = Field(default=10.0, gt=0)
    stop_timeout_s: float = Field(default=10.0, gt=0)
    linger_s: float = Field(default=2.0, gt=0)

    connections_max: int = Field(default=1024, ge=1)
    connections_per_address_max: int = Field(default=1024, ge=1)
    headers_max: int = Field(default=64, ge=8, le=1024)
    line_bytes_max: int = Field(default=8190, ge=2048, le=64 * KIB)

    crash_at: Annotated[str, AfterValidator(check_crash_point)] = ""

    @field_validator("store")
    @classmethod
    def _store_is_etcd(cls, url: str) -> str:
        if url:
            endpoints_of(url)
        return url

    @model_validator(mode="after")
    def _relations(self) -> Self:
        if self.data is None and not self.store:
            raise ValueError("the cluster map needs --data DIR (KVSTORE_DATA) or --store URL (KVSTORE_STORE)")
        if self.in_flight_bytes_max // self.workers < max(MIB, self.max_value_bytes):
            raise ValueError("in_flight_bytes_max must hold 1 MiB and a value of max_value_bytes for each worker")
        if self.min_in_sync > self.replicas:
            raise ValueError("min_in_sync must not exceed replicas")
        return self

    def of_worker(self) -> Self:
        """What each of several workers runs with, which bounds by itself what it holds."""
        return self.model_copy(update={"workers": 1, "in_flight_bytes_max": self.in_flight_bytes_max // self.workers})
