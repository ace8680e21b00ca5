"""How far a transfer has come, as control is told. Sans-IO."""

from __future__ import annotations

from kvstore.map_values import TransferState
from kvstore.messages import TransferReport
from kvstore.replication.leader import Leader


def report_of(leader: Leader | None) -> TransferReport | None:
    """What a leader knows of the transfer of its partition; None where there is none."""
    transfer = None if leader is None else leader.followers.entry.transfer
    if leader is None or transfer is None:
        return None
    if transfer.source == leader.followers.entry.pid:
        is_cleaning = transfer.state is TransferState.SWITCHED
        return TransferReport(transfer.id, "cleaning" if is_cleaning else "frozen" if leader.frozen_ms else "giving")
    progress = leader.progress
    if progress is None or progress.id != transfer.id:
        return TransferReport(transfer.id, "copying")
    phase = "handing" if progress.has_all else "changes" if progress.is_copied else "copying"
    is_clearing = progress.clears or transfer.state is TransferState.ABORTING
    return TransferReport(transfer.id, "clearing" if is_clearing else phase, progress.keys, progress.size_bytes)
