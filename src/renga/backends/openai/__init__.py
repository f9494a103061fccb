"""Models behind servers of OpenAI's chat API: vLLM, SGLang, llama-server, Ollama, and others.

The backend is `backend`; what is asked stands in `requests`, what comes back in `answering`, and
where servers differ in `quirks`.
"""

from renga.backends.openai.backend import OpenaiBackend

__all__ = ["OpenaiBackend"]
