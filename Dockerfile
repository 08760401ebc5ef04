# The first stage has pip and its leftovers; the image that runs has neither compilers nor caches.
FROM python:3.13-slim AS builder
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements.lock /app/requirements.lock
# Files with the recorded hashes only, and wheels only: nothing that a package brings along runs while it is installed.
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: --requirement /app/requirements.lock

FROM python:3.13-slim
ENV PATH=/opt/venv/bin:$PATH HOME=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY --from=builder /opt/venv /opt/venv
WORKDIR /app
# By name, so that nothing else of a working copy, its .env least of all, can get in.
COPY main.py main.py
COPY app app
COPY bootstrap bootstrap
COPY config config
COPY core core
COPY routes routes
# Compiled now: later the root file system is read-only. A named volume takes over the owner of the folder it covers.
RUN python -m compileall -q main.py app bootstrap config core routes && mkdir storage && chown 10001:10001 storage
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=15s --start-period=30s --retries=3 CMD ["python", "main.py", "check"]
CMD ["python", "main.py", "run"]
