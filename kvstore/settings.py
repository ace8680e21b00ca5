"""Settings of a node process: one frozen object, its relations checked before anything starts.

Guarantees: values in range and consistent with each other; each can come from the environment as `KVSTORE_…`. Leaves
to others: the command line that fills it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from kvstore.crash_point import check_crash_point

GIB = 1024**3
MIB = 1024**2


class NodeSettings(BaseSettings):
    """What one storage node runs with. Sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(env_prefix="KVSTORE_", frozen=True, extra="ignore")

    id: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    listen: str = "127.0.0.1:0"
    advertise: str = ""
    data: Path
    gateway: str = "http://127.0.0.1:8000"
    zone: str = "default"
    weight: float = Field(default=1.0, gt=0, le=1000)
    insecure_bind: bool = False
    map_size_bytes: int = Field(default=64 * GIB, ge=8 * MIB)
    log_retention_s: float = Field(default=600.0, gt=0)
    log_retention_bytes: int = Field(default=64 * MIB, ge=64 * 1024)
    pending_bytes_max: int = Field(default=64 * MIB, ge=32 * MIB)
    backfill_bytes_per_s: int = Field(default=0, ge=0)
    backfill_yields_s: float = Field(default=0.025, ge=0.001, le=10)
    switch_interval_s: float = Field(default=0.0005, gt=0, le=0.05)
    tick_s: float = Field(default=0.1, gt=0, le=1)
    report_s: float = Field(default=0.5, gt=0, le=10)
    crash_at: Annotated[str, AfterValidator(check_crash_point)] = ""

    @model_validator(mode="after")
    def _relations(self) -> Self:
        if self.tick_s > self.report_s:
            raise ValueError("tick_s must not exceed report_s")
        return self
