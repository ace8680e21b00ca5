"""Control in this process, as the settings of a gateway ask for it.

Guarantees: nothing is done before it is started. Leaves to others: control (`cluster.control`).
"""

from __future__ import annotations

import structlog

from cluster.control.map_store import MapStore
from cluster.control.map_store.crashing import CrashingMapStore
from cluster.control.map_store.embedded import EmbeddedMapStore
from cluster.control.map_store.etcd import EtcdMapStore
from cluster.control.map_store.etcd_client import EtcdClient, endpoints_of
from cluster.control.server import ControlServer
from cluster.control.settings import ControlSettings
from cluster.gateway.settings import GatewaySettings
from kvstore.crash_point import CrashPoint


def own_control(settings: GatewaySettings) -> ControlServer:
    """Raises OperatorError: the data directory cannot be used."""
    return ControlServer(_map_store(settings), _control_settings(settings), settings.request_timeout_s)


def _map_store(settings: GatewaySettings) -> MapStore:
    store = _open_map_store(settings)
    if not settings.crash_at:
        return store
    structlog.get_logger().warning("crash_point", at=settings.crash_at)
    return CrashingMapStore(store, CrashPoint(settings.crash_at))


def _open_map_store(settings: GatewaySettings) -> MapStore:
    if settings.store:
        return EtcdMapStore(EtcdClient(endpoints_of(settings.store)))
    assert settings.data is not None, "checked by the settings"
    return EmbeddedMapStore(settings.data)


def _control_settings(settings: GatewaySettings) -> ControlSettings:
    return ControlSettings(
        initial_nodes=settings.initial_nodes,
        partitions=settings.partitions,
        replicas=settings.replicas,
        min_in_sync=settings.min_in_sync,
        replace_after_s=settings.replace_after_s,
        manual_rebalance=settings.manual_rebalance,
        moves_per_node=settings.moves_per_node,
        split_bytes=settings.split_bytes,
        split_writes_per_s=settings.split_writes_per_s,
        merge_after_s=settings.merge_after_s,
        partitions_max=settings.partitions_max,
    )
