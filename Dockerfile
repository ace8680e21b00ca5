# One image for gateways and nodes (target kvstore), and one with Debian's etcd (target etcd). BASE is any Debian-like
# image with Python 3.11 or newer and its venv module; EXTRAS="[load]" adds Locust.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE} AS kvstore

RUN python3 -m venv /opt/kvstore \
 && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin kvstore \
 && install --directory --owner kvstore --group nogroup /data
ENV PATH=/opt/kvstore/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

# The dependencies first, in a layer of their own: only a change of pyproject.toml installs them again.
WORKDIR /src
ARG EXTRAS=
COPY pyproject.toml .
RUN mkdir kvstore cluster && touch README.md && pip install --no-cache-dir ".${EXTRAS}"
COPY README.md ./
COPY kvstore kvstore
COPY cluster cluster
RUN pip install --no-cache-dir --no-deps --force-reinstall .

ENV KVSTORE_DATA=/data KVSTORE_LISTEN=0.0.0.0:7000
WORKDIR /data
USER kvstore
VOLUME /data
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 CMD ["python", "-c", \
  "import os, urllib.request as http; http.urlopen('http://127.0.0.1:' + os.environ['KVSTORE_LISTEN'].rpartition(':')[2] + '/healthz', timeout=3)"]
ENTRYPOINT ["kvstore"]
CMD ["--help"]

FROM ${BASE} AS etcd
RUN command -v etcd || { apt-get update && apt-get install --yes --no-install-recommends etcd-server \
 && rm -rf /var/lib/apt/lists/*; }
RUN install --directory --owner etcd --group etcd /data
ENV ETCD_DATA_DIR=/data
USER etcd
VOLUME /data
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 CMD ["python3", "-c", \
  "import urllib.request as http; http.urlopen('http://127.0.0.1:2379/health', timeout=3)"]
ENTRYPOINT ["etcd"]

# What is built where no target is named.
FROM kvstore
