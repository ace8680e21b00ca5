"""The same load on this cluster, on etcd and on Redis behind webdis, on one machine: `make bench`."""
