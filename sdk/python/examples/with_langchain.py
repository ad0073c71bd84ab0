"""A LangChain chat model that waits in the queue before each call. RATEQUEUE_URL names the node.

The model here is a small one of our own that speaks to the examples' provider; ``ChatOpenAI`` and others take
``rate_limiter`` in the same way.
"""

from __future__ import annotations

from typing import Any, Optional

import httpx
import provider
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

import ratequeue
from ratequeue.langchain import RateQueueRateLimiter

RESOURCE = "example-langchain"


class Model(BaseChatModel):
    url: str

    @property
    def _llm_type(self) -> str:
        return "example"

    def _generate(
        self, messages: list[BaseMessage], stop: Optional[list[str]] = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        answer = httpx.post(f"{self.url}/v1/chat/completions", json={"model": "m", "max_tokens": 600})
        answer.raise_for_status()
        text = answer.json()["choices"][0]["message"]["content"]
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=text))])


def main() -> None:
    with ratequeue.Client() as client:
        # Without the limit on concurrency: LangChain does not say when a call is over.
        client.resources.put(RESOURCE, {"limits": {"tpm": provider.LIMITS["tpm"]}})
    with provider.running() as api:
        model = Model(url=api.url, rate_limiter=RateQueueRateLimiter(RESOURCE, load=600))
        for _ in range(12):
            assert model.invoke("Hello?").content == "Hello."
        provider.summary(api)


if __name__ == "__main__":
    main()
