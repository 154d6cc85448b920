# syntax=docker/dockerfile:1.7
# One image for the worker (CMD run) and for migrations (docker run IMAGE migrate). Nothing is written at run time: start it
# with a read-only root file system.

FROM python:3.13-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# The libraries change less often than the code, so they are a layer of their own. Each file must have a hash of the lock.
COPY requirements-runtime.lock ./
RUN python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: -r requirements-runtime.lock
COPY requirements-build.lock ./
RUN pip install --require-hashes --only-binary :all: -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY billing_worker ./billing_worker
COPY sql ./sql
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
    && pip --python /opt/venv/bin/python install --no-deps --no-index /wheel/*.whl \
    && /opt/venv/bin/python -m compileall -q /opt/venv/lib

FROM python:3.13-slim-bookworm
LABEL org.opencontainers.image.title="billing-worker" \
    org.opencontainers.image.description="Recurring billing for PortOne V2 with an append-only ledger in Postgres" \
    org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --system --gid 10001 billing \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin billing
COPY --from=build /opt/venv /opt/venv
# The probes come from outside the container, so the address must be reachable from there.
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 BILLING_HTTP_ADDRESS=0.0.0.0:9464
USER 10001:10001
EXPOSE 9464
# The drain begins at SIGTERM; give it more than BILLING_SHUTDOWN_GRACE_SECONDS (docker stop --time 270).
STOPSIGNAL SIGTERM
ENTRYPOINT ["billing-worker"]
CMD ["run"]
