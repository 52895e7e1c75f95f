"""vLLM's own OpenAI server for a CPU, started through our package: its guard against mismatched torchvision builds
holds in the engine's process too, and model classes are looked at here, not in a child process without it.
"""

from stages.engines.patches import inspect_models_in_process

inspect_models_in_process()

if __name__ == "__main__":
    import runpy

    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")
