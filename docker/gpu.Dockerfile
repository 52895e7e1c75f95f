# For NVIDIA GPUs:
#   docker build -f docker/gpu.Dockerfile -t r1-recipe-gpu .
#   docker run --rm --gpus all --ipc=host -v "$PWD/runs:/r1/runs" -v "$PWD/models:/r1/models" \
#     r1-recipe-gpu run +stage=all recipe=one_gpu model.path=models/base student.path=models/student
# torch's own packages bring the CUDA runtime; gcc and the CUDA headers are for kernels that are compiled at run time.
FROM nvidia/cuda:13.0.2-devel-ubuntu24.04
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
       bubblewrap gcc g++ git libc6-dev make python3.12 python3.12-dev python3.12-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /r1
COPY . .
RUN make install EXTRA=gpu PYTHON_CHOICES=python3.12
ENV PATH=/r1/.venv/bin:$PATH
ENTRYPOINT ["r1"]
CMD ["doctor"]
