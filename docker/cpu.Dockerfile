# The whole recipe on a CPU:
#   docker build -f docker/cpu.Dockerfile -t r1-recipe .
#   docker run --rm -v "$PWD/runs:/r1/runs" r1-recipe
# Programs that models write run in bubblewrap, which needs user namespaces: add `--security-opt seccomp=unconfined`
# (and `--security-opt apparmor=unconfined` where AppArmor is on) for data.verifier=code.
FROM python:3.11-slim-bookworm
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends bubblewrap gcc g++ libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /r1
COPY . .
RUN make install EXTRA=cpu
ENV PATH=/r1/.venv/bin:$PATH
ENTRYPOINT ["r1"]
CMD ["run", "+stage=all"]
