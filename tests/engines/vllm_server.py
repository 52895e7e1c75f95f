"""vLLM's own OpenAI server, started through our package: its guard against mismatched torchvision builds holds in the engine's process too."""
import stages  # noqa: F401

if __name__ == "__main__":
    import runpy
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")
