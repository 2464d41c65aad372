# Two images from one source: `api` (no TensorFlow, a small fraction of the size) and `worker`.
#
#   docker build --target api -t headrace-api .
#   docker build --target worker -t headrace-worker .

FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/opt/headrace/bin:$PATH
# The user and group are numbers, so that a cluster can check that they are not root. The data folder is theirs, and so
# is a new volume that is mounted over it.
RUN groupadd --gid 10001 headrace \
    && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin headrace \
    && install -d -o 10001 -g 10001 -m 0700 /data \
    && python -m venv /opt/headrace
WORKDIR /build
COPY constraints.txt pyproject.toml ./
# Empty packages let the dependencies become a layer of their own, which a change of our sources does not build again.
RUN pip install -c constraints.txt hatchling && mkdir api cli shared workers && touch README.md LICENSE

FROM base AS api-dependencies
RUN pip install -c constraints.txt --no-build-isolation ".[api]"

FROM api-dependencies AS api
COPY . .
RUN pip install --no-deps --no-build-isolation --force-reinstall . && rm -rf /build
USER 10001:10001
WORKDIR /data
ENV HEADRACE_DATA_DIR=/data
EXPOSE 8000
# The shell hands over at once; it is there for the one setting that the server must know before it starts.
CMD ["sh", "-c", "exec granian --interface wsgi --factory api:create_app --host 0.0.0.0 --port 8000 --workers 1 --no-ws \
     --blocking-threads ${HEADRACE_HTTP__THREADS:-512} --backpressure $((2 * ${HEADRACE_HTTP__THREADS:-512})) \
     --workers-kill-timeout 4 --log-level warning"]

FROM base AS worker-dependencies
RUN pip install -c constraints.txt --no-build-isolation ".[worker]"

FROM worker-dependencies AS worker
COPY . .
RUN pip install --no-deps --no-build-isolation --force-reinstall . && rm -rf /build
USER 10001:10001
WORKDIR /data
ENV HEADRACE_DATA_DIR=/data \
    KERAS_BACKEND=tensorflow \
    TF_CPP_MIN_LOG_LEVEL=2
CMD ["celery", "-A", "workers", "worker", "-Q", "predict.cpu", "-P", "solo", \
     "--without-mingle", "--without-gossip", "--without-heartbeat", "-l", "info"]
