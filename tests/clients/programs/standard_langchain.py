"""LangChain's own standard tests of a chat model, with `langchain-anthropic` and our address.

Run by `test_langchain.py` in a process whose packages are LangChain's. What a renga without sight
cannot do is said by the suite's own switches.
"""

import os

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests


class TestStandard(ChatModelIntegrationTests):
    """The suite, over the shipped model."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatAnthropic

    @property
    def chat_model_params(self) -> dict[str, object]:
        return {
            "model": "claude-haiku-4-5",
            "base_url": os.environ["SERVER_URL"],
            "api_key": "any",
            "max_tokens": 300,
            "max_retries": 0,
        }

    @property
    def supports_image_inputs(self) -> bool:
        return False

    @property
    def supports_image_tool_message(self) -> bool:
        return False

    @property
    def supports_pdf_inputs(self) -> bool:
        return False

    @property
    def supports_anthropic_inputs(self) -> bool:
        return False

    @property
    def model_override_value(self) -> str:
        return "renga-sonnet-1"

    @pytest.mark.xfail(reason="it times the model against a recording of another", run=False)
    def test_stream_time(self, *args: object, **named: object) -> None:
        """Left out."""

    @pytest.mark.xfail(reason="the shipped model reads English alone", strict=False)
    def test_unicode_tool_call_integration(self, model: BaseChatModel, **named: object) -> None:
        """Try it all the same."""
        super().test_unicode_tool_call_integration(model=model, **named)
